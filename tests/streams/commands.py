"""Makers of commands for tests: one for each type, with what a test does not care about filled in."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import TypedDict, Unpack

from benchmarks.owners import fixed_key, fixed_reference
from schemas.fingerprint import fingerprint
from schemas.sealed import Sealed, maybe
from schemas.types import (
    AccessKind,
    AliasOwner,
    ApprovalDecision,
    BeginAccess,
    CommandMeta,
    ConfirmCleared,
    ConsolidateDay,
    DecideApproval,
    Downshift,
    DropParked,
    EndAccess,
    EraseOwner,
    Fact,
    FactAction,
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

OWNER = fixed_reference("default/user/u-1")
COMPANY = fixed_reference("default/company/c-1")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = fixed_key(OWNER)
TODAY = NOON.date()
POLICY = ThermalPolicy()
_ids = itertools.count(1)


class About(TypedDict, total=False):
    """What a test may say of a command's metadata."""

    id: str
    at: datetime
    owner: str
    actor: str
    approval: str | None
    required: bool


def later(**kw: float) -> datetime:
    """``kw`` of a timedelta after noon."""
    return NOON + timedelta(**kw)


def meta(
    command_id: str = "",
    at: datetime = NOON,
    owner: str = OWNER,
    actor: str = "operator",
    approval: str | None = None,
    required: bool = False,
) -> CommandMeta:
    """Metadata of a command; each gets an id of its own unless one is given."""
    return CommandMeta(command_id or f"c-{next(_ids)}", owner, at, actor, required, approval)


def _meta(about: About) -> CommandMeta:
    return meta(
        about.get("id", ""),
        about.get("at", NOON),
        about.get("owner", OWNER),
        about.get("actor", "operator"),
        about.get("approval"),
        about.get("required", False),
    )


def prints(text: str) -> str:
    """Fingerprint of ``text`` under the owner's key."""
    return fingerprint(KEY, text)


# -- facts


def fact(text: str, *messages: str, action: FactAction = "add", target: str | None = None, salience: float = 0.5) -> Fact:
    evidence = tuple(MessageRef(m) for m in messages or ("m-1",))
    return Fact(Sealed.of(text), prints(text), evidence, salience, action, target)


def extracted(
    turn: str,
    *facts: Fact | str,
    at: datetime = NOON,
    offset: int = 0,
    failed: int = 0,
    owner: str = OWNER,
    policy: ThermalPolicy = POLICY,
) -> FactsExtracted:
    """What an extractor found in ``turn``, which stands at ``offset`` of the conversation."""
    return FactsExtracted(
        meta=meta(turn, at, owner, "emberlog/extract"),
        user_id=Sealed.of("u-1"),
        agent_id="agent",
        session_id=Sealed.of("s-1"),
        source_offset=offset,
        facts=tuple(f if isinstance(f, Fact) else fact(f, f"{turn}-m") for f in facts),
        failed=failed,
        skipped_short=0,
        extractor="mem0",
        model="a-model",
        prompt_version="1",
        prompt_tokens=0,
        completion_tokens=0,
        rules=False,
        policy=policy,
    )


# -- requests about memories


def remember(
    text: str,
    slug: str | None = None,
    at: datetime = NOON,
    id: str = "",
    details: str | None = None,
    salience: float = 0.5,
    policy: ThermalPolicy = POLICY,
) -> Remember:
    """``details`` is the category; it changes the fingerprint of the details."""
    return Remember(
        meta(id, at),
        Sealed.of("u-1"),
        Sealed.of(text),
        prints(text),
        salience,
        policy,
        slug=maybe(slug),
        slug_fingerprint=None if slug is None else prints("slug " + slug),
        category=maybe(details),
        details_fingerprint=None if details is None else prints(details),
    )


def reheat(memory_id: str, policy: ThermalPolicy = POLICY, **about: Unpack[About]) -> Reheat:
    return Reheat(_meta(about), memory_id, policy)


def pin(memory_id: str, **about: Unpack[About]) -> Pin:
    return Pin(_meta(about), memory_id)


def unpin(memory_id: str, **about: Unpack[About]) -> Unpin:
    return Unpin(_meta(about), memory_id)


