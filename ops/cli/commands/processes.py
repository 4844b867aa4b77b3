"""``emberlog setup``, ``worker`` and ``project``: the parts, for deployments that run them one by one."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ops.cli.target import Target

ReadyFile = Annotated[Path | None, typer.Option("--ready-file", help="Made when ready, removed at the end: for health checks.")]
HealthFile = Annotated[
    Path | None, typer.Option("--health-file", help="Written every few seconds: how each view is. See: emberlog health.")
]
WithParent = Annotated[bool, typer.Option("--with-parent", hidden=True, help="Addresses and life from the parent, by stdin.")]


def register(app: typer.Typer) -> None:
    app.command("setup", rich_help_panel="Operate")(setup)
    app.command("worker", rich_help_panel="Operate")(worker)
    app.command("project", rich_help_panel="Operate")(project)


def setup() -> None:
    """Create topics and tables. Needs your own services (EMBERLOG_KAFKA_BOOTSTRAP and EMBERLOG_POSTGRES_DSN) or a running set.

    Repeating it does no harm; `emberlog up` does it by itself.
    """
    from ops.cli.out import console, error_console, plain
    from ops.cli.target import find_running
    from ops.wiring_setup import set_up

    target = find_running()
    made = asyncio.run(set_up(target.settings, target.bootstrap, target.dsn))
    topics = ", ".join(made.new_topics) or "none, all are there"
    console().print(f"topics created: {topics}\ntables ready: decider state, views {', '.join(made.views)}")
    for line in made.advice:
        error_console().print(plain(f"warning: {line}", "yellow"), soft_wrap=True)


def worker(
    agents: Annotated[
        str, typer.Option("--agents", help="Which agents run here, separated by commas: admit, extract, decide, embed.")
    ] = "admit,extract,decide,embed",
    ready_file: ReadyFile = None,
    with_parent: WithParent = False,
) -> None:
    """Run the write side: admit turns, extract facts, decide, embed. In the foreground; SIGTERM or Ctrl-C stops it.

    Run as many workers as you like: Kafka shares the partitions among them.
    """
    from ops.cli.errors import UsageError
    from ops.cli.serving import serve
    from streams.config import AGENTS

    chosen = frozenset(name.strip() for name in agents.split(",") if name.strip())
    unknown = chosen - set(AGENTS)
    if unknown or not chosen:
        raise UsageError(f"there is no agent {', '.join(sorted(unknown)) or 'named'}", f"agents are {', '.join(AGENTS)}")
    target = _serving_target(with_parent, "ops.wiring", "streams.worker", "streams.extraction.build")
    from ops.wiring import run_worker

    serve(
        lambda stop, ready: run_worker(target.settings, target.bootstrap, target.dsn, chosen, stop, ready),
        ready_file,
        with_parent,
    )


def project(
    views: Annotated[list[str] | None, typer.Argument(help="Views to keep current; all, if none is named.")] = None,
    partitions: Annotated[
        str | None, typer.Option("--partitions", help="Partitions to keep, such as 0,1 or 0-3; all, if none is named.")
    ] = None,
    ready_file: ReadyFile = None,
    health_file: HealthFile = None,
    with_parent: WithParent = False,
) -> None:
    """Run the read side: keep the views (thermal archive, graph, audit, parked work, brain tables, …) up to the log.

    Beside them stand `keys`, which destroys the keys of what was forgotten and issues the receipts, and, where there is a Redis,
    `working-set`.

    Several processes share a view, each with partitions of its own. A second one on the same partition is refused.
    """
    from ops.cli.errors import UsageError
    from ops.cli.serving import serve
    from projections.views import REGISTRY
    from projections.working_set import NAME

    every = [*REGISTRY, "keys", NAME]
    unknown = [name for name in views or () if name not in every]
    if unknown:
        raise UsageError(f"there is no view {', '.join(unknown)}", f"views are {', '.join(every)}")
    wanted = None if partitions is None else _numbers(partitions)
    target = _serving_target(with_parent, "ops.projecting")
    outside = sorted(number for number in wanted or () if number >= target.topics.partitions)
    if outside:
        raise UsageError(
            f"there is no partition {', '.join(map(str, outside))}", f"topics have partitions 0 to {target.topics.partitions - 1}"
        )
    from ops.heartbeat import HealthFile
    from ops.projecting import run_projector

    chosen, beats = views or every, None if health_file is None else HealthFile(health_file)
    try:
        serve(
            lambda stop, ready: run_projector(
                target.settings,
                target.bootstrap,
                target.dsn,
                chosen,
                stop,
                ready,
                partitions=wanted,
                on_beat=None if beats is None else beats.write,
            ),
            ready_file,
            with_parent,
        )
    finally:
        if beats is not None:
            beats.remove()


def _numbers(text: str) -> frozenset[int]:
    """Partitions such as 0,2 or 0-3. Raises UsageError."""
    from ops.cli.errors import UsageError

    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or not (last.isdecimal() if dash else True) or (dash and int(last) < int(first)):
            raise UsageError(f"these are no partitions: {text}", "name them as 0,1 or 0-3")
        found.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(found)


def _serving_target(with_parent: bool, *heavy: str) -> Target:
    """The addresses to serve on: the parent's first line, else as for every other command.

    A parent may still be starting the services: ``heavy`` modules are imported meanwhile.
    """
    from ops.cli.target import find_running, target_from_line
    from ops.logging import configure_logging

    if not with_parent:
        target = find_running()
    else:
        for module in heavy:
            importlib.import_module(module)
        line = sys.stdin.buffer.readline()
        if not line:
            raise typer.Exit(0)  # the parent gave up before there was anything to do
        target = target_from_line(line)
    configure_logging(target.settings.log_level, target.settings.log_format)
    return target
