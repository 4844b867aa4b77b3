"""On PYTHONPATH of the processes under test: writes down where they connect to, and refuses what was not configured.

``EMBERLOG_TEST_CONNECTIONS`` is the file for the notes (one JSON object per line), ``EMBERLOG_TEST_ALLOWED`` a JSON list of
"host:port" and socket folders. What a C library does by itself (libpq) Python does not see; tests look at those sockets from
outside, and once with no network at all.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_FILE = os.environ.get("EMBERLOG_TEST_CONNECTIONS")
_ALLOWED: list[str] = json.loads(os.environ.get("EMBERLOG_TEST_ALLOWED", "[]"))
_HOSTS = {entry.rpartition(":")[0] for entry in _ALLOWED if ":" in entry}
_NAMES = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_WATCHED = ("socket.connect", "socket.sendto", "socket.sendmsg", *_NAMES)
_PROGRAMS = ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec")


def _target(event: str, args: tuple[Any, ...]) -> tuple[str, bool]:
    """Where the call leads, and whether that is allowed."""
    if event in _NAMES:
        name = args[0].decode() if isinstance(args[0], bytes) else str(args[0])
        return name, name in _HOSTS or name == "None"
    address = args[1]
    if address is None:
        return "connected", True
    if isinstance(address, tuple):
        target = f"{address[0]}:{address[1]}"
        return target, target in _ALLOWED
    path = os.fsdecode(address) if isinstance(address, bytes) else str(address)
    return path, any(path.startswith(entry) for entry in _ALLOWED if entry.startswith("/"))


def _note(**fields: Any) -> None:
    handle = os.open(str(_FILE), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, json.dumps({"pid": os.getpid(), **fields}).encode() + b"\n")
    os.close(handle)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _PROGRAMS:
        _note(event=event, target=str(args[0]), allowed=True)
    if event not in _WATCHED:
        return
    target, allowed = _target(event, args)
    _note(event=event, target=target, allowed=allowed)
    if not allowed:
        raise PermissionError(f"{event}: {target} is none of the configured services")


if _FILE:
    sys.addaudithook(_hook)
