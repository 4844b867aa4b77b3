"""Which record types stand on which topic. A type stands on exactly one."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from types import MappingProxyType

from schemas.types import (
    COMMANDS,
    EVENTS,
    ConversationTurn,
    InboxTurn,
    MemoryCurrent,
    MemoryEmbedding,
    MessageEmbedding,
    ParkedRecord,
    Record,
)

TOPIC_RECORDS: Mapping[str, tuple[type[Record], ...]] = MappingProxyType(
    {
        "inbox": (InboxTurn,),
        "conversation": (ConversationTurn,),
        "commands": COMMANDS,
        "events": EVENTS,
        "embeddings": (MemoryEmbedding, MessageEmbedding),
        "current": (MemoryCurrent,),
        "parked": typing.get_args(ParkedRecord),
    }
)
"""By property of ``Topics``."""

_TOPICS = {kind: topic for topic, kinds in TOPIC_RECORDS.items() for kind in kinds}


def topic_of(kind: type[Record]) -> str:
    """The property of ``Topics`` that names the topic of ``kind``. Raises KeyError for a type that is no record."""
    return _TOPICS[kind]
