"""What each event makes of the archive's rows, in one batch or in many."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from projections.view import View
from schemas.codec import decode_as
from schemas.sealed import Sealed
from schemas.types import MemoryAdded
from tests.projections.harness import Fold, owner
from tests.projections.logs import T0, LogMaker
from tests.projections.other_events import OTHERS

LATER = T0 + timedelta(days=30)


@pytest.fixture
def thermal(views: dict[str, View]) -> View:
    return views["thermal"]


# how a log of some records is cut into batches: memories are changed in the batch that makes them, in later ones, or by several
# events of one later batch
SPLITS: dict[str, Callable[[int], Iterable[int]]] = {
    "at once": lambda size: (),
    "one by one": lambda size: range(1, size),
    "the first before the rest": lambda size: (1,) if size > 1 else (),
}
splits = pytest.mark.parametrize("split", SPLITS)


async def row_of(database: str, thermal: View, log: LogMaker, columns: str, split: str = "at once") -> tuple[Any, ...]:
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records, list(SPLITS[split](len(log.records))))
        [row] = await fold.rows(columns + " FROM {s}.thermal_memory_archive")
        assert await fold.rows("count(*) FROM {s}.view_problem") == [(0,)]
        return row


@splits
async def test_a_revision_changes_words_warmth_and_details_and_keeps_id_and_history(
    database: str, thermal: View, log: LogMaker, split: str
) -> None:
    ana = owner()
    memory = log.request(ana, "old words", at=T0, slug="job", category="work", tags="a,b", extra='{"n": 1, "m": [null]}')
    log.revise(ana, memory, "new words", at=LATER, category="career", tags="c", extra="no JSON")
    row = await row_of(
        database,
        thermal,
        log,
        "id::text, original_content, memory_hash, temperature_score, last_access, created_at, access_count, version, metadata, "
        "tags, added_sequence, sequence, tsv @@ 'new'::tsquery, tsv @@ 'old'::tsquery",
        split,
    )
    metadata = {
        "source": "request",
        "user_id": "u-1",
        "mem0_event": "UPDATE",
        "slug": "job",
        "category": "career",
        "extra": "no JSON",
    }
    digest = hashlib.sha256(b"new words").hexdigest()
    tags = ["emberlog", "request", "u-1", "c"]
    assert row == (memory, "new words", digest, 52.5, LATER, T0, 2, 2, metadata, tags, 1, 2, True, False)


@splits
async def test_a_revision_that_names_no_details_leaves_them_as_they_are(
    database: str, thermal: View, log: LogMaker, split: str
) -> None:
    ana = owner()
    memory = log.request(ana, "old words", slug="job", tags="a,b", extra='{"n": 1}')
    log.revise(ana, memory, "new words")
    tags, metadata = await row_of(database, thermal, log, "tags, metadata", split)
    assert tags == ["emberlog", "request", "u-1", "a", "b"]
    assert metadata == {"source": "request", "user_id": "u-1", "mem0_event": "UPDATE", "slug": "job", "extra": {"n": 1}}


@splits
async def test_a_revision_of_an_extracted_memory_keeps_the_tags_of_extraction_before_its_own(
    database: str, thermal: View, log: LogMaker, split: str
) -> None:
    ana = owner()
    [memory] = log.add(ana, "old words")
    log.revise(ana, memory, "newer words", tags="a", by_request=False)
    log.revise(ana, memory, "newest words", tags="b,c")
    row = await row_of(database, thermal, log, "tags, metadata ->> 'source', version, access_count, turn_id", split)
    assert row[:4] == (["mem0", "auto_extracted", "u-1", "b", "c"], "mem0_extraction", 3, 3)
    assert row[4] is not None


async def test_a_revision_by_a_turn_is_a_mention_and_one_by_a_request_is_only_counted(
    database: str, thermal: View, log: LogMaker
) -> None:
    ana = owner()
    [memory] = log.add(ana, "old words")
    log.revise(ana, memory, "newer words", by_request=False)
    log.revise(ana, memory, "newest words")
    log.reheat(ana, memory, by_request=True)
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        assert await fold.rows("access_count FROM {s}.thermal_memory_archive") == [(4,)]
        assert await fold.rows("sequence, session_id FROM {s}.memory_mention ORDER BY 1") == [(1, "s-1"), (2, "s-4")]


async def test_a_memory_that_was_asked_for_has_no_turn_no_session_and_no_messages(
    database: str, thermal: View, log: LogMaker
) -> None:
    log.request(owner(), "remember this")
    columns = "turn_id, session_id, message_ids, producer_message_ids, source_offset, extractor, metadata, tags"
    row = await row_of(database, thermal, log, columns)
    metadata = {"source": "request", "user_id": "u-1", "mem0_event": "ADD"}
    assert row == (None, None, [], [], None, "request", metadata, ["emberlog", "request", "u-1"])


async def test_messages_stand_by_reference_and_by_their_producers_id(database: str, thermal: View, log: LogMaker) -> None:
    ana = owner()
    [memory] = log.add(ana, "one", producer_id="D1:3")
    log.reheat(ana, memory)
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        [(references, labels)] = await fold.rows("message_ids, producer_message_ids FROM {s}.thermal_memory_archive")
        assert labels == ["D1:3"] != references
        [first, second] = await fold.rows("message_ids, producer_message_ids FROM {s}.memory_mention ORDER BY sequence")
        assert first == (references, ["D1:3"])
        # where a producer gave no id, the reference is the label
        assert second[0] == second[1] != references


@splits
async def test_pinning_makes_sacred_at_the_temperature_of_that_moment_and_unpinning_ends_it(
    database: str, thermal: View, log: LogMaker, split: str
) -> None:
    ana, columns = owner(), "sacred, temperature_score, last_access, access_count, sequence"
    [memory] = log.add(ana, "one", at=T0)
    log.pin(ana, memory, at=LATER)
    assert await row_of(database, thermal, log, columns, split) == (True, 47.5, LATER, 1, 2)
    log.reheat(ana, memory, at=LATER + timedelta(days=300))
    warmed = LATER + timedelta(days=300)
    assert await row_of(database, thermal, log, columns, split) == (True, 52.5, warmed, 2, 3)
    log.pin(ana, memory, pinned=False, at=LATER + timedelta(days=400))
    assert await row_of(database, thermal, log, columns, split) == (False, 52.5, LATER + timedelta(days=400), 2, 4)


@splits
async def test_an_erased_owner_leaves_nothing_but_what_came_after(
    database: str, thermal: View, log: LogMaker, split: str
) -> None:
    ana, ben = owner(), owner()
    [memory, _] = log.add(ana, "Ana's secret", "another")
    log.reheat(ana, memory)
    log.add(ben, "Ben's")
    log.erase(ana)
    log.add(ana, "said after it")
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records, list(SPLITS[split](len(log.records))))
        rows = await fold.rows("original_content, owner::text FROM {s}.thermal_memory_archive")
        assert sorted(rows) == [("Ben's", ben), ("said after it", ana)]
        assert await fold.rows("count(*) FROM {s}.memory_mention") == [(2,)]


async def test_events_that_are_about_no_memory_of_the_archive_change_no_row_and_are_no_problem(
    database: str, thermal: View, log: LogMaker
) -> None:
    ana = owner()
    one, other = log.add(ana, "one", "two")
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        before = await fold.digest()
        seen = len(log.records)
        log.link(ana, one, other)
        log.link(ana, one, other, linked=False)
        log.downshift(ana, one)
        for kind in OTHERS:
            log.other(ana, kind)
        await fold.take(log.records[seen:])
        assert (await fold.digest()).differing(before) == ["owner_position"]
        assert await fold.rows("count(*) FROM {s}.view_problem") == [(0,)]
        assert await fold.rows("last_sequence FROM {s}.owner_position") == [(log.sequence(ana),)]


@pytest.mark.parametrize(
    ("extra", "kept"),
    [
        ('{"a": {"b": [1, 2.5, true, null, "ü"]}}', {"a": {"b": [1, 2.5, True, None, "ü"]}}),
        ("7", 7),
        ("", ""),
        ("{", "{"),
        ('"\\u0000"', '"\\u0000"'),
        ('"\\ud800"', '"\\ud800"'),
        ("NaN", "NaN"),
        ("1e999", "1e999"),
        ("[" * 2_000 + "]" * 2_000, "[" * 2_000 + "]" * 2_000),
    ],
    ids=range(9),
)
async def test_further_metadata_is_kept_as_json_and_as_text_where_it_is_none(
    database: str, thermal: View, log: LogMaker, extra: str, kept: Any
) -> None:
    log.request(owner(), "remember this", extra=extra)
    (metadata,) = await row_of(database, thermal, log, "metadata")
    assert metadata["extra"] == kept


async def test_a_memory_whose_text_cannot_be_opened_is_noted_and_the_rest_goes_on(
    database: str, thermal: View, log: LogMaker
) -> None:
    ana = owner()
    log.add(ana, "one")
    [record] = log.records
    assert record.value is not None
    event = decode_as(MemoryAdded, record.value)
    sealed = Sealed(b"\x00\x01", "a-cipher", "a-key")
    log.append(ana, [replace(event, meta=replace(event.meta, sequence=2), memory_id=owner(), content=sealed)])
    no_text = Sealed(b"\xff\xfe")
    log.append(ana, [replace(event, meta=replace(event.meta, sequence=3), memory_id=owner(), content=no_text)])
    async with Fold.of(database, thermal) as fold:
        await fold.take(log.records)
        assert await fold.rows("original_content FROM {s}.thermal_memory_archive") == [("one",)]
        reasons = sorted(reason for (reason,) in await fold.rows("reason FROM {s}.view_problem"))
        assert [r.partition(":")[0] for r in reasons] == ["SealedValue", "SealedValue"]
