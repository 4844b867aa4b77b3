"""Any text is a question, and none is an error."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections import generation
from projections.view import ViewSettings
from projections.views import build_views
from schemas.topics import Topics
from tests.projections.harness import AUDIT_KEY, owner
from tests.projections.logs import LogMaker
from tests.projections.store import Store, store_of

ODD = [
    "", " ", "'", '"', "\\", "\0", "a\0b", "%s %(k)s", "' OR 1=1 --", "& | ! <-> ( )", "a:*b", "C:\\dir\\'x'", "x" * 10_000,
    "word " * 2_000, "http://a.b/c\\d?e='f'&g=\"h\"", "😀 日本語", "\ud800 \udfff \uffff", "-" * 500, "'\\''\\\\'",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("vector", [None, [1.0, 0.0], [0.0, 0.0], [], [float("nan"), 1.0]])
async def test_no_question_is_an_error(odd_store: tuple[Store, str], text: str, vector: list[float] | None) -> None:
    store, ana = odd_store
    assert isinstance(await store.ask(ana, text, vector), list)


@given(text=st.text(max_size=60))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_text_at_all_is_an_error(odd_store: tuple[Store, str], text: str) -> None:
    store, ana = odd_store
    assert isinstance(await store.ask(ana, text), list)
    assert isinstance(await store.ask(ana, text + "'\\" + text), list)


@pytest.fixture(scope="module")
async def odd_store(database: str) -> AsyncIterator[tuple[Store, str]]:
    topics, ana = Topics(2, "odd."), owner()
    log, views = LogMaker(topics), build_views(ViewSettings(topics, AUDIT_KEY))
    await generation.install(database, list(views.values()))
    async with store_of(database, views, log) as store:
        for memory in log.add(ana, "it's C:\\dir\\'x' & \"more\"", "http://a.b/c\\d?e='f'", "日本語 😀", "plain words"):
            log.embed(ana, memory, [0.6, 0.8])
        await store.take()
        yield store, ana
