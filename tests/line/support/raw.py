"""Marked words, and the search for them in the raw bytes of every file of a folder.

A word is a tag of random letters with a name behind it, so that one needle finds all words of a tag, and the bytes behind a hit
tell which. Letters only: the full-text index keeps such a word whole.
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ops.forgetting.needles import Needles

TAG_LETTERS = 12
PORTION = 4 * 1024 * 1024
BEHIND = 400
"""Bytes behind a tag in which the name is looked for: enough for every form."""


def new_tag() -> str:
    """Letters that stand nowhere else. Without vowels they are no word either, nor the stem of one."""
    return "".join(random.SystemRandom().choices("bcdfghjkmnpqrtvwxz", k=TAG_LETTERS))


@dataclass(frozen=True, slots=True)
class Found:
    """One place: the word's name ("?" where it is cut off), never what stands around it."""

    file: str
    byte: int
    form: str
    word: str

    def __str__(self) -> str:
        return f"{self.word} as {self.form} in {self.file} byte {self.byte}"


def search(folder: Path, tag: str, names: Collection[str], *, only: str = "") -> list[Found]:
    """Every place under ``folder`` where a word of ``tag`` stands, in contents and in names of files.

    ``only``: a part that the paths must have.
    """
    needles, found = Needles([tag]), []
    words = [(name, Needles([tag + name])) for name in sorted(names, key=len, reverse=True)]
    for path in _files(folder):
        inside = str(path.relative_to(folder))
        if only not in inside:
            continue
        found += [Found(inside, -1, "file name", "?") for _ in needles.find(inside.encode())]
        for at, data in _portions(path, needles.longest + BEHIND):
            for hit in needles.find(data):
                around = data[hit.start : hit.start + BEHIND]
                word = next((name for name, sought in words if any(h.start < 4 for h in sought.find(around))), "?")
                found.append(Found(inside, at + hit.start, hit.form, word))
    return list(dict.fromkeys(found))


def _files(folder: Path) -> Iterator[Path]:
    """Ordinary files, behind links to folders too: the database's may be one."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        yield from (path for name in sorted(names) if (path := Path(place) / name).is_file())


def _portions(path: Path, overlap: int) -> Iterator[tuple[int, bytes]]:
    """A file's bytes with their offset, in portions that overlap; those that are zeros alone are left out."""
    try:
        with path.open("rb") as file:
            at, before = 0, b""
            while portion := file.read(PORTION):
                if portion.count(0) != len(portion):
                    yield at - len(before), before + portion
                at, before = at + len(portion), portion[-overlap:]
    except FileNotFoundError:
        return  # deleted meanwhile
