"""Ids: UUIDv5 everywhere, so that the same cause gives the same id on every machine and in every replay."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple
from uuid import UUID

NAMESPACE = UUID("6b1f7c1e-7d0b-5c51-9a9e-5f0f4a1f2d3c")
_SPACE = NAMESPACE.bytes
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The digit that says the variant, by the digit that the hash has in its place."""


def _v5(name: str) -> str:
    # RFC 4122's UUIDv5 without uuid.UUID, which takes three times as long; names join their parts by the unit separator, which
    # keeps ("a", "bc") and ("ab", "c") apart
    text = hashlib.sha1(_SPACE + name.encode(), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def turn_id(owner: str, producer_id: str) -> str:
    """Turn id from the owner reference and the id that the producer gave (or the inbox position, where it gave none)."""
    return _v5(f"turn\x1f{owner}\x1f{producer_id}")


def message_reference(owner: str, producer_id: str) -> str:
    """Reference of a message from the id that its producer gave; unlike that id it says nothing about anybody."""
    return _v5(f"producer-message\x1f{owner}\x1f{producer_id}")


def message_id(turn: str, index: int) -> str:
    """Id of a message that came without one: its turn and place."""
    return _v5(f"message\x1f{turn}\x1f{index}")


def memory_id(owner: str, cause: int, place: int) -> str:
    """Memory id from the command's offset in its owner's partition and the fact's place in it (0 for a request)."""
    return _v5(f"memory\x1f{owner}\x1f{cause}\x1f{place}")


def summary_id(owner: str, day: str) -> str:
    """Summary id of an owner's day (ISO date): a day has one summary, however often it is made."""
    return _v5(f"summary\x1f{owner}\x1f{day}")


def event_id(owner: str, sequence: int) -> str:
    """CloudEvents id of a memory event: an owner's sequence is unique on the accepted log."""
    return _v5(f"event\x1f{owner}\x1f{sequence}")


def record_id(topic: str, partition: int, offset: int) -> str:
    """Id of a record by its position."""
    return _v5(f"record\x1f{topic}\x1f{partition}\x1f{offset}")


def parked_id(stage: str, topic: str, partition: int, offset: int) -> str:
    """Id of parked work: the same work parked twice is one entry."""
    return _v5(f"parked\x1f{stage}\x1f{topic}\x1f{partition}\x1f{offset}")


def confirmation_id(forget_id: str, store: str) -> str:
    """Id of the command by which a store confirms a forgetting (its command's id): sent again it is the same."""
    return _v5(f"cleared\x1f{forget_id}\x1f{store}")


def receipt_command_id(forget_id: str) -> str:
    """Id of the command that issues the receipt of a forgetting."""
    return _v5(f"receipt command\x1f{forget_id}")


def receipt_id(forget_id: str) -> str:
    """Id of the receipt of a forgetting."""
    return _v5(f"receipt\x1f{forget_id}")


class Part(NamedTuple):
    """A command of several that carry out one request; their order is that of their numbers, from 1."""

    request_id: str
    number: int
    of: int


_PART = re.compile(r"(.+)/([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", re.DOTALL)


def part_id(request_id: str, number: int, of: int) -> str:
    """Id of the command ``number`` of ``of`` by which a request is carried out; of a single one the request's."""
    return request_id if of == 1 else f"{request_id}/{number}/{of}"


def part_of(command_id: str) -> Part:
    """Which part of which request a command is; one whose id says nothing of parts is all of it."""
    found = _PART.fullmatch(command_id)
    if found is None or not int(found[2]) <= int(found[3]):
        return Part(command_id, 1, 1)
    return Part(found[1], int(found[2]), int(found[3]))


_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def is_uuid(text: str) -> bool:
    """True for canonical UUID text."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None
