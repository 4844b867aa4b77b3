"""``emberlog replay``: a stretch of a topic as JSON lines."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ops.cli.replaying import Stretch


def register(app: typer.Typer) -> None:
    app.command("replay", rich_help_panel="Look")(replay)


def replay(
    topic: Annotated[
        str,
        typer.Option(
            "--topic", help="memory.events.v1, or short: inbox, conversation, commands, events, embeddings, current, parked."
        ),
    ],
    from_offset: Annotated[
        int | None, typer.Option("--from-offset", min=0, help="Begin at this offset of each partition; 0 is the beginning.")
    ] = None,
    from_time: Annotated[
        str | None, typer.Option("--from-time", help="Begin at the first record from then on, ISO 8601 with offset.")
    ] = None,
    to_offset: Annotated[
        int | None, typer.Option("--to-offset", min=0, help="End before this offset of each partition; else at the end.")
    ] = None,
    to_time: Annotated[
        str | None, typer.Option("--to-time", help="End before the first record from then on, ISO 8601 with offset.")
    ] = None,
    partitions: Annotated[
        list[int] | None, typer.Option("--partition", min=0, help="Only this partition; may be given several times.")
    ] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Only records of this owner, such as default/user/u-1.")] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only records of this type; may be given several times.")
    ] = None,
    out: Annotated[str, typer.Option("--out", help="File to write, closed to others; - is standard output.")] = "-",
    into: Annotated[
        str | None, typer.Option("--into", help="Fold them into this view as it stood where they begin, in tables of its own.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="With --into: what was made, as JSON.")] = False,
) -> None:
    """Write the records of a topic as JSON lines, each with its place, time, key, headers, type and content.

    It ends where the topic ended when it began, and changes nothing. Values are shown as far as their keys are there. A record
    that cannot be read is a line with a problem. Times are those at which records came to the topic. A file has its name once
    it is whole; one of that name is replaced.

    With --into a view they are folded instead, in a generation of its own beside the live one: it begins as the view stood where
    the records begin. What was forgotten since is not in it.

    Examples:

      emberlog replay --topic events --from-offset 0 --owner u-1

      emberlog replay --topic commands --from-time 2026-03-01T00:00:00Z --to-time 2026-03-02T00:00:00Z --out march-1.ndjson

      emberlog replay --topic events --from-time 2026-03-01T00:00:00Z --to-time 2026-03-02T00:00:00Z --into thermal
    """
    from ops.cli.bars import bar
    from ops.cli.errors import UsageError
    from ops.cli.out import error_console, plain
    from ops.cli.replaying import Stretch, written_whole
    from ops.cli.replaying import replay as replay_stretch
    from ops.cli.target import find_running

    start = _place("--from", from_offset, from_time)
    if start is None:
        raise UsageError("say from where", "with --from-offset 0 from the beginning, or with --from-time")
    end = _place("--to", to_offset, to_time)
    if into is not None:
        if out != "-" or types:
            raise UsageError("--into excludes --out and --type", "a view is made from all records of a stretch")
        _into(into, Stretch(topic, start, end, partitions or (), owner), json)
        return
    target, console = find_running(), error_console()
    is_shown = console.is_terminal and (out != "-" or not sys.stdout.isatty())
    stretch = Stretch(topic, start, end, partitions or (), owner, types or ())
    with (
        written_whole(out) as file,
        bar(console, f"reading {topic}") if is_shown else nullcontext(lambda done, total: None) as progress,
    ):
        written = asyncio.run(replay_stretch(target, stretch, file, progress))
    if out != "-":
        console.print(plain(f"{written} records are in {out}"), soft_wrap=True)


def _into(view: str, stretch: Stretch, json: bool) -> None:
    from ops.cli.bars import shown_bar
    from ops.cli.commands.as_of import show
    from ops.cli.commands.views import chosen
    from ops.cli.rebuilding import run
    from ops.cli.scratch import replay_into
    from ops.cli.target import find_running

    [name] = chosen([view], False)
    with shown_bar(f"replaying into {name}", json) as progress:
        work = replay_into(find_running(), name, stretch, progress)
        found = run(work, f"the replay into {name}", "nothing is left of it; begin again")
    show(found, json, "with what was replayed")


def _place(option: str, offset: int | None, time: str | None) -> int | datetime | None:
    """An offset or a time; None where neither is given. Raises UsageError."""
    from ops.cli.errors import UsageError

    if offset is not None and time is not None:
        raise UsageError(f"{option}-offset and {option}-time exclude each other")
    if time is None:
        return offset
    try:
        at = datetime.fromisoformat(time)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise UsageError(f"{option}-time is no time with an offset", "such as 2026-03-01T00:00:00Z")
    return at
