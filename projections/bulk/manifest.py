"""What a fill has read, written down once that is done: whoever finds it goes on with the second stage.

It names the files of the spill with their checksums, so that nobody folds what a crash of the machine left of them.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from functools import cache
from pathlib import Path
from uuid import UUID

import msgspec

from projections.bulk.plan import Build, Done, Work
from projections.records import Positions
from schemas.types import RECORDS
from schemas.versions import FILES

NAME = "manifest.json"
_FORMAT = 1


class Manifest(msgspec.Struct, frozen=True):
    """Positions are (topic, partition, offset); ``builds`` are (view, schema, version of the fold); ``failed`` is by schema."""

    fill: UUID
    form: str
    builds: list[tuple[str, str, int]]
    topics: list[str]
    until: list[tuple[str, int, int]]
    positions: list[tuple[str, int, int]]
    failed: dict[str, str]
    buckets: int
    files: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, work: Work, read: Done) -> Manifest:
        """What the first stage of ``work`` came to."""
        return cls(
            fill=work.fill,
            form=_form(),
            builds=[_named(build) for build in work.builds],
            topics=list(work.topics),
            until=_listed(work.until),
            positions=_listed(read.positions),
            failed={work.builds[place].schema: reason for place, reason in read.failed.items()},
            buckets=work.buckets,
            files=dict(read.files),
        )

    def write(self, folder: Path) -> None:
        """Write it, as a whole or not at all."""
        whole, part = folder / NAME, folder / f"{NAME}.part"
        with part.open("wb") as file:
            file.write(msgspec.json.encode(self))
            file.flush()
            os.fsync(file.fileno())
        part.replace(whole)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """That of a folder; None where there is none that this program understands."""
        try:
            found = msgspec.json.decode((folder / NAME).read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError):
            return None
        return found if found.form == _form() else None

    def has(self, build: Build) -> bool:
        """Whether it was read for this build, too."""
        return _named(build) in self.builds

    def is_below(self, until: Positions) -> bool:
        """Whether nothing was read beyond ``until``, as far as this names partitions."""
        return all(at <= until.get((topic, partition), at) for topic, partition, at in self.until)

    def is_whole(self, folder: Path) -> bool:
        """Whether the files are as they were written."""
        return all(_sum(folder / name) == tuple(sums) for name, sums in self.files.items())

    def done(self) -> Positions:
        """Sound positions."""
        return {(topic, partition): at for topic, partition, at in self.positions}


def _named(build: Build) -> tuple[str, str, int]:
    return build.view.name, build.schema, build.view.version


def _listed(positions: Positions) -> list[tuple[str, int, int]]:
    return [(topic, partition, at) for (topic, partition), at in sorted(positions.items())]


def _sum(path: Path) -> tuple[int, int] | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return len(data), zlib.crc32(data)


@cache
def _form() -> str:
    """Changes with whatever the spill's files follow from."""
    kinds = [f"{kind.__name__} {FILES.fingerprint(kind.__name__)}" for kind in RECORDS]
    return hashlib.sha256(f"{_FORMAT} {kinds}".encode()).hexdigest()
