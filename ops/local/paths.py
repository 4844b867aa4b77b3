"""Where embedded services keep their files, and the lock that lets one process at a time change them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LocalServicesError(RuntimeError):
    """An embedded service cannot be fetched, started or stopped; the message says what to do next."""


def cache_dir() -> Path:
    """Folder for what is fetched or built once per machine: `EMBERLOG_CACHE_DIR`, else `~/.cache/emberlog`."""
    configured = os.environ.get("EMBERLOG_CACHE_DIR")
    return (Path(configured) if configured else Path("~/.cache/emberlog")).expanduser().resolve()


def default_data_dir() -> Path:
    """Folder for broker and database data: `EMBERLOG_DATA_DIR`, else `.emberlog` under the current folder."""
    configured = os.environ.get("EMBERLOG_DATA_DIR")
    return (Path(configured) if configured else Path(".emberlog")).expanduser().resolve()


@contextmanager
def exclusive(lock_file: Path, *, deadline_s: float = 300.0) -> Iterator[None]:
    """Hold an advisory lock on `lock_file` (made if missing); the kernel frees it if the holder dies.

    Raises `LocalServicesError` when another process still holds it after `deadline_s` seconds.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + deadline_s
    with lock_file.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise LocalServicesError(
                        f"another process has held {lock_file} for {deadline_s:.0f} s; wait for it to end or stop it"
                    ) from None
                time.sleep(0.05)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` so that a reader or a crash sees the old or the new file, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
