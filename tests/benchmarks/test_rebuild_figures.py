"""Figures of a rebuild from times worked out by hand, and the part of a history that the other consumers are given."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import JSONTranscoder

from benchmarks.rebuild import GOALS, Others, report_of
from benchmarks.rebuild_eventsourcing import InMessagePack, told
from benchmarks.rebuild_ours import Rebuilt
from benchmarks.rebuild_part import Part, share, woven
from benchmarks.rebuild_rivals import Raw
from projections.records import Kind, Placed, Source
from projections.view import ViewSettings
from projections.views import build_views
from schemas.owner import Owner
from schemas.sealed import DESTROYED, Sealed
from schemas.topics import Topics
from schemas.types import EventMeta, MemoryEmbedding, MemoryForgotten, MessageEmbedding

OWNER, MEMORY = "0b5c4a66-98e6-4a1a-8f2e-6f6b7a5a3c11", "b6a7f1de-0e39-4d12-9c55-2f5a0d1c9e22"
TOPICS = Topics()
EVENTS, EMBEDDINGS = TOPICS.events, TOPICS.embeddings
META = EventMeta(OWNER, 7, 3, 1, datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC), "t-1")
VECTOR = MemoryEmbedding(MEMORY, OWNER, "semantic", "a-model", 2, Sealed(b"\0\1\2\3"), 7)


def rebuilt(bulk_s: float, slow_s: float, rss_mib: float) -> Rebuilt:
    return Rebuilt({}, {}, bulk_s, {"slow": slow_s}, {}, 0.5, rss_mib)


def test_ratios_are_of_medians_and_neither_hnsw_nor_the_topic_is_in_one() -> None:
    runs = [rebuilt(6.0, 2.0, 300), rebuilt(9.0, 3.0, 500), rebuilt(7.0, 3.0, 400)]
    raws = [
        Raw({"thermal": 2.0, "slow": 0.5}, 9),
        Raw({"thermal": 9.0, "slow": 9.0}, 9),
        Raw({"thermal": 1.0}, 9),
    ]
    others = Others(merged_s=30.0, part=50, eventsourcing_s=1.0, rowwise_s=2.0)
    tenth = {"events": 100, "seconds": 1.25, "rss_mib": 200.0}
    hnsw = {"an index": {"seconds": 100.0}}
    report = report_of({"events": 1000}, runs, tenth, raws, others, {"hnsw_s": hnsw, "current_s": 4.0})
    assert report.ratios == {
        "copy": 10.0 / 2.5,
        "temp_merge": 30.0 / 10.0,
        "rowwise": 100.0 / 25.0,
        "eventsourcing": 100.0 / 50.0,
        "growth": 10.0 / 1.25,
    }
    figures = report.figures
    assert (figures["seconds"], figures["events_per_s"], figures["rss_mib"]) == (10.0, 100.0, 500)
    assert (figures["hnsw_s"], figures["current_s"], figures["cpu_us_per_event"]) == (hnsw, 4.0, 500.0)
    assert figures["spread_s"] == {"lowest": 8.0, "highest": 12.0, "raw_lowest": 1.0, "raw_highest": 18.0}
    assert set(GOALS) <= set(figures)
    assert not set(report.ratios) & set(figures), "the tables on the terminal show both"


@pytest.mark.parametrize(
    "record",
    [
        MemoryForgotten(META, MEMORY, 3, False, ()),
        VECTOR,
        MemoryEmbedding(MEMORY, OWNER, "semantic", "a-model", 2, Sealed(b"", DESTROYED, "k"), 7),
        None,
    ],
)
def test_the_library_gives_back_the_record_that_it_was_given(record: Any) -> None:
    owners = {OWNER: Owner("default", "user", "u-1")}
    placed = Placed("a-topic", 2, 41, b"key", record, owners)
    (event,) = told([placed])
    mapper = InMessagePack(JSONTranscoder())
    assert mapper.to_domain_event(mapper.to_stored_event(event)) == event
    assert event.placed.owners == owners


def test_events_are_in_their_owners_stream_and_other_records_in_their_partitions() -> None:
    event, vector, tombstone = (
        Placed("t", 1, at, b"k", record) for at, record in enumerate([MemoryForgotten(META, MEMORY, 3, False, ()), VECTOR, None])
    )
    found = list(told([event, vector, tombstone]))
    assert (found[0].originator_id, found[0].originator_version) == (UUID(OWNER), META.sequence)
    assert found[1].originator_id == found[2].originator_id != UUID(OWNER)
    assert [each.originator_version for each in found[1:]] == [2, 3]


def test_a_part_is_even_over_partitions_and_has_its_share_of_the_vectors() -> None:
    sources = [Source(EVENTS, 2, Kind.EVENTS), Source(EMBEDDINGS, 2, Kind.PLAIN)]
    ends = {(EVENTS, 0): 100, (EVENTS, 1): 3, (EMBEDDINGS, 0): 60, (EMBEDDINGS, 1): 3}
    target = {(EVENTS, 0): 10, (EVENTS, 1): 3, (EMBEDDINGS, 0): 6, (EMBEDDINGS, 1): 3}
    assert share(ends, sources, 20) == target
    assert share({**ends, (EVENTS, 1): 0, (EMBEDDINGS, 1): 0}, sources, 20)[EMBEDDINGS, 1] == 0


def test_vectors_come_evenly_among_the_events_of_their_partition() -> None:
    def some(topic: str, partition: int, count: int) -> list[Placed]:
        return [Placed(topic, partition, at, b"k", None) for at in range(count)]

    places = [(EMBEDDINGS, 0, 2), (EVENTS, 0, 4), (EVENTS, 1, 1), (EMBEDDINGS, 1, 3)]
    order = list(woven({(topic, p): some(topic, p, count) for topic, p, count in places}, TOPICS))
    assert [(each.topic == EVENTS, each.partition, each.offset) for each in order] == [
        (True, 0, 0), (True, 0, 1), (False, 0, 0), (True, 0, 2), (True, 0, 3), (False, 0, 1),
        (True, 1, 0), (False, 1, 0), (False, 1, 1), (False, 1, 2),
    ]  # fmt: skip


def test_a_view_is_given_its_topics_only_and_sealed_values_where_it_opens_none() -> None:
    views = build_views(ViewSettings(audit_key=b"a key of thirty-two bytes, or so"))
    message = MessageEmbedding(MEMORY, OWNER, "semantic", "a-model", 2, Sealed(b"\0\1\2\3"))
    records = [(EVENTS, MemoryForgotten(META, MEMORY, 3, False, ())), (EMBEDDINGS, VECTOR), (EMBEDDINGS, message)]
    sealed, opened = ([Placed(topic, p, 0, b"k", record) for topic, record in records] for p in (0, 1))
    part = Part(MappingProxyType({}), sealed, opened, 1)  # type: ignore[arg-type]
    assert list(part.of(views["current"])) == sealed[:1]
    assert list(part.of(views["thermal"])) == opened[:1]
    assert list(part.of(views["graph"])) == opened
    assert list(part.of(views["mem0"])) == opened[:2]
    assert list(part.of(views["parked"])) == opened[:1]
