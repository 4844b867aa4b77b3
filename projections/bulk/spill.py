"""Records on disk between the two stages: each bucket holds all records of its owners, sealed as they were on the log.

A record was decoded already and is kept in MessagePack, which is read ten times as fast as Avro. Files are readable by their user
only, and lie in a folder that the fill removes at its end; one that is killed leaves them to whoever goes on.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct
from typing import Any

import msgspec

from projections.records import Placed
from schemas.types import RECORDS

EVENTS_PER_BUCKET = 12_000
MOST_BUCKETS = 2_048
HELD_BYTES = 32 * 1_048_576
"""So much is held in memory before it is written."""

_FRAME = Struct("<BHiqii")
_TOMBSTONE = 65_535
_KINDS = {kind: number for number, kind in enumerate(RECORDS)}
_encode = msgspec.msgpack.Encoder().encode
_decoders = [msgspec.msgpack.Decoder(kind) for kind in RECORDS]


def buckets_for(records: int) -> int:
    """How many buckets keep one small enough for memory. An owner is never divided: it counts as one, however large."""
    return max(1, min(MOST_BUCKETS, -(-records // EVENTS_PER_BUCKET)))


def bucket_of(home: str, buckets: int) -> int:
    """The bucket of whatever goes by ``home``."""
    return zlib.crc32(home.encode()) % buckets


class Spill:
    """Writes the records of one reader into its own file of each bucket."""

    def __init__(self, folder: Path, reader: int, buckets: int, topics: Iterable[str]) -> None:
        self._folder, self._reader, self._buckets = folder, reader, buckets
        self._topics = {topic: number for number, topic in enumerate(topics)}
        self._held: list[bytearray] = [bytearray() for _ in range(buckets)]
        self._sums = [(0, 0)] * buckets
        self._limit = max(4_096, HELD_BYTES // buckets)

    def put(self, home: str | None, placed: Placed) -> None:
        """Keep a record for the bucket of ``home``; without one for every bucket."""
        data = self._framed(placed)
        for bucket in range(self._buckets) if home is None else (bucket_of(home, self._buckets),):
            held = self._held[bucket]
            held += data
            if len(held) > self._limit:
                self._write(bucket)

    def close(self) -> dict[str, tuple[int, int]]:
        """Write what is held; sizes in bytes and CRC-32 of all files, by name."""
        for bucket in range(self._buckets):
            self._write(bucket)
        return {file_of(self._folder, n, self._reader).name: sums for n, sums in enumerate(self._sums) if sums[0]}

    def _framed(self, placed: Placed) -> bytes:
        key, record = placed.key, placed.record
        kind, body = (_TOMBSTONE, b"") if record is None else (_KINDS[type(record)], _encode(record))
        head = _FRAME.pack(
            self._topics[placed.topic],
            kind,
            placed.partition,
            placed.offset,
            -1 if key is None else len(key),
            len(body),
        )
        return b"".join((head, key or b"", body))

    def _write(self, bucket: int) -> None:
        held = self._held[bucket]
        if held:
            with file_of(self._folder, bucket, self._reader).open("ab") as file:
                file.write(held)
            size, crc = self._sums[bucket]
            self._sums[bucket] = size + len(held), zlib.crc32(held, crc)
            held.clear()


def file_of(folder: Path, bucket: int, reader: int) -> Path:
    """The file of one reader's records of one bucket."""
    return folder / f"{bucket}.{reader}.spill"


def read_bucket(folder: Path, bucket: int, topics: Iterable[str]) -> Iterator[Placed]:
    """The records of a bucket, those of each partition in their order."""
    names = list(topics)
    for path in sorted(folder.glob(f"{bucket}.*.spill")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            topic, kind, partition, offset, key_size, size = _FRAME.unpack_from(data, at)
            at += _FRAME.size
            key = None if key_size < 0 else data[at : at + key_size]
            at += max(key_size, 0)
            record: Any = None if kind == _TOMBSTONE else _decoders[kind].decode(data[at : at + size])
            at += size
            yield Placed(names[topic], partition, offset, key, record)
