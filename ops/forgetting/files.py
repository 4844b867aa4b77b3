"""Searching files of the data folder, in portions that overlap by as much as the longest match can have."""

from __future__ import annotations

import asyncio
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from ops.forgetting.findings import Search, Searched
from ops.forgetting.stores import Kind, Store, store_of

PORTION = 1024 * 1024
_ZEROS = bytes(PORTION)


def files_of(data_dir: Path) -> dict[str, list[PurePosixPath]]:
    """Ordinary files by the store that owns them, as paths inside the data folder."""
    found: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in _walk(data_dir):
        inside = PurePosixPath(path.relative_to(data_dir).as_posix())
        found[store_of(inside).name].append(inside)
    return found


def _walk(data_dir: Path) -> Iterator[Path]:
    """Files in an order that does not change, behind links to folders too (the database's is one), each folder once."""
    seen = set()
    for folder, folders, names in os.walk(data_dir, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))


async def search_files(search: Search, data_dir: Path, stores: Sequence[Store]) -> None:
    """Search the files of ``stores``. A file that cannot be read is a failure; one that is gone meanwhile is not."""
    have = await asyncio.to_thread(files_of, data_dir)
    for store in stores:
        into = search.begin(store)
        if store.kind is Kind.UNREAD:
            into.items = len(have.get(store.name, ()))
            continue
        for inside in have.get(store.name, ()):
            try:
                await asyncio.to_thread(_file, search, into, data_dir, inside)
            except FileNotFoundError:
                continue
            except OSError as error:
                into.failures.append(f"{inside}: {error.strerror}")


def _file(search: Search, into: Searched, data_dir: Path, inside: PurePosixPath) -> None:
    """Search a file up to the size that it has now: a log that is written meanwhile has an end, too."""
    path = data_dir / inside
    if not stat.S_ISREG(path.stat().st_mode):
        return
    search.item(into)
    with path.open("rb") as file:
        left, at, before = os.fstat(file.fileno()).st_size, 0, b""
        while left > 0 and (portion := file.read(min(left, PORTION))):
            data = before + portion
            # most of a broker's or database's new file is zeros, and looking at them takes the most time
            for hit in search.needles.find(data) if portion != _ZEROS else ():
                if hit.end > len(before):  # else the portion before has told it
                    search.found(into, f"{inside} byte {at - len(before) + hit.start}", hit.form, hit.needle)
            at, left, into.size = at + len(portion), left - len(portion), into.size + len(portion)
            before = data[-(search.needles.longest - 1) :]
