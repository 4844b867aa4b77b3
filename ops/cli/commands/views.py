"""``emberlog verify`` and ``emberlog rebuild``: are the stores what the log says, and making one anew."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from projections.rebuild import Report

JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]


def register(app: typer.Typer) -> None:
    app.command("verify", rich_help_panel="Operate")(verify)
    app.command("rebuild", rich_help_panel="Operate")(rebuild)


def verify(
    views: Annotated[list[str] | None, typer.Argument(help="Views to verify; all, if none is named.", show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Rebuild each view from the log into a scratch schema and compare digests with the live one at equal positions.

    Changes nothing. Exits with 1 where a view differs: then its tables hold what the log does not say.
    """
    from ops.cli.errors import CliError
    from ops.cli.rebuilding import shown_bar, verify_view
    from ops.cli.target import find_running

    names = _known(views)
    target = find_running()
    reports = []
    for name in names:
        with shown_bar(f"verifying {name}", json) as progress:
            reports.append(asyncio.run(verify_view(target, name, progress)))
    _show(reports, json)
    wrong = [report.view for report in reports if not report.equal]
    if wrong:
        raise CliError(f"not what the log says: {', '.join(wrong)}", f"make it anew: emberlog rebuild {wrong[0]} --force")


def rebuild(
    view: Annotated[str, typer.Argument(help="View to rebuild: thermal, embeddings, audit or parked.")],
    force: Annotated[
        bool, typer.Option("--force", help="Promote although live differs: for live tables known to be wrong.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Rebuild a view from the log beside the live one, compare digests, and promote it in one transaction.

    Readers see no interruption; the generation before is kept. Where the digests differ nothing is promoted without --force.
    """
    from ops.cli.rebuilding import rebuild_view, shown_bar
    from ops.cli.target import find_running

    [name] = _known([view])
    target = find_running()
    with shown_bar(f"rebuilding {name}", json) as progress:
        report = asyncio.run(rebuild_view(target, name, force, progress))
    _show([report], json)


def _known(views: list[str] | None) -> list[str]:
    from ops.cli.errors import UsageError
    from projections.views import REGISTRY

    unknown = [name for name in views or () if name not in REGISTRY]
    if unknown:
        raise UsageError(f"there is no view {', '.join(unknown)}", f"views are {', '.join(REGISTRY)}")
    return views or list(REGISTRY)


def _show(reports: list[Report], json: bool) -> None:
    from ops.cli.out import console, plain, print_json, table
    from ops.cli.rebuilding import as_json

    if json:
        shown = [as_json(report) for report in reports]
        print_json(shown[0] if len(shown) == 1 else shown)
        return
    rows: list[tuple[Any, ...]] = []
    for report in reports:
        word = plain("equal", "green") if report.equal else plain(f"differs in {', '.join(report.differing)}", "red")
        rows.append(
            (report.view, report.records, report.live.digest[:16], report.rebuilt.digest[:16], word, f"{report.seconds:.2f}")
        )
    columns = ("view", "records", "digest live", "digest rebuilt", "result", "seconds")
    console().print(table("From the log alone", columns, rows, right=("records", "seconds")))
    for report in reports:
        if report.promoted:
            console().print(
                plain(f"generation {report.new_generation} of {report.view} is live, {report.live_generation} is kept")
            )
        if report.skipped:
            console().print(
                plain(f"{report.skipped} records of {report.view}'s topics could not be read and were skipped", "yellow")
            )
