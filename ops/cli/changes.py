"""What a request changed, in one word, for people and programs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ops.cli.asking import Request, asking, asking_for
from ops.cli.errors import CliError
from ops.cli.out import console, degrees, plain, print_json
from ops.cli.target import Target, find_running
from schemas import ids, types
from schemas.owner import Owner
from schemas.types import Command, MemoryEvent

_WORDS: dict[type[MemoryEvent], str] = {
    types.MemoryAdded: "added",
    types.MemoryReheated: "reheated",
    types.MemoryRevised: "revised",
    types.MemoryPinned: "pinned",
    types.MemoryUnpinned: "unpinned",
    types.MemoriesLinked: "linked",
    types.MemoriesUnlinked: "unlinked",
    types.OwnerAliased: "aliased",
    types.CommandNoted: "noted",
    types.CommandRejected: "rejected",
}


@dataclass(frozen=True, slots=True)
class Change:
    """``outcome`` is added, reheated, revised, pinned, unpinned, linked, unlinked, aliased, noted or rejected.

    The last two have a reason.
    ``event_id`` and ``sequence`` are the event's; ``temperature`` in degrees and ``version`` where the event has them.
    """

    outcome: str
    memory_ids: list[str]
    reason: str | None
    temperature: float | None
    version: int | None
    event_id: str
    sequence: int
    command_id: str

    @classmethod
    def of(cls, event: MemoryEvent) -> Change:
        """The change that an event made."""
        named = (getattr(event, name, None) for name in ("memory_id", "source_id", "target_id"))
        meta = event.meta
        return cls(
            outcome=_WORDS.get(type(event), type(event).__name__),
            memory_ids=[memory_id for memory_id in named if memory_id is not None],
            reason=getattr(event, "reason", None),
            temperature=getattr(event, "temperature", None),
            version=getattr(event, "version", None),
            event_id=ids.event_id(meta.owner, meta.sequence),
            sequence=meta.sequence,
            command_id=meta.command_id,
        )

    def sentence(self) -> str:
        """For people."""
        if self.outcome == "noted":
            return f"nothing changed: {self.reason}"
        details = [self.outcome, *([" → ".join(self.memory_ids)] if self.memory_ids else [])]
        if self.temperature is not None:
            details.append(degrees(self.temperature))
        if self.version is not None:
            details.append(f"version {self.version}")
        return "  ".join(details)


Make = Callable[[Request], Awaitable[Command]]
"""Makes the command; the request has the owner's metadata and what is running."""


def carry_out(owner: str, make: Make, timeout_s: float, json: bool) -> None:
    """Ask for the change that ``make`` makes, wait, and say what became of it. Raises CliError where it was rejected."""
    whose, target = Owner.parse(owner), find_running()
    _tell(asyncio.run(_ask(target, whose, make, timeout_s)), json)


def carry_out_for(target: Target, reference: str, command: Command, timeout_s: float, json: bool) -> None:
    """Ask for the change that ``command`` makes to the owner of this ``reference``; as ``carry_out``."""

    _tell(asyncio.run(_ask_for(target, reference, command, timeout_s)), json)


def _tell(changes: list[Change], json: bool) -> None:
    for change in changes:
        if json:
            print_json(change)
        elif change.outcome != "rejected":
            console().print(plain(change.sentence()), soft_wrap=True)
    rejected = [change.reason or "" for change in changes if change.outcome == "rejected"]
    if rejected:
        raise CliError("; ".join(rejected), "see an owner's memories with: emberlog recall … --owner …")


async def _ask(target: Target, owner: Owner, make: Make, timeout_s: float) -> list[Change]:
    async with asking(target, owner, timeout_s) as request:
        return [Change.of(event) for event in await request.ask(await make(request))]


async def _ask_for(target: Target, reference: str, command: Command, timeout_s: float) -> list[Change]:
    async with asking_for(target, reference, timeout_s) as request:
        return [Change.of(event) for event in await request.ask(command)]
