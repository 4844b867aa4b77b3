"""The brain tables: a row per memory of a user or company, by slug, and who was let in to which company."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from projections.owners import Owners
from projections.view import View
from schemas.codec import decode_as, encode
from schemas.owner import Owner
from schemas.sealed import DESTROYED, Sealed
from schemas.types import MemoryAdded
from tests.projections.harness import EVERYBODY, Fold, Known, of_view, owner
from tests.projections.logs import T0, LogMaker, Rec
from tests.projections.test_spec import PLAN
from tests.projections.test_splits import TOPICS, write

LATER = T0 + timedelta(days=30)
TABLES = ("user_brain", "company_brain", "brain_access", "brain_erased")
splits = pytest.mark.parametrize("split", ["at once", "one by one"])


@pytest.fixture
def brain(views: dict[str, View]) -> View:
    return views["brain"]


def pair() -> tuple[str, str]:
    """A user and a company that are known."""
    return f"{owner()[:-1]}1", f"{owner()[:-1]}0"


def known(**kinds: str) -> tuple[Known, dict[str, str]]:
    """Owners of the named kinds, and their references by id."""
    references = {id: owner() for id in kinds}
    return Known({references[id]: Owner("default", kind, id) for id, kind in kinds.items()}), references


def cuts(split: str, log: LogMaker) -> range:
    return range(1, len(log.records)) if split == "one by one" else range(0)


async def slugs(fold: Fold, table: str = "user_brain") -> dict[str, str]:
    """Contents by slug; no record was skipped."""
    assert await fold.rows("reason FROM {s}.view_problem") == []
    return dict(await fold.rows(f"slug, content FROM {{s}}.{table}"))


async def test_memories_of_users_and_companies_stand_under_their_ids_and_those_of_others_nowhere(
    database: str, brain: View, log: LogMaker
) -> None:
    owners, who = known(ana="user", acme="company", tribe="shared", clock="system")
    made = {id: UUID(log.request(reference, f"of {id}", slug="name", at=T0)) for id, reference in who.items()}
    log.request(owner(), "of somebody whom the directory does not know")
    async with Fold.of(database, brain, owners=owners) as fold:
        await fold.take(log.records)
        columns = "id, memory_id, slug, content, extra_metadata, created_at, updated_at, owner, tenant"
        for table, id in (("user", "ana"), ("company", "acme")):
            expected: tuple[Any, ...] = (made[id], made[id], "name", f"of {id}", {}, T0, T0, UUID(who[id]), "default", id)
            assert await fold.rows(f"{columns}, {table}_id FROM {{s}}.{table}_brain") == [expected]


@splits
async def test_a_revision_changes_words_and_what_it_names_of_the_rest(
    database: str, brain: View, log: LogMaker, split: str
) -> None:
    ana, _ = pair()
    memory = log.request(ana, "old", at=T0, slug="job", category="work", tags="a,b", extra='{"n": [1, null]}')
    log.reheat(ana, memory, at=T0 + timedelta(days=1))
    log.revise(ana, memory, "new", at=LATER, category="career", tags="c")
    log.revise(ana, memory, "newer", at=LATER, by_request=False)
    async with Fold.of(database, brain) as fold:
        await fold.take(log.records, cuts(split, log))
        [row] = await fold.rows("slug, content, extra_metadata, created_at, updated_at FROM {s}.user_brain")
    assert row == ("job", "newer", {"category": "career", "tags": ["c"], "extra": {"n": [1, None]}}, T0, LATER)


@splits
async def test_a_slug_that_goes_over_to_another_memory_stands_once(database: str, brain: View, log: LogMaker, split: str) -> None:
    ana, _ = pair()
    first, second = log.request(ana, "one", slug="x"), log.request(ana, "two", slug="y")
    log.revise(ana, first, "one", slug="z")
    log.revise(ana, second, "two", slug="x")
    log.revise(ana, first, "one", slug="y")
    async with Fold.of(database, brain) as fold:
        await fold.take(log.records, cuts(split, log))
        assert await slugs(fold) == {"y": "one", "x": "two"}


async def test_memories_without_a_slug_have_one_that_no_given_slug_can_take(database: str, brain: View, log: LogMaker) -> None:
    ana, _ = pair()
    [plain] = log.add(ana, "no slug")
    given = [f"memory:{plain}", f"memory:memory:{plain}", "x" * 100_000, "x" * 99_999 + "y", "é" * 512]
    for slug in given:
        log.request(ana, f"{len(slug)} {slug[-1]}", slug=slug)
    empty = log.request(ana, "empty", slug="")
    async with Fold.of(database, brain) as fold:
        await fold.take(log.records)
        found = await slugs(fold)
    assert len(found) == 7
    assert found[f"memory:{plain}"] == "no slug"
    assert found[f"memory:{empty}"] == "empty"
    assert sorted(map(len, found)) == sorted([43, 50, 57, 43, 78, 78, 512])


async def test_its_rows_are_exactly_the_live_memories(database: str, views: dict[str, View]) -> None:
    log = LogMaker(TOPICS)
    write(log, [step for step in PLAN if step[0] != "erase"])
    views = {name: type(views[name])(_settings()) for name in ("brain", "thermal")}  # type: ignore[call-arg]
    async with Fold.of(database, views["brain"]) as brain, Fold.of(database, views["thermal"]) as thermal:
        await brain.take(of_view(brain.view, log.records))
        await thermal.take(of_view(thermal.view, log.records))
        live = await thermal.rows("id, owner, original_content FROM {s}.thermal_memory_archive ORDER BY id")
        columns = "id, owner, content FROM {s}."
        held = [*await brain.rows(f"{columns}user_brain"), *await brain.rows(f"{columns}company_brain")]
    assert len(live) > 3
    assert sorted(held) == live


def _settings() -> Any:
    from projections.view import ViewSettings

    return ViewSettings(TOPICS)


async def test_contents_are_found_by_spanish_and_by_english_stems(database: str, brain: View, log: LogMaker) -> None:
    ana, acme = pair()
    for who in (ana, acme):
        log.request(who, "La empresa tributa bajo el régimen ProPyme; the owners were running late")
    async with Fold.of(database, brain) as fold:
        await fold.take(log.records)
        for table in ("user_brain", "company_brain"):
            matches = ("spanish", "tributando empresas"), ("english", "owner runs"), ("spanish", "renta")
            found = [await fold.rows(f"tsv @@ plainto_tsquery(%s, %s) FROM {{s}}.{table}", *match) for match in matches]
            assert found == [[(True,)], [(True,)], [(False,)]]


@splits
async def test_a_forgotten_memory_leaves_nothing_and_its_slug_is_free_again(
    database: str, brain: View, log: LogMaker, split: str
) -> None:
    ana, acme = pair()
    for who in (ana, acme):
        log.forget(who, log.request(who, "first", slug="x", category="c", tags="t"))
        log.request(who, "second", slug="x")
    async with Fold.of(database, brain) as fold:
        await fold.take(log.records, cuts(split, log))
        assert await slugs(fold) == await slugs(fold, "company_brain") == {"x": "second"}


async def test_values_whose_keys_are_gone_do_not_stand_in_each_others_way(database: str, brain: View, log: LogMaker) -> None:
    """As a rebuild meets memories that were forgotten since, before their forgettings."""
    ana, _ = pair()
    memories = [log.request(ana, f"fact {i}", slug=f"slug {i}", category="c", tags="t", extra="{}") for i in range(3)]
    gone = Sealed(b"", DESTROYED)
    for place, record in enumerate(log.records[:2]):
        event = decode_as(MemoryAdded, record.value or b"")
        event = replace(event, content=gone, slug=gone, category=gone, tags=(gone,), extra=gone)
        log.records[place] = _with(record, encode(event))
    async with Fold.of(database, brain) as fold:
        await fold.take(log.records)
        assert await slugs(fold) == {f"memory:{memories[0]}": "", f"memory:{memories[1]}": "", "slug 2": "fact 2"}
        begin = len(log.records)
        log.forget(ana, *memories[:2])
        await fold.take(log.records[begin:])
        assert await slugs(fold) == {"slug 2": "fact 2"}


def _with(record: Rec, value: bytes) -> Rec:
    return Rec(record.topic, record.partition, record.offset, record.key, value, record.headers)


async def test_accesses_of_users_to_companies_are_kept_with_their_ends_and_others_are_not(
    database: str, brain: View, log: LogMaker
) -> None:
    owners, who = known(ana="user", ben="user", acme="company", other="company", tribe="shared")
    log.access(who["acme"], who["ana"], at=T0)
    log.access(who["acme"], who["ben"], access_id="a-2", at=T0)
    log.access(who["acme"], who["ana"], ended=True, at=LATER)
    log.access(who["acme"], who["other"], access_id="a company's")
    log.access(who["acme"], "no reference", access_id="a-4")
    log.access(who["acme"], owner(), access_id="unknown")
    log.access(who["tribe"], who["ana"])
    log.access(who["ana"], who["ben"])
    log.access(who["other"], who["ben"], ended=True)
    async with Fold.of(database, brain, owners=owners) as fold:
        await fold.take(log.records)
        columns = "company_id, user_id, tenant, kind, access_id, began_at, ended_at, owner::text, subject::text"
        rows = await fold.rows(columns + " FROM {s}.brain_access ORDER BY access_id")
        assert await fold.rows("* FROM {s}.view_problem") == []
    assert rows == [
        ("acme", "ana", "default", "session", "a-1", T0, LATER, who["acme"], who["ana"]),
        ("acme", "ben", "default", "session", "a-2", T0, None, who["acme"], who["ben"]),
    ]


class Changing(Owners):
    """A directory in which ``gone`` is erased once it was asked ``times``."""

    def __init__(self, gone: str, times: int) -> None:
        self._gone, self._times = gone, times

    async def owners_of(self, references: Any) -> Any:
        self._times -= 1
        return {
            reference: o for reference, o in EVERYBODY.named(references).items() if reference != self._gone or self._times >= 0
        }


@pytest.mark.parametrize("gone", ["user", "company"])
@pytest.mark.parametrize("first", ["the owner's own log", "the other's"])
async def test_an_erased_owner_leaves_the_same_rows_whenever_directory_and_projector_learn_of_it(
    database: str, brain: View, log: LogMaker, gone: str, first: str
) -> None:
    """Accesses stand on the company's partition and erasures on each owner's own: any order may be met."""
    ana, acme = pair()
    erased = ana if gone == "user" else acme
    for who in (ana, acme):
        memory = log.request(who, f"first of {who}", slug="x")
        log.revise(who, memory, "revised")
    log.access(acme, ana)
    log.erase(erased)
    log.request(erased, "late", slug="late")
    log.access(acme, ana, access_id="late")
    log.access(acme, ana, ended=True)
    # by owner: what one partition holds comes in its order
    records = sorted(log.records, key=lambda r: (r.key == erased.encode()) is (first == "the other's"))
    offsets: dict[tuple[str, int], int] = {}
    for place, record in enumerate(records):
        at = (record.topic, record.partition)
        offsets[at] = offsets.get(at, -1) + 1
        records[place] = Rec(*at, offsets[at], record.key, record.value, record.headers)
    results = []
    for owners in (EVERYBODY, *(Changing(erased, times) for times in (0, 1, 3, 5))):
        async with Fold.of(database, brain, owners=owners) as fold:
            await fold.take(records, range(1, len(records)))
            assert await fold.rows("reason FROM {s}.view_problem") == []
            results.append([await fold.rows(f"t::text FROM {{s}}.{table} t") for table in TABLES])
    assert all(result == results[0] for result in results)
    kept = "company_brain" if gone == "user" else "user_brain"
    assert [bool(rows) for rows in results[0]] == [table in (kept, "brain_erased") for table in TABLES]
    assert erased not in str(results[0][:3])


async def test_who_comes_back_under_the_same_id_is_in_nobodys_way_before_the_erasure_is_folded(
    database: str, brain: View, log: LogMaker
) -> None:
    before, after = owner(), owner()
    owners = Known({reference: Owner("default", "user", "u-ana") for reference in (before, after)})
    log.request(before, "of before", slug="x")
    log.request(after, "of after", slug="x")
    async with Fold.of(database, brain, owners=owners) as fold:
        await fold.take(log.records)
        begin = len(log.records)
        log.erase(before)
        await fold.take(log.records[begin:])
        assert await slugs(fold) == {"x": "of after"}


BROKEN: dict[str, Callable[[LogMaker, str], object]] = {
    "content": lambda log, ana: log.request(ana, "a\0b"),
    "slug": lambda log, ana: log.request(ana, "words", slug="a\0b"),
    "access": lambda log, ana: log.access(ana, ana, access_id="a\0b"),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_nul_byte_is_a_problem_of_its_record_alone(database: str, brain: View, log: LogMaker, what: str) -> None:
    ana, _ = pair()
    BROKEN[what](log, ana)
    log.request(ana, "fine", slug="s")
    async with Fold.of(database, brain) as fold:
        await fold.take(log.records)
        assert await fold.rows("slug FROM {s}.user_brain") == [("s",)]
        [(reason,)] = await fold.rows("reason FROM {s}.view_problem")
    assert "NUL" in reason
