"""``emberlog verify`` and ``emberlog rebuild``: are the stores what the log says, and making one anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from projections.rebuild import Report

All = Annotated[bool, typer.Option("--all", help="All views.")]
Views = Annotated[list[str] | None, typer.Argument(help="Views, such as thermal.", show_default=False)]


def register(app: typer.Typer) -> None:
    app.command("verify", rich_help_panel="Operate")(verify)
    app.command("rebuild", rich_help_panel="Operate")(rebuild)


def verify(
    views: Annotated[list[str] | None, typer.Argument(help="Views to verify; all, if none is named.", show_default=False)] = None,
    every: All = False,
    json: Json = False,
) -> None:
    """Rebuild each view from the log into a scratch schema and compare digests with the live one at equal positions.

    Changes nothing. Exits with 1 where a view differs: then its tables hold what the log does not say.

    Example:

      emberlog verify
    """
    from ops.cli.bars import shown_bars
    from ops.cli.errors import CliError
    from ops.cli.rebuilding import run, verify_views
    from ops.cli.rebuilt import Rebuilt
    from ops.cli.target import find_running

    names = chosen(views, every or not views)
    target = find_running()
    with shown_bars(json) as begin:
        watch = Rebuilt(begin)
        run(verify_views(target, names, watch), lambda: f"the comparison of {watch.left_of(names)}", "nothing was changed")
    reports = watch.reports_of(names)
    if reports:
        show(reports, json, many=len(names) > 1)
    watch.must_be_sound()
    wrong = [report.view for report in reports if not report.equal]
    if wrong:
        raise CliError(
            f"not what the log says: {', '.join(wrong)}",
            f"look first, then make it anew: emberlog rebuild {wrong[0]}, and emberlog promote {wrong[0]} --force",
        )


def rebuild(
    views: Views = None,
    every: All = False,
    promote: Annotated[bool, typer.Option("--promote", help="Promote each one that is equal, at once.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --promote: also where live differs, for live tables known to be wrong.")
    ] = False,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Begin anew, also where an earlier rebuild was not finished or is ready.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that fold while a generation is empty.")] = 1,
    json: Json = False,
) -> None:
    """Rebuild views from the log beside the live ones, compare digests, and leave each new generation ready to be promoted.

    The log is read once for all of them; what goes wrong with one view does not touch the others. Readers and projectors go on
    meanwhile. A rebuild that was stopped, also by a kill, is gone on with by the next one. Exits with 1 where a new generation
    differs from the live one.

    Examples:

      emberlog rebuild thermal

      emberlog rebuild --all --promote
    """
    from ops.cli.bars import shown_bars
    from ops.cli.errors import CliError, UsageError
    from ops.cli.rebuilding import rebuild_views, run
    from ops.cli.rebuilt import Rebuilt
    from ops.cli.target import find_running

    if force and not promote:
        raise UsageError("--force belongs to --promote", "a generation that is ready is forced by: emberlog promote VIEW --force")
    names = chosen(views, every)
    target = find_running()

    def again() -> str:
        kept = "the log is read anew by" if watch.is_reading else "what is done is kept; go on with"
        return f"{kept}: emberlog rebuild {watch.left_of(names, ' ')}{' --promote' if promote else ''}"

    try:
        with shown_bars(json) as begin:
            watch = Rebuilt(begin)
            work = rebuild_views(target, names, watch, promote=promote, force=force, from_scratch=from_scratch, workers=workers)
            run(work, lambda: f"the rebuild of {watch.left_of(names)}", again)
    finally:
        reports = watch.reports_of(names)
        if reports:
            show(reports, json, many=len(names) > 1)
    watch.must_be_sound()
    wrong = [report.view for report in reports if report.compared and not report.equal and not report.promoted]
    if wrong:
        raise CliError(
            f"other than the live tables: {', '.join(wrong)}",
            f"look first; if the live ones are wrong: emberlog promote {wrong[0]} --force",
        )


def chosen(views: list[str] | None, every: bool) -> list[str]:
    """The views that were named, or all. Raises UsageError."""
    from ops.cli.errors import UsageError
    from projections.views import REGISTRY

    known = f"views are {', '.join(REGISTRY)}"
    unknown = [name for name in views or () if name not in REGISTRY]
    if unknown:
        raise UsageError(f"there is no view {', '.join(unknown)}", known)
    if not views and not every:
        raise UsageError("say which views, or --all", known)
    return list(REGISTRY) if every else list(dict.fromkeys(views or ()))


def show(reports: Sequence[Report], json: bool, *, many: bool = False) -> None:
    """Print what was found, which tables differ, and how to go on; as JSON a list where ``many`` were asked for."""
    from ops.cli.out import console, plain, print_json, table
    from ops.cli.rebuilding import as_json

    if json:
        shown = [as_json(report) for report in reports]
        print_json(shown if many else shown[0])
        return
    rows = [(r.view, r.records, r.live.digest[:16], r.rebuilt.digest[:16], _word(r), f"{r.seconds:.2f}") for r in reports]
    columns = ("view", "records", "digest live", "digest rebuilt", "result", "seconds")
    console().print(table("From the log alone", columns, rows, right=("records", "seconds")))
    _show_differing(reports)
    for report in reports:
        if report.resumed:
            console().print(plain(f"went on with what was built of generation {report.new_generation} of {report.view} before"))
        if report.promoted:
            console().print(
                plain(f"generation {report.new_generation} of {report.view} is live, {report.live_generation} is kept")
            )
        elif report.new_generation is not None:
            force = " --force" if report.compared and not report.equal else ""
            line = f"generation {report.new_generation} of {report.view} is ready: emberlog promote {report.view}{force}"
            console().print(plain(line), soft_wrap=True)
        if report.skipped:
            console().print(
                plain(f"{report.skipped} records of {report.view}'s topics could not be read and were skipped", "yellow")
            )


def _word(report: Report) -> Text:
    from ops.cli.out import plain

    if not report.compared:
        return plain("not compared: the live one is of another version, or has read nothing yet", "yellow")
    return plain("equal", "green") if report.equal else plain(f"differs in {len(report.differing)} tables", "red")


def _show_differing(reports: Sequence[Report]) -> None:
    from ops.cli.out import console, table
    from projections.digest import TableDigest

    none = TableDigest(0, "")
    rows = []
    for report in reports:
        for name in report.differing if report.compared else ():
            live, rebuilt = report.live.tables.get(name, none), report.rebuilt.tables.get(name, none)
            rows.append((report.view, name, live.rows, rebuilt.rows, live.digest[:16], rebuilt.digest[:16]))
    if rows:
        columns = ("view", "table", "rows live", "rows rebuilt", "digest live", "digest rebuilt")
        console().print(table("Tables that differ", columns, rows, right=("rows live", "rows rebuilt")))
