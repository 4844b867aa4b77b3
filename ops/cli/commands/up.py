"""``emberlog up``: everything in the foreground."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ops.cli.runset import RunningSet


def register(app: typer.Typer) -> None:
    app.command("up", rich_help_panel="Start")(up)


def up() -> None:
    """Run everything in the foreground: services, worker and projector. Ctrl-C stops it cleanly, data stays.

    Without EMBERLOG_KAFKA_BOOTSTRAP and EMBERLOG_POSTGRES_DSN it starts a Kafka and a PostgreSQL of its own on the data folder;
    with them it works on yours. When it is ready it says what to try next.
    """
    from ops.cli.interrupts import Stopped, handled
    from ops.cli.out import error_console
    from ops.cli.runset import RunningSet
    from ops.cli.target import read_settings

    settings = read_settings()
    steps = error_console()
    with suppress(Stopped), handled(), RunningSet(settings, lambda step: steps.print(f"  {step}", style="dim")) as running:
        _say_running(running)
        try:
            running.watch()
        except Stopped:
            steps.print("stopping worker, projector and services")
            raise
    steps.print("stopped; the data stays")


def _say_running(running: RunningSet) -> None:
    from rich.panel import Panel

    from ops.cli.out import console, plain
    from ops.cli.runset import folder_of
    from ops.settings_shown import describe_models

    target = running.target
    lines = [
        f"Kafka        {target.bootstrap}",
        f"PostgreSQL   {_without_password(target.dsn)}",
        f"Facts        {describe_models(target.settings)}",
        f"Data         {folder_of(target.settings)} (logs in {folder_of(target.settings) / 'logs'})",
        "",
        "Try, in another terminal:",
        '  emberlog publish --owner u-1 --text "I live in Valparaíso." --wait',
        '  emberlog recall "where does she live?" --owner u-1',
        "  emberlog tail memory.events.v1 --follow",
        "  emberlog status",
    ]
    out = console()
    if out.is_terminal:
        out.print(Panel(plain("\n".join(lines)), title="Emberlog is running. Ctrl-C stops it", expand=False))
    else:
        out.print(plain("Emberlog is running. SIGINT or SIGTERM stops it.\n" + "\n".join(lines)), soft_wrap=True)
    sys.stdout.flush()


def _without_password(dsn: str) -> str:
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    from ops.settings_shown import MASK

    parts = conninfo_to_dict(dsn)
    if "password" in parts:
        parts["password"] = MASK
    return make_conninfo("", **parts)
