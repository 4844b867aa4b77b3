"""The master key, under which owners' keys are wrapped. It is never kept in the key store.

A local one comes from a file or from an environment variable's value. Vault or a cloud's key management fits behind
``MasterKey``: then the key itself never enters this process.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from ops.keys.cipher import derive
from ops.keys.files import KEY_BYTES, KeyFileError, load_or_make
from schemas.errors import KeyLost


class MasterKeyMissing(KeyLost):
    """Owners' keys are wrapped under a master key that was not given. The text names it by its id."""


class MasterKey(Protocol):
    """Wraps keys of 32 bytes. ``context`` is bound to what it wraps: under another one it does not come out again."""

    @property
    def key_id(self) -> str:
        """Which key it is; kept beside everything that it wraps."""
        ...

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        """``key``, wrapped. Raises ConnectionError while the keeper of the master key is away."""
        ...

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """What was wrapped. Raises KeyLost where it was changed or is another key's; ConnectionError."""
        ...


class LocalMasterKey:
    """A master key of at least 32 bytes in this process (AES-SIV under a key derived from it)."""

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise KeyFileError(f"a master key has at least {KEY_BYTES} bytes, this one has {len(key)}")
        self._siv = AESSIV(derive(key, b"emberlog master wrap", 64))
        self._key_id = derive(key, b"emberlog master id", 8).hex()

    @property
    def key_id(self) -> str:
        return self._key_id

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        return self._siv.encrypt(key, [context])

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return self._siv.decrypt(wrapped, [context])
        except InvalidTag:
            raise KeyLost(f"a key does not come out under master key {self._key_id}: the key store was changed") from None


def master_from_file(path: Path) -> LocalMasterKey:
    """The master key in ``path``: 32 bytes, mode 0600, made when it is missing. Raises KeyFileError."""
    return LocalMasterKey(load_or_make(path))


def master_from_text(text: str) -> LocalMasterKey:
    """The master key of an environment variable: base64 of at least 32 bytes. Raises KeyFileError; its text holds no key."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise KeyFileError("the master key is no base64: write 32 random bytes in base64, 44 characters") from None
    return LocalMasterKey(key)


class Masters:
    """The master key that wraps, and former ones that still unwrap while a rotation is under way."""

    def __init__(self, current: MasterKey, *former: MasterKey) -> None:
        self.current = current
        self._by_id = {master.key_id: master for master in (*former, current)}

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the master keys that were given."""
        return frozenset(self._by_id)

    async def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """What master key ``key_id`` wrapped. Raises MasterKeyMissing, KeyLost, ConnectionError."""
        return await self.require(key_id).unwrap(wrapped, context)

    def require(self, key_id: str) -> MasterKey:
        """The master key of that id. Raises MasterKeyMissing."""
        if key_id not in self._by_id:
            given = ", ".join(sorted(self._by_id))
            raise MasterKeyMissing(
                f"owners' keys are wrapped under master key {key_id}, which was not given (given: {given}): "
                "put its backup back, or give it as a former one. Without it their content cannot be read"
            )
        return self._by_id[key_id]
