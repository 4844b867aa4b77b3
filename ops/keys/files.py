"""Keys that this installation makes at its first start: 32 random bytes each, one file each, mode 0600, under ``<data>/keys/``.

- ``master``: owners' keys are wrapped under it, unless the settings name another place for it (``ops.keyring``).
- ``audit``: the owner hashes of the audit log are made under it, apart from owners' keys. Under another key the same owner would
  have another hash, so ``check_key`` refuses to start with one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

import psycopg

KEY_BYTES = 32
KEY_TABLE = "CREATE TABLE IF NOT EXISTS emberlog_key_check (name text PRIMARY KEY, digest text NOT NULL)"


class KeyFileError(RuntimeError):
    """A key file that cannot be used. The text names the file and says what to do; it never holds the key."""


def audit_key(data_dir: Path) -> bytes:
    """The audit log's key, made when it is missing. Raises KeyFileError."""
    return load_or_make(data_dir / "keys" / "audit.key")


def load_or_make(path: Path) -> bytes:
    """The 32 bytes in ``path``, made when it is missing; closed to others. Raises KeyFileError."""
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise KeyFileError(
            f"the key file {path} cannot be used ({error.strerror}): check the folder's owner and rights"
        ) from None
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"the key file {path} has {len(key)} bytes instead of {KEY_BYTES}: put its backup back")
    return key


def _make(path: Path) -> None:
    """Write a complete file aside and link it into place, so that of two first starts one wins and both read the same key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


async def check_key(dsn: str, name: str, key: bytes) -> None:
    """Compare ``key`` with the one this database was first used with, and note it when it is the first. Raises KeyFileError."""
    digest = hmac.new(key, b"emberlog key check", hashlib.sha256).hexdigest()
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('emberlog_key_check'))")
        await connection.execute(KEY_TABLE)
        await connection.execute("INSERT INTO emberlog_key_check VALUES (%s, %s) ON CONFLICT (name) DO NOTHING", (name, digest))
        row = await (await connection.execute("SELECT digest FROM emberlog_key_check WHERE name = %s", (name,))).fetchone()
    if row is None or not hmac.compare_digest(row[0], digest):
        raise KeyFileError(
            f"the {name} key of this data folder is not the one that the database was filled with, so it would not go on as "
            f"it began: use the data folder of the first start, or copy its keys/{name}.key"
        )
