"""Ciphers: what an item key and an owner key do. AES-SIV (RFC 5297): deterministic, and no nonce that could be used twice."""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import KeyLost, SealedValue
from schemas.sealed import Sealed

CIPHER = "aes-256-siv"
ITEM_KEY_BYTES = 64
OWNER_KEY_BYTES = 32


def derive(key: bytes, purpose: bytes, length: int) -> bytes:
    """``length`` bytes for one purpose out of ``key`` (HKDF-SHA-256): those of two purposes say nothing of each other."""
    return HKDF(SHA256(), length, salt=None, info=purpose).derive(key)


class SivKey:
    """An item key of 64 bytes: AES-SIV takes one half for the tag, one for AES-256. Its id is bound to what it seals."""

    __slots__ = ("_bound", "_key_id", "_siv")

    def __init__(self, key_id: str, key: bytes) -> None:
        self._key_id, self._bound, self._siv = key_id, [key_id.encode()], AESSIV(key)

    @property
    def key_id(self) -> str:
        """Id of the key, as sealed values carry it."""
        return self._key_id

    def seal(self, data: bytes) -> Sealed:
        """``data`` sealed, 16 bytes longer; the same data gives the same value."""
        return Sealed(self._siv.encrypt(data, self._bound), CIPHER, self._key_id)

    def open(self, value: Sealed) -> bytes:
        """What was sealed. Raises SealedValue for another cipher, another key, and changed data."""
        if value.cipher != CIPHER or value.key_id != self._key_id:
            raise SealedValue("a value that was sealed with another cipher or under another key")
        try:
            return self._siv.decrypt(value.data, self._bound)
        except (InvalidTag, ValueError):
            raise SealedValue("a sealed value that was changed") from None

    def __repr__(self) -> str:
        return f"<key {self._key_id}>"


class OwnerKey:
    """An owner's key, 32 bytes: wraps the owner's item keys, and gives the key of the owner's fingerprints."""

    __slots__ = ("_siv", "fingerprint_key")

    def __init__(self, key: bytes) -> None:
        self._siv = AESSIV(derive(key, b"emberlog owner wrap", 64))
        self.fingerprint_key = derive(key, b"emberlog owner fingerprint", 32)

    def wrap_new(self, key_id: str) -> bytes:
        """A new random item key, wrapped: 80 bytes."""
        return self._siv.encrypt(secrets.token_bytes(ITEM_KEY_BYTES), [key_id.encode()])

    def unwrap(self, key_id: str, wrapped: bytes) -> SivKey:
        """The item key. Raises KeyLost where ``wrapped`` is not that key under this owner's."""
        try:
            return SivKey(key_id, self._siv.decrypt(wrapped, [key_id.encode()]))
        except (InvalidTag, ValueError):
            raise KeyLost(f"key {key_id} does not come out under its owner's key: the key store was changed") from None

    def __repr__(self) -> str:
        return "<an owner's key>"
