"""``emberlog redecide``: decide every command again, and compare with the log."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ops.cli.target import Target
    from streams.redeciding import Findings

SHOWN = 20


def register(app: typer.Typer) -> None:
    app.command("redecide", rich_help_panel="Operate")(redecide)


def redecide(
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare and change nothing. Has to be given: there is no other mode.")
    ] = False,
    partitions: Annotated[
        list[int] | None, typer.Option("--partition", min=0, help="Only this partition; may be given several times.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Decide all commands of the log again with today's rules and compare with what the log holds, event by event.

    Changes nothing and calls no model. Exits with 1 where an event is not what the rules of this version make of its command:
    then a decider had a fault, or the log was changed. Commands that were decided by another version of the rules with another
    outcome are counted apart. Needs memory for the states of one partition's owners.

    Example:

      emberlog redecide --verify
    """
    from ops.cli.errors import CliError, UsageError
    from ops.cli.target import find_running

    if not verify:
        raise UsageError("redecide only verifies", "say so: emberlog redecide --verify")
    target = find_running()
    wanted = sorted(set(partitions)) if partitions else list(range(target.topics.partitions))
    if wanted[-1] >= target.topics.partitions:
        raise UsageError(f"there is no partition {wanted[-1]}", f"partitions are 0 to {target.topics.partitions - 1}")
    total = asyncio.run(_run(target, wanted, quiet=json))
    _show(total, json)
    if total.differing:
        raise CliError(
            f"{total.differing} of {total.decided} decided commands differ from the log",
            "the first are listed above; keep the log as it is, and compare the versions that decided them",
        )


async def _run(target: Target, partitions: list[int], *, quiet: bool) -> Findings:
    from ops.cli.bars import bar
    from ops.cli.out import error_console
    from streams.redeciding import Findings, redecide

    total, console = Findings(), error_console()
    for partition in partitions:
        silent = quiet or not console.is_terminal
        shown = nullcontext(lambda done, of: None) if silent else bar(console, f"partition {partition}")
        with shown as progress:
            total += await redecide(target.bootstrap, target.topics, partition, progress)
    return total


def _show(total: Findings, json: bool) -> None:
    from ops.cli.out import console, plain, print_json, table

    if json:
        print_json(total)
        return
    out = console()
    rows = [
        ("commands on the log", total.commands),
        ("decided", total.decided),
        ("the same, event by event", total.same),
        ("different", total.differing),
        ("decided otherwise by another version", total.other_version),
        ("given up (parked and dropped)", total.passed_over),
        ("waiting (under way, or parked)", total.open),
        ("unreadable records", total.unreadable),
        ("slices that every reader drops", total.dropped_slices),
    ]
    out.print(table("decided again", ("what", "count"), rows, right=("count",)))
    for each in total.differences[:SHOWN]:
        out.print(
            plain(
                f"differs  owner {each.owner}  command {each.cause}  sequence {each.sequence}  {each.command_type}: {each.what}"
            ),
            soft_wrap=True,
        )
    if total.differing > SHOWN:
        out.print(plain(f"… and {total.differing - SHOWN} more; all with --json", "dim"))
    if not total.differing:
        out.print(plain(f"every one of {total.events} events is what its command leads to", "green"))
