"""``emberlog promote``, ``rollback`` and ``generations``: which of a view's generations is live."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import Json
from ops.cli.commands.views import chosen, show

if TYPE_CHECKING:
    from projections.listing import Listed
    from projections.rebuild import Report

GENERATION = re.compile(r"(?P<view>[a-z][a-z0-9_]*)/(?P<number>[0-9]{1,9})")


def register(app: typer.Typer) -> None:
    app.command("promote", rich_help_panel="Operate")(promote)
    app.command("rollback", rich_help_panel="Operate")(rollback)
    app.command("generations", rich_help_panel="Operate")(generations)


def promote(
    views: Annotated[list[str], typer.Argument(help="Views whose ready generation is to be live.", show_default=False)],
    force: Annotated[
        bool, typer.Option("--force", help="Promote although live differs: for live tables known to be wrong.")
    ] = False,
    json: Json = False,
) -> None:
    """Make the generation live that `emberlog rebuild` left ready: it is brought up to the log, compared again, and switched.

    The switch is one transaction, in which readers see neither an error nor a mixture. The generation before is kept, for
    `emberlog rollback`. Where the digests differ nothing is promoted without --force.

    Example:

      emberlog promote thermal
    """
    from ops.cli.bars import shown_bars
    from ops.cli.rebuilding import promote_view, run
    from ops.cli.target import find_running

    names = chosen(views, False)
    target = find_running()
    reports: list[Report] = []
    try:
        with shown_bars(json) as begin:
            for name in names:
                work = promote_view(target, name, force, begin(f"promoting {name}"))
                reports.append(run(work, f"the promotion of {name}", _on(name)))
    finally:
        if reports:
            show(reports, json)


def rollback(
    view: Annotated[str, typer.Argument(help="View to go back with.", show_default=False)],
    json: Json = False,
) -> None:
    """Make the generation live again that was live before the last promotion: it is brought up to the log and switched.

    The one that is live now is kept. Nothing is compared. What goes back to work gets a new number.

    Example:

      emberlog rollback thermal
    """
    from ops.cli.bars import shown_bars
    from ops.cli.out import console, plain, print_json
    from ops.cli.rebuilding import rollback_view, run
    from ops.cli.target import find_running

    [name] = chosen([view], False)
    target = find_running()
    with shown_bars(json) as begin:
        switched = run(rollback_view(target, name, begin(f"going back with {name}")), f"the rollback of {name}", _on(name))
    if json:
        print_json(switched)
        return
    console().print(
        plain(
            f"what was generation {switched.was} of {name} is live again, as generation {switched.live}; {switched.kept} is kept "
            f"({switched.records} records, {switched.seconds:.2f} s)"
        ),
        soft_wrap=True,
    )


def _on(name: str) -> str:
    return (
        f"see where it stands with: emberlog generations {name}; one that is building is gone on with by: emberlog rebuild {name}"
    )


def generations(
    views: Annotated[list[str] | None, typer.Argument(help="Views; all, if none is named.", show_default=False)] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--drop", metavar="VIEW/N", help="Drop this one, which is not live; may be repeated.")
    ] = None,
    json: Json = False,
) -> None:
    """List the generations of views: live, building, ready to be promoted, or kept after a promotion.

    Examples:

      emberlog generations

      emberlog generations --drop thermal/3
    """
    from ops.cli.out import console, plain, print_json
    from ops.cli.rebuilding import drop_generation, generations_of
    from ops.cli.target import find_running

    names = chosen(views, not views)
    wanted = [_parsed(text) for text in drop or ()]
    target = find_running()
    for name, number in wanted:
        asyncio.run(drop_generation(target, name, number))
        if not json:
            console().print(plain(f"generation {number} of {name} is dropped"))
    found = asyncio.run(generations_of(target, names))
    if json:
        print_json([_as_json(each) for each in found])
    else:
        _show(found)


def _parsed(text: str) -> tuple[str, int]:
    from ops.cli.errors import UsageError

    match = GENERATION.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no generation", "write it as VIEW/N, such as thermal/3")
    [name] = chosen([match["view"]], False)
    return name, int(match["number"])


def _show(found: list[Listed]) -> None:
    from ops.cli.out import console, moment, plain, table

    styles = {"live": "green", "building": "yellow"}
    rows = [
        (
            each.view,
            each.generation,
            plain(each.state, styles.get(each.state, "")),
            each.fold_version,
            f"{each.rows:,}",
            f"{each.size / 1e6:,.1f}",
            "" if each.state == "live" else f"{each.behind:,}",
            moment(each.since),
        )
        for each in found
    ]
    columns = ("view", "generation", "state", "fold", "rows, about", "MB", "records behind", "since")
    console().print(table("Generations", columns, rows, right=("generation", "fold", "rows, about", "MB", "records behind")))


def _as_json(each: Listed) -> dict[str, object]:
    return {
        "view": each.view,
        "generation": each.generation,
        "state": each.state,
        "fold_version": each.fold_version,
        "rows": each.rows,
        "bytes": each.size,
        "behind": each.behind,
        "since": each.since,
        "positions": {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(each.positions.items())},
    }
