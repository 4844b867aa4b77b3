"""``emberlog as-of``: a view as it stood."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import Json
from ops.cli.commands.views import chosen

if TYPE_CHECKING:
    from projections.as_of import AsOf
    from schemas.topics import Topics

PLACE = re.compile(r"(?:(?P<topic>[A-Za-z0-9._-]+)/)?(?P<partition>\d{1,4})=(?P<offset>\d{1,18})")


def register(app: typer.Typer) -> None:
    app.command("as-of", rich_help_panel="Operate")(as_of)


def as_of(
    view: Annotated[str, typer.Argument(help="The view, such as thermal.", show_default=False)],
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="As it stood then, ISO 8601 with its zone."),
    ] = None,
    offset: Annotated[
        list[str] | None,
        typer.Option(
            "--offset",
            metavar="[TOPIC/]PARTITION=OFFSET",
            help="As it stood before this record, of events if no topic is named. Repeat it: what is not named stays empty.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Build a view as it stood at a time or at a place of the log, in tables of its own beside the live ones.

    Live tables and readers are not touched. What was forgotten since is not in it, and what is forgotten from now on leaves it
    like the live tables. It stays as it is until it is dropped.

    Examples:

      emberlog as-of thermal --at 2026-11-01T00:00:00-03:00

      emberlog as-of thermal --offset 0=1200 --offset 1=980
    """
    from ops.cli.bars import shown_bars
    from ops.cli.errors import UsageError
    from ops.cli.rebuilding import as_of_view, run
    from ops.cli.target import find_running

    [name] = chosen([view], False)
    if (at is None) == (not offset):
        raise UsageError("say as of when", "either --at TIME, or --offset PARTITION=OFFSET for each partition")
    target = find_running()
    moment = None if at is None else _moment(at)
    places = dict(_place(text, target.topics) for text in offset or ())
    with shown_bars(json) as begin:
        work = as_of_view(target, name, moment or places, begin(f"{name} as it stood"))
        found = run(work, f"{name} as of then", "nothing is left of it; begin again")
    show(found, json, "as it stood")


def show(found: AsOf, json: bool, how: str) -> None:
    """Print what was made, and how to read and drop it."""
    from ops.cli.out import console, plain, print_json

    if json:
        print_json(_as_json(found))
        return
    rows = sum(table.rows for table in found.digest.tables.values())
    console().print(
        plain(
            f"{found.view} {how} is generation {found.generation}: {found.records} records folded, {rows} rows left, "
            f"{found.seconds:.2f} s\nread it: SELECT … FROM {found.schema}.TABLE\n"
            f"drop it: emberlog generations --drop {found.view}/{found.generation}"
        ),
        soft_wrap=True,
    )


def _moment(text: str) -> datetime:
    from ops.cli.errors import UsageError

    hint = "write it with its offset, such as 2026-11-01T00:00:00-03:00 or 2026-11-01T03:00:00Z"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time", hint) from None
    if moment.tzinfo is None:
        raise UsageError(f"{text!r} does not say which time zone", hint)
    return moment


def _place(text: str, topics: Topics) -> tuple[tuple[str, int], int]:
    from ops.cli.errors import UsageError
    from ops.cli.topics import topic_named

    match = PLACE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is no place on the log",
            "write it as PARTITION=OFFSET: 0=1200, or conversation/0=80",
        )
    topic = topics.events if match["topic"] is None else topic_named(topics, match["topic"])
    return (topic, int(match["partition"])), int(match["offset"])


def _as_json(found: AsOf) -> dict[str, object]:
    return {
        "view": found.view,
        "generation": found.generation,
        "schema": found.schema,
        "positions": {f"{topic}/{partition}": at for (topic, partition), at in sorted(found.positions.items())},
        "records": found.records,
        "digest": found.digest.digest,
        "tables": {name: table.rows for name, table in found.digest.tables.items()},
        "seconds": round(found.seconds, 3),
    }
