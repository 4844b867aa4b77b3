"""``emberlog undo``: take an event back by the command that compensates it, where there is one."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import TIMEOUT_S, Json, Timeout

if TYPE_CHECKING:
    from ops.cli.history import Found
    from ops.cli.target import Target
    from streams.undo import Impossible


def register(app: typer.Typer) -> None:
    app.command("undo", rich_help_panel="Use")(undo)


def undo(
    event_id: Annotated[
        str, typer.Argument(help="Event id (ce_id, a UUID), or its place as tail events shows it: 2@15.", show_default=False)
    ],
    owner: Annotated[
        str | None, typer.Option("--owner", help="Whose event it is; without it the whole log is searched for the id.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
) -> None:
    """Take an event back: unpin what was pinned, take a link away, bring the text before back, a policy, an access.

    History stays: the event and its undoing are both on the log. What cannot be undone (a forgotten memory has lost its key) is
    said, with what can be done instead, and exits with 1; so does the undoing of a revision that was revised again since.

    Examples:

      emberlog undo 0d7f6f5e-5a0c-5f43-9f0a-6f2f3a0c8a11

      emberlog undo 2@15 --dry-run
    """
    from ops.cli.changes import carry_out_for
    from ops.cli.errors import CliError
    from ops.cli.owners import known
    from ops.cli.target import find_running
    from schemas.owner import Owner
    from streams.producers import request_meta
    from streams.undo import Before, Impossible, compensation

    target = find_running()
    reference = asyncio.run(known(target, Owner.parse(owner))) if owner is not None else None
    found = asyncio.run(_find(target, event_id, reference, quiet=json))
    whose = found.event.meta.owner
    answer = compensation(found.event, Before(found.before), request_meta(whose))
    if isinstance(answer, Impossible):
        raise CliError(f"{type(found.event).__name__} cannot be undone: {answer.reason}", _instead(answer))
    if dry_run:
        _say(type(found.event).__name__, type(answer).__name__, json)
        return
    carry_out_for(target, whose, answer, timeout, json)


async def _find(target: Target, event_id: str, owner: str | None, *, quiet: bool) -> Found:
    from ops.cli.bars import bar
    from ops.cli.history import find_event
    from ops.cli.out import error_console

    console = error_console()
    silent = quiet or not console.is_terminal
    with nullcontext(lambda done, of: None) if silent else bar(console, "looking for the event") as progress:
        return await find_event(target, event_id.strip().lower(), owner, progress)


def _instead(answer: Impossible) -> str | None:
    return f"instead: {answer.instead}" if answer.instead else None


def _say(event: str, command: str, json: bool) -> None:
    from ops.cli.out import console, plain, print_json

    if json:
        print_json({"event": event, "command": command})
    else:
        console().print(plain(f"{event} would be undone by {command}; nothing was done"))
