"""``decide(state, command, cause) -> events``: every command leaves an event, and nothing that a command says makes it raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas import types
from schemas.types import Command, FactsExtracted, MemoryEvent
from streams.decider import approvals, days, facts, operations, owners, requests
from streams.decider.draft import Draft
from streams.decider.state import OwnerState

_HANDLERS: dict[type[Command], Callable[[Draft, Any], None]] = {
    types.FactsExtracted: facts.facts_extracted,
    types.Remember: requests.remember,
    types.Reheat: requests.reheat,
    types.Pin: requests.pin,
    types.Unpin: requests.unpin,
    types.Revise: requests.revise,
    types.Link: requests.link,
    types.Unlink: requests.unlink,
    types.Forget: requests.forget,
    types.ConsolidateDay: days.consolidate_day,
    types.EraseOwner: owners.erase_owner,
    types.BeginAccess: owners.begin_access,
    types.EndAccess: owners.end_access,
    types.AliasOwner: owners.alias_owner,
    types.SetPolicy: owners.set_policy,
    types.SetSetting: owners.set_setting,
    types.RequestApproval: approvals.request_approval,
    types.DecideApproval: approvals.decide_approval,
    types.RecordExport: operations.record_export,
    types.PromoteView: operations.promote_view,
    types.ConfirmCleared: operations.confirm_cleared,
    types.IssueReceipt: operations.issue_receipt,
    types.DropParked: operations.drop_parked,
}


def decide(state: OwnerState, command: Command, cause: int) -> tuple[MemoryEvent, ...]:
    """The events of ``command``, whose offset in its memory.commands partition is ``cause``, for an owner in ``state``.

    ``state`` must hold every entry that the command touches (``touched``).
    """
    return tuple(_decided(state, command, cause).events)


def step(state: OwnerState, command: Command, cause: int) -> tuple[tuple[MemoryEvent, ...], OwnerState]:
    """``decide``, and the state after its events, for less than folding them again."""
    draft = _decided(state, command, cause)
    return tuple(draft.events), draft.after()


def _decided(state: OwnerState, command: Command, cause: int) -> Draft:
    draft = Draft(state, command, cause)
    if state.was_decided(command.meta.command_id):
        # the first on the log counts: a turn published twice, a model call that was retried, a request sent again
        source = facts.source_of(command, ()) if isinstance(command, FactsExtracted) else None
        draft.note("it was decided before", source)
    elif obstacle := approvals.obstacle(draft):
        draft.reject(obstacle)
    else:
        _HANDLERS[type(command)](draft, command)
    return draft
