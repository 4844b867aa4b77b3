"""Texts that are sought in bytes, in the forms in which programs write text down.

| form | found |
|---|---|
| ``utf-8`` | as it stands, in any case of its letters, composed or decomposed |
| ``json`` | with JSON's escapes: ``\\"``, ``\\n``, ``\\u00e1`` |
| ``utf-16`` | both byte orders, in any case |
| ``base64`` | the standard and the URL alphabet, at any position within a longer text; as it was given, to the letter |

Not found: text inside compressed or sealed bytes, text that is broken up (base64 over several lines, white space that was
changed, words of a full-text index), a hash of it, a vector of it, and text of fewer than six bytes in base64.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SHORTEST = 4
"""Bytes of the shortest text that may be sought: what is shorter stands everywhere by accident."""
SHORTEST_BASE64 = 6
_SHORT_ESCAPES = {'"': '"', "\\": "\\", "\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_ALPHABETS = {ord("+"): b"[+\\-]", ord("-"): b"[+\\-]", ord("/"): b"[/_]", ord("_"): b"[/_]"}


class TooShort(ValueError):
    """A text that is too short to be sought; the message does not hold it."""


class Hit(NamedTuple):
    """Where ``needle`` (its number, from 1) was found in some bytes, and in which form."""

    start: int
    end: int
    needle: int
    form: str


@dataclass(frozen=True, slots=True)
class _Form:
    needle: int
    name: str
    pattern: re.Pattern[bytes]
    anchor: bytes
    """Bytes in lower case without which there is no match; looking for them first is a hundred times faster."""


class Needles:
    """What is sought. It has no readable form: it must not get into a log or an error.

    Raises TooShort for a text of fewer than SHORTEST bytes.
    """

    __slots__ = ("_forms", "count", "longest")

    def __init__(self, texts: Sequence[str]) -> None:
        self._forms: list[_Form] = []
        self.count = len(texts)
        self.longest = 0
        """Bytes that the longest match can have."""
        for number, text in enumerate(texts, start=1):
            self._add(number, text.strip())

    def _add(self, number: int, text: str) -> None:
        if len(text.encode(errors="surrogatepass")) < SHORTEST:
            raise TooShort(f"a text of fewer than {SHORTEST} bytes cannot be sought: it stands everywhere by accident")
        for shape in dict.fromkeys((text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))):
            self._by_letter(number, "utf-8", [_cases(c, "utf-8") for c in shape])
            self._by_letter(number, "json", [_escapes(c) for c in shape])
            self._by_letter(number, "utf-16", [_cases(c, "utf-16-le") for c in shape])
            self._by_letter(number, "utf-16", [_cases(c, "utf-16-be") for c in shape])
            self._by_position(number, shape.encode(errors="surrogatepass"))

    def _by_letter(self, needle: int, name: str, letters: list[list[bytes]]) -> None:
        pattern = b"".join(re.escape(a[0]) if len(a) == 1 else b"(?:" + b"|".join(map(re.escape, a)) + b")" for a in letters)
        self._forms.append(_Form(needle, name, re.compile(pattern), _anchor(letters)))
        self.longest = max(self.longest, sum(max(map(len, a)) for a in letters))

    def _by_position(self, needle: int, data: bytes) -> None:
        """Base64 of what begins at the first, second or third byte of a group of three: the digits that only ``data`` decides."""
        if len(data) < SHORTEST_BASE64:
            return
        for before, skipped in ((0, 0), (1, 2), (2, 3)):
            encoded = base64.b64encode(b"\0" * before + data)
            digits = encoded[skipped : 8 * (before + len(data)) // 6]
            pattern = b"".join(_ALPHABETS.get(digit, bytes([digit])) for digit in digits)
            anchor = max(re.split(rb"[+/]", digits), key=len).lower()
            self._forms.append(_Form(needle, "base64", re.compile(pattern), anchor))
            self.longest = max(self.longest, len(digits))

    def find(self, data: bytes) -> Iterator[Hit]:
        """Every place in ``data``; one that is the same in two forms once, by the plainer form."""
        lowered = data.lower()
        seen: set[tuple[int, int]] = set()
        for form in self._forms:
            if form.anchor not in lowered:
                continue
            for match in form.pattern.finditer(data):
                at, needle = match.start(), form.needle
                # one byte beside it is the same text in UTF-16, read in the other byte order
                if seen.isdisjoint({(needle, at - 1), (needle, at), (needle, at + 1)}):
                    seen.add((needle, at))
                    yield Hit(at, match.end(), needle, form.name)

    def __repr__(self) -> str:
        return f"<{self.count} needles>"


def _variants(letter: str) -> list[str]:
    return list(dict.fromkeys((letter, letter.lower(), letter.upper(), letter.casefold())))


def _cases(letter: str, encoding: str) -> list[bytes]:
    return list(dict.fromkeys(v.encode(encoding, errors="surrogatepass") for v in _variants(letter)))


def _escapes(letter: str) -> list[bytes]:
    """The letter in JSON: as it is, or escaped, where it may be."""
    if letter in _SHORT_ESCAPES:
        return [b"\\" + _SHORT_ESCAPES[letter].encode(), *_hexadecimal(letter)]
    if letter == "/":
        return [b"/", b"\\/"]
    plain = _cases(letter, "utf-8")
    if letter.isascii() and letter.isprintable():
        return plain
    return [*plain, *(escape for variant in _variants(letter) for escape in _hexadecimal(variant))]


def _hexadecimal(text: str) -> Iterable[bytes]:
    units = text.encode("utf-16-be", errors="surrogatepass")
    numbers = [int.from_bytes(units[n : n + 2], "big") for n in range(0, len(units), 2)]
    return ("".join(f"\\u{n:04x}" for n in numbers).encode(), "".join(f"\\u{n:04X}" for n in numbers).encode())


def _anchor(letters: list[list[bytes]]) -> bytes:
    """The longest run that is the same, in lower case, in every match."""
    longest = run = b""
    for alternatives in letters:
        lowered = {a.lower() for a in alternatives}
        run = run + lowered.pop() if len(lowered) == 1 else b""
        longest = max(longest, run, key=len)
    return longest
