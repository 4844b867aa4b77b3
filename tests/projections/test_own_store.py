"""The store of docs/stores.md does what every view must do."""

from __future__ import annotations

import importlib.util
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

from projections.view import View, ViewSettings
from projections.views import REGISTRY, build_views
from tests.docs.readme import EXAMPLE, STORES, filled
from tests.projections.harness import AUDIT_KEY, Fold, of_view, owner
from tests.projections.logs import T0, LogMaker
from tests.projections.test_spec import ViewSpec
from tests.projections.test_splits import TOPICS

FILE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "store" / "facts_per_day.py"


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("facts_per_day", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["facts_per_day"] = module
    spec.loader.exec_module(module)
    return module


class TestFactsPerDay(ViewSpec):
    name = "facts"

    @pytest.fixture
    def view(self, monkeypatch: pytest.MonkeyPatch) -> View:
        monkeypatch.setitem(REGISTRY, "facts", _module().FactsView)
        return build_views(ViewSettings(TOPICS, AUDIT_KEY), ["facts"])["facts"]

    async def test_it_counts_the_facts_of_each_day(self, database: str, view: View) -> None:
        log, ana, ben = LogMaker(TOPICS), owner(), owner()
        log.add(ana, "one", "two", at=T0)
        log.add(ana, "three", at=T0 + timedelta(days=1))
        log.add(ben, "four", at=T0)
        log.erase(ben)
        async with Fold.of(database, view) as fold:
            await fold.take(of_view(view, log.records))
            rows = await fold.rows("day, facts FROM {s}.facts_per_day ORDER BY day")
        assert rows == [(T0.date(), 2), ((T0 + timedelta(days=1)).date(), 1)]


def test_the_page_shows_the_file_that_is_run_here_and_it_is_short() -> None:
    text = STORES.read_text(encoding="utf-8")
    assert [match[1] for match in EXAMPLE.finditer(text)] == ["docs/examples/store/facts_per_day.py"]
    assert text == filled(text), "run: .venv/bin/python -m tests.docs.readme"
    assert len(FILE.read_text(encoding="utf-8").splitlines()) < 60
