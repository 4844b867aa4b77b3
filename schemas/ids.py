"""Ids: UUIDv5 everywhere, so that the same cause gives the same id on every machine and in every replay."""

from __future__ import annotations

import hashlib
from uuid import UUID

NAMESPACE = UUID("6b1f7c1e-7d0b-5c51-9a9e-5f0f4a1f2d3c")


def _v5(kind: str, *parts: object) -> str:
    # the unit separator keeps ("a", "bc") and ("ab", "c") apart; RFC 4122's UUIDv5 without uuid.UUID, which takes twice the time
    name = "\x1f".join((kind, *map(str, parts))).encode()
    digest = bytearray(hashlib.sha1(NAMESPACE.bytes + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def owner_reference(tenant: str, kind: str, id: str) -> str:
    """Owner reference of an owner. Random references come with the key store; until then it follows from the id."""
    return _v5("owner", tenant, kind, id)


def turn_id(owner: str, producer_id: str) -> str:
    """Turn id from the owner reference and the id that the producer gave (or the inbox position, where it gave none)."""
    return _v5("turn", owner, producer_id)


def message_reference(owner: str, producer_id: str) -> str:
    """Reference of a message from the id that its producer gave; unlike that id it says nothing about anybody."""
    return _v5("producer-message", owner, producer_id)


def message_id(turn: str, index: int) -> str:
    """Id of a message that came without one: its turn and place."""
    return _v5("message", turn, index)


def memory_id(owner: str, cause: int, place: int) -> str:
    """Memory id from the command's offset in its owner's partition and the fact's place in it (0 for a request)."""
    return _v5("memory", owner, cause, place)


def summary_id(owner: str, day: str) -> str:
    """Summary id of an owner's day (ISO date): a day has one summary, however often it is made."""
    return _v5("summary", owner, day)


def event_id(owner: str, sequence: int) -> str:
    """CloudEvents id of a memory event: an owner's sequence is unique on the accepted log."""
    return _v5("event", owner, sequence)


def record_id(topic: str, partition: int, offset: int) -> str:
    """Id of a record by its position."""
    return _v5("record", topic, partition, offset)


def parked_id(stage: str, topic: str, partition: int, offset: int) -> str:
    """Id of parked work: the same work parked twice is one entry."""
    return _v5("parked", stage, topic, partition, offset)


def is_uuid(text: str) -> bool:
    """True for canonical UUID text."""
    try:
        return str(UUID(text)) == text
    except (ValueError, AttributeError, TypeError):
        return False
