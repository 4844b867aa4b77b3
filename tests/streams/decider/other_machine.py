"""A decider in a process of its own: reads histories as encoded commands from stdin, writes the encoded events to stdout.

A message is a count and as many records, each behind its length; numbers are 4 bytes, big endian.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from typing import IO, cast

from schemas.codec import decode, encode
from schemas.types import Command
from streams.decider import EMPTY, decide, fold

_NUMBER = struct.Struct(">I")


def write(out: IO[bytes], records: list[bytes]) -> None:
    """One message."""
    out.write(_NUMBER.pack(len(records)))
    out.writelines(part for record in records for part in (_NUMBER.pack(len(record)), record))
    out.flush()


def read(source: IO[bytes]) -> list[bytes] | None:
    """The next message; None at the end."""
    head = source.read(_NUMBER.size)
    if not head:
        return None
    (count,) = _NUMBER.unpack(head)
    return [source.read(*_NUMBER.unpack(source.read(_NUMBER.size))) for _ in range(count)]


def log_of(commands: Iterable[Command]) -> list[bytes]:
    """The encoded events of the commands, one after another."""
    state, log = EMPTY, list[bytes]()
    for cause, command in enumerate(commands):
        events = decide(state, command, cause)
        state = fold(state, events)
        log.extend(map(encode, events))
    return log


def main() -> None:
    """Answer until stdin ends."""
    while (commands := read(sys.stdin.buffer)) is not None:
        write(sys.stdout.buffer, log_of(cast(Command, decode(c)) for c in commands))


if __name__ == "__main__":
    main()
