"""Any command of each type, with ids, statements, slugs and messages that collide.

Every value can stand on the topic: what Avro's types hold is drawn, NaN and infinities, NUL and empty texts among it. Memories
are named by their place among those that are there when the command comes: ``histories`` puts in their ids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from hypothesis import strategies as st
from msgspec.structs import fields, replace

from schemas.sealed import Sealed
from schemas.types import (
    AliasOwner,
    BeginAccess,
    Command,
    CommandMeta,
    ConfirmCleared,
    ConsolidateDay,
    DecideApproval,
    Downshift,
    DropParked,
    EndAccess,
    Entity,
    EraseOwner,
    Fact,
    FactsExtracted,
    Forget,
    IssueReceipt,
    Link,
    MessageRef,
    Pin,
    PromoteView,
    RecordExport,
    Reheat,
    Remember,
    RequestApproval,
    Revise,
    SetPolicy,
    SetSetting,
    StoreOutcome,
    ThermalPolicy,
    Triple,
    Unlink,
    Unpin,
)
from tests.streams.commands import NOON, OWNER, POLICY, later

T = TypeVar("T")
LONG = 2**63 - 1
INT = 2**31 - 1


def of(*values: T) -> st.SearchStrategy[T]:
    return st.sampled_from(values)


def mostly(common: Sequence[T], rare: Sequence[T], times: int = 9) -> st.SearchStrategy[T]:
    """One of ``common`` about ``times`` as often as one of ``rare``."""
    # one flat sample: one_of draws each of its branches as often as the others, and every further draw costs time
    return of(*list(common) * -(-times * len(rare) // len(common)), *rare)


def up_to(strategy: st.SearchStrategy[T], most: int) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(strategy, max_size=most).map(tuple)


WORDS = ("", "\0", "a|b", "l:|", "d:", "📎", "x" * 300, "c-1", "p-1")
"""Ids of nothing, or of something of another kind."""
MEMORIES = mostly(("live 0", "live 0", "live 1", "live 1", "live 2", "live 3", "gone 0", "gone 1"), WORDS, 20)
"""Memories by their place among those that are there."""
COMMAND_IDS = mostly([f"c-{i}" for i in range(1, 200)], WORDS, 15)
MESSAGES = mostly(("m-1", "m-2", "m-3", "m-4"), WORDS)
STATEMENTS = mostly([f"f-{i}" for i in range(1, 9)], ("",), 12)
"""Fingerprints; what is sealed is another matter, as the decider never opens it."""
NAMES = of("n-1", "")
SEALED = of(Sealed.of("s-1"), Sealed.of(""), Sealed(b"\xff\0", "aes", "key-1"))
MAYBE_SEALED = of(None, Sealed.of("s-2"))
OFFSETS = mostly(range(20), (-1, -LONG - 1, LONG))
COUNTS = of(0, 1, -1, INT, -INT - 1)
TIMES = mostly(
    [later(days=days) for days in range(-90, 90, 7)],
    (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC), later(microseconds=1)),
)
DAYS = of(NOON.date(), date(2026, 3, 2), date(1, 1, 1), date(9999, 12, 31))
NUMBERS = (-0.0, 0.5, 1.0, 75.0, -1.0, 1e300, -1e300, 5e-324, math.inf, -math.inf, math.nan)
POLICIES = mostly(
    (POLICY, ThermalPolicy(half_life_days=0.5), ThermalPolicy(reheat=-3.0), ThermalPolicy(1e300, 1e300, 1e308, 0.0, 5e-324)),
    [replace(POLICY, **{f.name: number}) for f in fields(ThermalPolicy) for number in NUMBERS],
    12,
)
SALIENCES = mostly((0.5, 0.0, 1.0), NUMBERS, 20)
REQUESTS = of("q-1", "q-2")
METAS = st.builds(
    CommandMeta,
    COMMAND_IDS,
    st.just(OWNER),
    TIMES,
    of("operator", "reviewer", ""),
    mostly((False,), (True,), 30),
    mostly((None,), ("q-1", "q-2"), 15),
)
TRIPLES = up_to(st.builds(Triple, SEALED, SEALED, SEALED), 1)
ENTITIES = up_to(st.builds(Entity, SEALED, NAMES), 1)
OUTCOMES = st.builds(StoreOutcome, NAMES, COUNTS, of(None, NOON))
FACTS = st.builds(
    Fact,
    SEALED,
    STATEMENTS,
    up_to(st.builds(MessageRef, MESSAGES), 2),
    SALIENCES,
    of("add", "add", "add", "add", "reheat", "revise", "forget"),
    MEMORIES | st.none(),
    ENTITIES,
    TRIPLES,
)


@st.composite
def _slugs(draw: st.DrawFn) -> tuple[Sealed | None, str | None]:
    name = draw(of(None, None, "slug-1", "slug-2", ""))
    if name is None:
        return None, draw(mostly((None,), ("slug-1",), 30))
    return draw(mostly((Sealed.of(name),), (None,), 30)), name


DETAILS = of(None, None, "d-1", "d-2", "")


@st.composite
def _remembering(draw: st.DrawFn) -> Remember:
    slug, slug_fingerprint = draw(_slugs())
    return Remember(
        draw(METAS),
        draw(SEALED),
        draw(SEALED),
        draw(STATEMENTS),
        draw(SALIENCES),
        draw(POLICIES),
        slug,
        slug_fingerprint,
        tags=draw(up_to(SEALED, 1)),
        details_fingerprint=draw(DETAILS),
    )


def _revising() -> st.SearchStrategy[Revise]:
    versions = mostly((None,), (1, 2, -1, INT), 4)
    return st.builds(Revise, METAS, MEMORIES, SEALED, STATEMENTS, POLICIES, versions, MAYBE_SEALED, st.none(), DETAILS)


EXTRACTIONS = st.builds(
    FactsExtracted,
    METAS,
    SEALED,
    NAMES,
    SEALED,
    OFFSETS,
    st.lists(FACTS, min_size=1, max_size=3).map(tuple),
    COUNTS,
    COUNTS,
    NAMES,
    NAMES,
    NAMES,
    COUNTS,
    COUNTS,
    st.booleans(),
    POLICIES,
)
BY_TYPE: dict[type[Command], st.SearchStrategy[Any]] = {
    FactsExtracted: EXTRACTIONS,
    Remember: _remembering(),
    Reheat: st.builds(Reheat, METAS, MEMORIES, POLICIES),
    Pin: st.builds(Pin, METAS, MEMORIES),
    Unpin: st.builds(Unpin, METAS, MEMORIES),
    Revise: _revising(),
    Link: st.builds(Link, METAS, MEMORIES, MEMORIES, NAMES, mostly((0.0, 0.5, 1.0), NUMBERS)),
    Unlink: st.builds(Unlink, METAS, MEMORIES, MEMORIES, NAMES),
    Forget: st.builds(Forget, METAS, up_to(MEMORIES, 2), OFFSETS, st.booleans()),
    ConsolidateDay: st.builds(
        ConsolidateDay,
        METAS,
        DAYS,
        MAYBE_SEALED,
        up_to(MEMORIES, 1),
        up_to(MESSAGES, 2),
        TRIPLES,
        up_to(st.builds(Downshift, MEMORIES, of("warm", "cold", "hot", ""), up_to(NAMES, 1)), 2),
        NAMES,
        NAMES,
        COUNTS,
        COUNTS,
    ),
    EraseOwner: st.builds(EraseOwner, METAS, OFFSETS.map(lambda offset: offset // 3)),
    BeginAccess: st.builds(BeginAccess, METAS, NAMES, of("n-1", "", OWNER), of("session", "member"), MAYBE_SEALED),
    EndAccess: st.builds(EndAccess, METAS, NAMES),
    AliasOwner: st.builds(AliasOwner, METAS, SEALED, NAMES),
    SetPolicy: st.builds(SetPolicy, METAS, NAMES, of("1", "{", "", "\0", '{"a": [1, 2.5, null]}', "[" * 50_000)),
    SetSetting: st.builds(SetSetting, METAS, NAMES, SEALED, NAMES),
    RequestApproval: st.builds(
        RequestApproval,
        METAS,
        REQUESTS,
        of("Forget", "EraseOwner", "RecordExport", ""),
        COMMAND_IDS,
        COUNTS,
        MAYBE_SEALED,
        TIMES,
        st.booleans(),
    ),
    DecideApproval: st.builds(DecideApproval, METAS, REQUESTS, of("grant", "grant", "deny", "expire")),
    RecordExport: st.builds(RecordExport, METAS, NAMES, SEALED, NAMES, COUNTS, NAMES),
    PromoteView: st.builds(PromoteView, METAS, NAMES, COUNTS, NAMES),
    ConfirmCleared: st.builds(ConfirmCleared, METAS, COMMAND_IDS, OUTCOMES),
    IssueReceipt: st.builds(IssueReceipt, METAS, NAMES, COMMAND_IDS, up_to(OUTCOMES, 2), up_to(MESSAGES, 2)),
    DropParked: st.builds(DropParked, METAS, NAMES, NAMES),
}
