"""``emberlog publish``: turns into the inbox."""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from ops.cli.outcomes import Outcomes
    from ops.cli.target import Target
    from schemas.types import InboxTurn

Role = Literal["user", "assistant", "system", "tool"]


def register(app: typer.Typer) -> None:
    app.command("publish", rich_help_panel="Use")(publish)


def publish(
    file: Annotated[
        Path | None, typer.Argument(help="File of JSON lines, one turn each; - reads standard input.", show_default=False)
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Publish this one message instead of a file.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Whose memory it is, such as default/user/u-1 or u-1.")] = None,
    role: Annotated[Role, typer.Option("--role", help="Who speaks.")] = "user",
    name: Annotated[str | None, typer.Option("--name", help="The speaker's name, in a shared conversation.")] = None,
    session: Annotated[str, typer.Option("--session", help="Conversation that the message belongs to.")] = "cli",
    agent: Annotated[str | None, typer.Option("--agent", help="Agent that it was said to.")] = None,
    at: Annotated[str | None, typer.Option("--at", help="When it was said, ISO 8601 with offset; now, if left out.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Your own id of the turn: the same id again changes nothing.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until memory has changed and show the counts.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait at most.")] = 60.0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Publish turns of a conversation to the inbox.

    Examples:

      emberlog publish --owner u-1 --text "I live in Lima." --wait

      emberlog publish conversation.ndjson

    A line of the file: {"owner": "default/user/u-1", "session_id": "s-1", "occurred_at": "2026-03-02T08:04:00+00:00",
    "messages": [{"role": "user", "content": "I live in Lima."}]}. Any wrong line: nothing is published.
    """
    from ops.cli.target import find_running

    message = {"role": role, "content": text, "name": name}
    given = {"owner": owner, "session_id": session, "agent_id": agent, "occurred_at": at, "id": id, "messages": [message]}
    turns = _turns(file, given, text, owner)
    target = find_running()
    result = asyncio.run(_publish(target, turns, timeout if wait else None))
    _show(result, len(turns), target.topics.inbox, json)


def _turns(file: Path | None, given: dict[str, Any], text: str | None, owner: str | None) -> list[InboxTurn]:
    from ops.cli.errors import UsageError
    from ops.cli.inbox import read_lines, read_turn

    if (file is None) == (text is None):
        raise UsageError("give either a file of JSON lines or --text", 'emberlog publish --owner u-1 --text "I live in Lima."')
    if file is None:
        if owner is None:
            raise UsageError("--text needs --owner", "an owner is default/user/u-1, user/u-1 or u-1")
        try:
            return [read_turn({**given, "id": given["id"] or str(uuid.uuid4())})]
        except ValueError as error:
            raise UsageError(str(error)) from None
    if str(file) == "-":
        return read_lines(sys.stdin.buffer, "standard input")
    try:
        with file.open("rb") as lines:
            return read_lines(lines, str(file))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None


async def _publish(target: Target, turns: list[InboxTurn], timeout: float | None) -> Outcomes | None:
    from ops.cli.outcomes import wait_for_turns
    from ops.cli.owners import turn_ids
    from streams.producers import InboxProducer

    ids = await turn_ids(target, turns)
    async with InboxProducer(target.bootstrap, target.topics) as producer:
        for turn in turns:
            await producer.publish(turn)
    return None if timeout is None else await wait_for_turns(target, ids, timeout)


def _show(result: Outcomes | None, published: int, topic: str, json: bool) -> None:
    from ops.cli.errors import CliError, TimedOut
    from ops.cli.out import console, print_json

    if json:
        print_json({"published": published, "topic": topic, **({} if result is None else result.as_json())})
    else:
        console().print(f"published {published} turn{'' if published == 1 else 's'} to {topic}")
        if result is not None:
            console().print(result.sentence())
    if result is not None and result.parked:
        raise CliError(f"{len(result.parked)} turns were parked", "see why with: emberlog parked list")
    if result is not None and result.missing:
        raise TimedOut(f"{len(result.missing)} turns have no outcome yet", "see what runs and lags with: emberlog status")