def revise(
    memory_id: str,
    text: str,
    at: datetime = NOON,
    expected: int | None = None,
    details: str | None = None,
    policy: ThermalPolicy = POLICY,
) -> Revise:
    category, details_print = maybe(details), None if details is None else prints(details)
    return Revise(
        meta(at=at), memory_id, Sealed.of(text), prints(text), policy, expected, category, details_fingerprint=details_print
    )


def link(source: str, target: str, kind: str = "about", weight: float = 0.5, **about: Unpack[About]) -> Link:
    return Link(_meta(about), source, target, kind, weight)


def unlink(source: str, target: str, kind: str = "about", **about: Unpack[About]) -> Unlink:
    return Unlink(_meta(about), source, target, kind)


def forget(
    *memory_ids: str,
    end_offset: int = 10,
    at: datetime = NOON,
    owner: str = OWNER,
    id: str = "",
    actor: str = "operator",
    approval: str | None = None,
    required: bool = False,
    include_source: bool = False,
) -> Forget:
    return Forget(meta(id, at, owner, actor, approval, required), memory_ids, end_offset, include_source)


def consolidate(
    summary: str | None = None,
    memories: tuple[str, ...] = (),
    messages: tuple[str, ...] = (),
    downshifts: tuple[Downshift, ...] = (),
    day: date = TODAY,
    triples: tuple[Triple, ...] = (),
    **about: Unpack[About],
) -> ConsolidateDay:
    return ConsolidateDay(_meta(about), day, maybe(summary), memories, messages, triples, downshifts, "a-model", "1", 0, 0)


# -- requests about owners


def erase(end_offset: int = 10, **about: Unpack[About]) -> EraseOwner:
    return EraseOwner(_meta(about), end_offset)


def begin_access(
    access_id: str = "session-1",
    subject: str = COMPANY,
    kind: AccessKind = "session",
    session: str | None = None,
    **about: Unpack[About],
) -> BeginAccess:
    return BeginAccess(_meta(about), access_id, subject, kind, maybe(session))


def end_access(access_id: str = "session-1", **about: Unpack[About]) -> EndAccess:
    return EndAccess(_meta(about), access_id)


def alias(name: str, **about: Unpack[About]) -> AliasOwner:
    return AliasOwner(_meta(about), Sealed.of(name), prints("alias " + name))


def set_policy(name: str, value: str, **about: Unpack[About]) -> SetPolicy:
    return SetPolicy(_meta(about), name, value)


def set_setting(name: str, value: str, **about: Unpack[About]) -> SetSetting:
    return SetSetting(_meta(about), name, Sealed.of(value), prints(value))


# -- approvals


def ask(
    operation: str,
    operation_id: str,
    request_id: str = "request-1",
    expires_at: datetime = NOON + timedelta(days=1),
    requester_may_decide: bool = False,
    items: int = 1,
    **about: Unpack[About],
) -> RequestApproval:
    """Ask for an approval of the command ``operation_id``, of type ``operation``."""
    asked = Sealed.of("please")
    return RequestApproval(_meta(about), request_id, operation, operation_id, items, asked, expires_at, requester_may_decide)


def word(decision: ApprovalDecision, request_id: str = "request-1", **about: Unpack[About]) -> DecideApproval:
    """Somebody's word on an approval: another person's than the requester's, unless ``actor`` says otherwise."""
    return DecideApproval(_meta(About(**{"actor": "reviewer", **about})), request_id, decision)


# -- operations


def record_export(export_id: str = "export-1", memories: int = 3, **about: Unpack[About]) -> RecordExport:
    return RecordExport(_meta(about), export_id, Sealed.of("memories.ndjson"), "ndjson", memories, "0" * 64)


def promote_view(view: str = "thermal", generation: int = 2, **about: Unpack[About]) -> PromoteView:
    return PromoteView(_meta(about), view, generation, "a-digest")


def confirm_cleared(forget_id: str, removed: int = 1, store: str = "thermal", **about: Unpack[About]) -> ConfirmCleared:
    return ConfirmCleared(_meta(about), forget_id, StoreOutcome(store, removed))


def issue_receipt(
    forget_id: str, *outcomes: StoreOutcome, remaining: tuple[str, ...] = (), **about: Unpack[About]
) -> IssueReceipt:
    return IssueReceipt(_meta(about), "receipt-1", forget_id, outcomes, remaining)


def drop_parked(parked_id: str = "parked-1", stage: str = "decide", **about: Unpack[About]) -> DropParked:
    return DropParked(_meta(about), parked_id, stage)
