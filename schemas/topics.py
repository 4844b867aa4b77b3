"""The topics: names, partitioning, retention.

conversation.events, memory.commands, memory.events, memory.embeddings and memory.current are co-partitioned: an owner has the
same partition number in each. More partitions means a new topic generation, never an in-place change.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from aiokafka.partitioner import murmur2

INBOX_RETENTION_MS = 86_400_000
# Purged text leaves the disk with its whole segment, so segments are short; a batch of the broker's default limit still fits.
INBOX_SEGMENT_MS = 60_000
INBOX_SEGMENT_BYTES = 2_097_152
CURRENT_MAX_BYTES = 8_388_608
"""A memory's state holds values of several events, each of which may fill a record of the default size."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic to create: its name, partitions and broker settings."""

    name: str
    partitions: int
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the topics under an optional prefix (tests and several installations on one broker), all with ``partitions``."""

    partitions: int = 4
    prefix: str = ""

    @property
    def inbox(self) -> str:
        return f"{self.prefix}conversation.inbox.v1"

    @property
    def conversation(self) -> str:
        return f"{self.prefix}conversation.events.v1"

    @property
    def commands(self) -> str:
        return f"{self.prefix}memory.commands.v1"

    @property
    def events(self) -> str:
        return f"{self.prefix}memory.events.v1"

    @property
    def embeddings(self) -> str:
        return f"{self.prefix}memory.embeddings.v1"

    @property
    def current(self) -> str:
        return f"{self.prefix}memory.current.v1"

    @property
    def parked(self) -> str:
        return f"{self.prefix}memory.parked.v1"

    def specs(self) -> tuple[TopicSpec, ...]:
        """All topics with their settings."""
        forever = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
        inbox = {
            "cleanup.policy": "delete",
            "retention.ms": str(INBOX_RETENTION_MS),
            "segment.ms": str(INBOX_SEGMENT_MS),
            "segment.bytes": str(INBOX_SEGMENT_BYTES),
            "file.delete.delay.ms": "0",
        }
        kept = (self.conversation, self.commands, self.events, self.parked)
        return (
            TopicSpec(self.inbox, self.partitions, inbox),
            *(TopicSpec(name, self.partitions, forever) for name in kept),
            TopicSpec(self.embeddings, self.partitions, {"cleanup.policy": "compact"}),
            TopicSpec(self.current, self.partitions, {"cleanup.policy": "compact", "max.message.bytes": str(CURRENT_MAX_BYTES)}),
        )


@lru_cache(maxsize=65_536)
def partition_of(owner: str, partitions: int) -> int:
    """Partition of an owner reference: Kafka's own murmur2 rule, so that Java and Python producers agree."""
    return int((murmur2(owner.encode()) & 0x7FFFFFFF) % partitions)
