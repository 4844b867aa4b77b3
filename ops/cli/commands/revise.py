"""``emberlog revise``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import TIMEOUT_S, Json, MemoryId, Owner, Timeout

if TYPE_CHECKING:
    from ops.cli.asking import Request
    from schemas.types import Command


def register(app: typer.Typer) -> None:
    app.command("revise", rich_help_panel="Use")(revise)


def revise(
    memory_id: MemoryId,
    text: Annotated[str, typer.Argument(help="What the memory says from now on.", show_default=False)],
    owner: Owner,
    if_version: Annotated[
        int | None,
        typer.Option("--if-version", min=1, help="Only where the memory is still at this version.", show_default=False),
    ] = None,
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
) -> None:
    """Give a memory other words, and wait until they can be recalled. Its id and history stay, and it is warmed as by a mention.

    Examples:

      emberlog revise 3f2a9c11 "Mara lives in Lima" --owner default/user/mara

      emberlog revise 3f2a9c11 "Mara lives in Lima" --owner mara --if-version 2
    """
    from ops.cli.changes import carry_out
    from ops.cli.statements import Statements, checked

    words = checked(text)

    async def make(request: Request) -> Command:
        from ops.cli.memory_ids import resolve

        [memory] = await resolve(request.target, request.reference, [memory_id])
        statements = await Statements.of(request)
        return statements.revise(request.meta(), memory, words, if_version)

    carry_out(owner, make, timeout, json)
