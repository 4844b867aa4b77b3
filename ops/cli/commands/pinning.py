"""``emberlog pin`` and ``emberlog unpin``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ops.cli.commands.options import TIMEOUT_S, Json, MemoryId, Owner, Timeout

if TYPE_CHECKING:
    from ops.cli.asking import Request
    from schemas.types import Command


def register(app: typer.Typer) -> None:
    app.command("pin", rich_help_panel="Use")(pin)
    app.command("unpin", rich_help_panel="Use")(unpin)


def pin(memory_id: MemoryId, owner: Owner, timeout: Timeout = TIMEOUT_S, json: Json = False) -> None:
    """Make a memory sacred: it keeps the temperature that it has now, and mentions can only warm it.

    Example:

      emberlog pin 3f2a9c11 --owner default/user/mara
    """
    _carry_out(memory_id, owner, timeout, json, pinned=True)


def unpin(memory_id: MemoryId, owner: Owner, timeout: Timeout = TIMEOUT_S, json: Json = False) -> None:
    """Let a sacred memory cool again, from now on.

    Example:

      emberlog unpin 3f2a9c11 --owner default/user/mara
    """
    _carry_out(memory_id, owner, timeout, json, pinned=False)


def _carry_out(memory_id: str, owner: str, timeout: float, json: bool, *, pinned: bool) -> None:
    from ops.cli.changes import carry_out

    async def make(request: Request) -> Command:
        from ops.cli.memory_ids import resolve
        from schemas.types import Pin, Unpin

        [memory] = await resolve(request.target, request.reference, [memory_id])
        return (Pin if pinned else Unpin)(request.meta(), memory)

    carry_out(owner, make, timeout, json)
