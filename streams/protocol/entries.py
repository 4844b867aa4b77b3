"""Entries of an owner's state as the bytes of a table row: keys as they are sorted, values as JSON.

A value's form says its type: a plain string, whole number or fraction is itself, a list begins with the tag of its type.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
from msgspec.structs import astuple

from schemas.types import Sealed, ThermalPolicy
from streams.decider.state import AccessState, ApprovalState, Entry, Gone, MemoryState, Statement, SummaryState, Versioned

MAX_KEY_BYTES = 200
"""Longer keys are stored by their hash: a row of a btree index has at most 2,700 bytes."""
_HASHED = b"\xff"  # no UTF-8 text holds it, so no key of its own can look like a hashed one
_DEFAULT_POLICY = ThermalPolicy()


def dump_key(key: str) -> bytes:
    """The key of an entry's row; its first two bytes are the key's own."""
    raw = key.encode()
    return raw[:2] + _HASHED + hashlib.sha256(raw).digest() if _is_hashed(key) else raw


def _is_hashed(key: str) -> bool:
    # an ASCII key, as almost all are, has as many bytes as characters
    return (len(key) if key.isascii() else len(key.encode())) > MAX_KEY_BYTES


def dump_entry(key: str, entry: Entry) -> bytes:
    """The value of an entry's row."""
    plain = _DUMPS[type(entry)](entry)
    # of a hashed key the row itself must say what it was
    return orjson.dumps(["k", key, plain] if _is_hashed(key) else plain)


def load_entry(row_key: bytes, value: bytes) -> tuple[str, Entry]:
    """The key and entry that a row holds."""
    plain = orjson.loads(value)
    if row_key[2:3] == _HASHED:
        _, key, plain = plain
        return key, _load(plain)
    return row_key.decode(), _load(plain)


def _load(plain: Any) -> Entry:
    if type(plain) is not list:
        entry: Entry = plain
        return entry
    tag, *parts = plain
    return _LOADS[tag](*parts)


def _number(value: float) -> float | str:
    # JSON has no words for these
    return value if math.isfinite(value) else repr(value)


def _dump_scalar(entry: Any) -> Any:
    return entry


def _dump_float(entry: float) -> Any:
    return entry if math.isfinite(entry) else ["x", repr(entry)]


def _dump_ids(entry: tuple[str, ...]) -> Any:
    return ["e", *entry]


def _load_ids(*ids: str) -> Entry:
    return ids


def _dump_memory(m: MemoryState) -> Any:
    policy = m.policy
    numbers = [
        _number(n) for n in (policy.initial, policy.reheat, policy.maximum, policy.floor, policy.half_life_days)
    ]  # fmt: skip
    return [
        "m",
        m.fingerprint,
        _number(m.temperature),
        m.warmed_at,
        m.access_count,
        None if policy == _DEFAULT_POLICY else numbers,
        m.version,
        m.pinned,
        m.tier,
        m.slug_fingerprint,
        m.details_fingerprint,
        m.summaries,
    ]


def _load_memory(
    fingerprint: str,
    temperature: float | str,
    warmed_at: str,
    access_count: int,
    policy: list[float | str] | None,
    version: int,
    pinned: bool,
    tier: str,
    slug_fingerprint: str | None,
    details_fingerprint: str | None,
    summaries: list[str],
) -> Entry:
    return MemoryState(
        fingerprint,
        float(temperature),
        datetime.fromisoformat(warmed_at),
        access_count,
        _DEFAULT_POLICY if policy is None else ThermalPolicy(*map(float, policy)),
        version,
        pinned,
        tier,
        slug_fingerprint,
        details_fingerprint,
        tuple(summaries),
    )


def _dump_statement(s: Statement) -> Any:
    return ["f", s.held_below, len(s.former), *s.former, *s.memory_ids]


def _load_statement(held_below: int, former: int, *ids: str) -> Entry:
    return Statement(ids[former:], held_below, ids[:former])


def _dump_access(a: AccessState) -> Any:
    session = a.session
    sealed = None if session is None else [session.data.decode("latin-1"), session.cipher, session.key_id]
    return ["a", a.subject, a.kind, a.open, sealed]


def _load_access(subject: str, kind: Any, is_open: bool, sealed: list[Any] | None) -> Entry:
    session = None if sealed is None else Sealed(sealed[0].encode("latin-1"), sealed[1], sealed[2])
    return AccessState(subject, kind, is_open, session)


def _load_approval(operation: str, operation_id: str, by: str, may_decide: bool, expires_at: str, status: str) -> Entry:
    return ApprovalState(operation, operation_id, by, may_decide, datetime.fromisoformat(expires_at), status)


def _fields(tag: str) -> Callable[[Any], Any]:
    return lambda entry: [tag, *astuple(entry)]


_DUMPS: dict[type[Any], Callable[[Any], Any]] = {
    str: _dump_scalar,
    int: _dump_scalar,
    float: _dump_float,
    tuple: _dump_ids,
    MemoryState: _dump_memory,
    Statement: _dump_statement,
    AccessState: _dump_access,
    Gone: _fields("g"),
    SummaryState: _fields("y"),
    Versioned: _fields("v"),
    ApprovalState: _fields("q"),
}
_LOADS: dict[str, Callable[..., Entry]] = {
    "x": float,
    "e": _load_ids,
    "m": _load_memory,
    "f": _load_statement,
    "a": _load_access,
    "g": Gone,
    "y": SummaryState,
    "v": Versioned,
    "q": _load_approval,
}
