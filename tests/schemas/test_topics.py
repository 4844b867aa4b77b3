"""Topics: names, settings, and the partition that every client must compute alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.topics import Topics, partition_of

# org.apache.kafka.common.utils.UtilsTest#testMurmur2
KAFKA_MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


def murmur2(data: bytes) -> int:
    """Kafka's murmur2, written from its reference: 32 bits, seed 0x9747b28c, signed."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) - len(data) % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    h ^= h >> 15
    return h - 2**32 if h >= 2**31 else h


@pytest.mark.parametrize(("key", "value"), KAFKA_MURMUR2.items())
def test_the_partition_follows_kafka_s_own_vectors(key: str, value: int) -> None:
    assert murmur2(key.encode()) == value
    for partitions in (1, 2, 3, 4, 7, 12, 100):
        assert partition_of(key, partitions) == (value & 0x7FFFFFFF) % partitions


@given(st.text(), st.integers(1, 1000))
def test_the_partition_is_kafka_s_for_any_key(key: str, partitions: int) -> None:
    assert partition_of(key, partitions) == (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def test_the_names_are_those_that_others_rely_on() -> None:
    topics = Topics()
    assert (topics.inbox, topics.conversation, topics.commands) == (
        "conversation.inbox.v1",
        "conversation.events.v1",
        "memory.commands.v1",
    )
    assert (topics.events, topics.embeddings, topics.parked) == ("memory.events.v1", "memory.embeddings.v1", "memory.parked.v1")
    assert topics.current == "memory.current.v1"


def test_a_prefix_stands_before_every_name() -> None:
    assert {s.name for s in Topics(prefix="t1.").specs()} == {f"t1.{s.name}" for s in Topics().specs()}


def test_the_log_of_record_is_kept_for_ever_and_never_compacted() -> None:
    by_name = {s.name: s.config for s in Topics().specs()}
    for name in ("conversation.events.v1", "memory.commands.v1", "memory.events.v1", "memory.parked.v1"):
        assert by_name[name] == {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
    for name in ("memory.embeddings.v1", "memory.current.v1"):
        assert by_name[name]["cleanup.policy"] == "compact"


def test_the_plain_inbox_is_kept_for_a_day_at_most_in_short_segments() -> None:
    inbox = next(s for s in Topics().specs() if s.name == "conversation.inbox.v1").config
    assert 0 < int(inbox["retention.ms"]) <= 86_400_000
    assert 0 < int(inbox["segment.ms"]) <= 3_600_000


def test_topics_that_share_keys_share_their_number_of_partitions() -> None:
    assert {s.partitions for s in Topics(partitions=7).specs()} == {7}
