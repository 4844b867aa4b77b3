"""``emberlog status``, ``emberlog health`` and ``emberlog counts``: how the running set is, and what it has done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ops.cli.health import Health
    from ops.cli.target import Target


def register(app: typer.Typer) -> None:
    app.command("status", rich_help_panel="Look")(status)
    app.command("health", rich_help_panel="Look")(health)
    app.command("counts", rich_help_panel="Look")(counts)


def status(
    partitions: Annotated[bool, typer.Option("--partitions", help="Every partition of every view, not only what lags.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show services, topics, what each agent and view still has to do, alarms and parked work.

    Exits with 1 where an owner's log has a gap (an alarm), with 3 where Kafka, PostgreSQL or the key store cannot be reached.
    Views that do not get on are named, and `emberlog health` fails by them.
    """
    from ops.cli.errors import CliError, NotRunning
    from ops.cli.health import look
    from ops.cli.out import print_json, to_jsonable
    from ops.cli.target import find_running
    from ops.settings_shown import describe_models

    target = find_running()
    found = asyncio.run(look(target))
    if json:
        more = {"alarms": found.alarms, "stalled": found.stalled, "models": describe_models(target.settings)}
        print_json({**to_jsonable(found), **more})
    else:
        _show(target, found, partitions)
    if not found.reached:
        raise NotRunning("Kafka, PostgreSQL or the key store cannot be reached")
    if found.alarms:
        raise CliError(f"{found.alarms} owners have a gap in their log and are not applied any more")


def health(
    file: Annotated[Path | None, typer.Argument(help="What `emberlog project --health-file` writes; else all that runs.")] = None,
) -> None:
    """Say whether projectors get on: exit code 0 or 1, and why.

    With the health file of one projector, for probes of Docker and Kubernetes: it asks no service, and a projector that is dead,
    frozen or stuck fails. Without: services and all views as `emberlog status` sees them, also where no projector runs at all.
    """
    from ops.cli.errors import CliError, NotRunning
    from ops.cli.health import look
    from ops.cli.out import console, plain
    from ops.cli.target import find_running

    if file is not None:
        from ops.heartbeat import judged

        well, lines = judged(file)
        if not well:
            raise CliError("unhealthy\n" + "\n".join(lines))
        console().print(plain("\n".join(["healthy", *lines])))
        return
    found = asyncio.run(look(find_running()))
    if not found.reached:
        raise NotRunning("Kafka, PostgreSQL or the key store cannot be reached")
    if found.stalled:
        raise CliError("unhealthy\n" + "\n".join(f"{name}: {words}" for name, words in found.stalled.items()))
    console().print(plain("healthy"))


def _show(target: Target, health: Health, partitions: bool) -> None:
    from ops.cli.out import console, plain, table
    from ops.settings_shown import describe_models

    out = console()
    services = f"Kafka {target.bootstrap}: {health.kafka};  PostgreSQL: {health.postgres};  key store: {health.key_store}"
    out.print(plain(f"services    {services}  ({target.origin})"))
    out.print(plain(f"facts       {describe_models(target.settings)}"))
    rows = [(name, t["partitions"], t["records"], " ".join(map(str, t["end_offsets"]))) for name, t in health.topics.items()]
    out.print(table("Topics", ("topic", "partitions", "records", "end offsets"), rows, right=("partitions", "records")))
    waiting = [(name, "never ran" if lag is None else lag) for name, lag in health.agents.items()]
    out.print(table("Agents", ("agent", "records to do"), waiting, right=("records to do",)))
    views = [
        (name, "not set up" if v["generation"] is None else v["generation"], v["lag"], v["lag_s"], v["alarms"], v["problems"])
        for name, v in health.views.items()
    ]
    numbers = ("generation", "records to do", "seconds behind", "owners with a gap", "records skipped")
    out.print(table("Views", ("view", *numbers), views, right=numbers))
    places = [
        (name, p["topic"], p["partition"], p["next_offset"], p["lag"], p["lag_s"], p["quiet_s"], "yes" if p["running"] else "no")
        for name, v in health.views.items()
        for p in v["partitions"]
        if partitions or p["lag"]
    ]
    if places:
        columns = ("partition", "position", "records to do", "seconds behind", "moved s ago")
        out.print(table("Partitions", ("view", "topic", *columns, "projector"), places, right=columns))
    for name, words in health.stalled.items():
        out.print(plain(f"{name}: {words}", "red"))
    lag = health.working_set["lag"]
    out.print(plain(f"working set  {health.working_set['state']}" + ("" if lag is None else f", {lag} records to do")))
    if health.parked:
        out.print(plain(f"{health.parked} pieces of work are parked: emberlog parked list", "yellow"))


def counts(
    last: Annotated[int, typer.Option("-n", "--last", min=0, help="How many of the last turns to list.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what the turns brought: facts extracted, memories new and updated, errors; in all and for the last turns.

    For one run of your own use `emberlog publish FILE --wait`.
    """
    from ops.cli.out import console, moment, plain, print_json, table
    from ops.cli.outcomes import COUNTS, all_counts
    from ops.cli.target import find_running

    found = asyncio.run(all_counts(find_running(), last))
    if json:
        print_json(found)
        return
    console().print(plain(f"{found.turns} turns: " + ", ".join(f"{n} {name}" for name, n in found.totals.items())))
    rows = [(turn.turn_id, moment(turn.occurred_at), turn.extracted, turn.new, turn.updated, turn.errors) for turn in found.last]
    if rows:
        console().print(table("Last turns", ("turn id", "time", *COUNTS), rows, right=COUNTS))
