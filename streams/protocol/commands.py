"""Reading command records: what is on memory.commands, and what to make of a record that cannot be used."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from schemas import codec, ids
from schemas.errors import ContractError
from schemas.topics import partition_of
from schemas.types import COMMANDS
from streams.protocol.lane import Pending


@dataclass(frozen=True, slots=True)
class RawCommand:
    """A record of one partition of memory.commands, as it came."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


def read_command(raw: RawCommand, partition: int, partitions: int) -> Pending | str:
    """The command; else, where the key names an owner of this partition, a Pending without a command, to be parked in that
    owner's order; else the reason why it belongs to nobody."""
    owner = _owner_of_key(raw.key, partition, partitions)
    if owner is None:
        return "the key is no owner reference of this partition"
    try:
        command = codec.decode(raw.value or b"")
    except ContractError as error:
        return Pending(raw.offset, owner, None, problem=str(error))
    if not isinstance(command, COMMANDS):
        return Pending(raw.offset, owner, None, problem=f"a {type(command).__name__} is no command")
    if command.meta.owner != owner:
        return Pending(raw.offset, owner, None, problem="the command's owner is not the key's")
    return Pending(raw.offset, owner, command)


@functools.lru_cache(maxsize=20_000)
def _owner_of_key(key: bytes | None, partition: int, partitions: int) -> str | None:
    try:
        owner = (key or b"").decode()
    except UnicodeDecodeError:
        return None
    return owner if ids.is_uuid(owner) and partition_of(owner, partitions) == partition else None
