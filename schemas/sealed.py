"""Values about a person: sealed under a key that can be destroyed, or plain until there are keys.

Only whoever shows or searches a value opens it. The decider copies sealed values from commands into events and compares
fingerprints and references, so it needs no key.
"""

from __future__ import annotations

from schemas.errors import SealedValue
from schemas.value import Value

PLAIN = "plain"
DESTROYED = "destroyed"
"""The cipher of a value whose key is gone: it has no data."""


class Sealed(Value, frozen=True):
    """``data`` is the value itself while ``cipher`` is ``plain``, else what the cipher made of it under ``key_id``."""

    data: bytes
    cipher: str = PLAIN
    key_id: str | None = None

    @classmethod
    def of(cls, text: str) -> Sealed:
        """``text`` in plain. A lone surrogate, which UTF-8 cannot hold, raises UnicodeEncodeError."""
        return cls(text.encode())

    @property
    def is_destroyed(self) -> bool:
        """Whether the value is gone for good."""
        return self.cipher == DESTROYED

    @property
    def raw(self) -> bytes:
        """The value's bytes. Raises SealedValue where it has not been opened."""
        if self.cipher != PLAIN:
            raise SealedValue("a value that has not been opened")
        return self.data

    @property
    def text(self) -> str:
        """The value as text. Raises SealedValue where it has not been opened or is no UTF-8."""
        try:
            return self.raw.decode()
        except UnicodeDecodeError:
            raise SealedValue("a value that is no text") from None

    def __repr__(self) -> str:
        return f"<{self.cipher}, {len(self.data)} bytes>"


def maybe(text: str | None) -> Sealed | None:
    """``text`` in plain, or None."""
    return None if text is None else Sealed.of(text)


def text_of(value: Sealed | None) -> str | None:
    """The text of an optional value; None, too, where it was destroyed."""
    return None if value is None or value.is_destroyed else value.text


def left_of(value: Sealed) -> str:
    """What is left of a text: nothing, once it was destroyed."""
    return "" if value.is_destroyed else value.text
