"""``emberlog demo``: a conversation through the whole line, with services of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("demo", rich_help_panel="Start")(demo)


def demo(
    locomo: Annotated[
        Path | None, typer.Option("--locomo", help="Play a conversation of this LoCoMo file instead of the sample.")
    ] = None,
    conversation: Annotated[str, typer.Option("--conversation", help="Which conversation of the LoCoMo file.")] = "conv-26",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only its first turns.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the demo's data, for `emberlog --data-dir … up`.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Play a sample conversation through the whole line and show what became of it. It ends by itself.

    A real Kafka and a real PostgreSQL are started on a fresh folder below the data folder. You see turns read and memories made,
    one memory warmed by a repeated statement, one forgotten, answers with their reasons, and the archive rebuilt from the log
    alone. Everything shown is checked; exits with 1 where something does not hold.

    Examples:

      emberlog demo

      emberlog demo --locomo locomo10.json --conversation conv-26 --limit 100
    """
    from ops.cli.errors import CliError, UsageError
    from ops.cli.interrupts import Stopped, handled
    from ops.cli.out import console, error_console
    from ops.cli.target import read_settings
    from ops.demo.run import DemoOptions, run

    if limit is not None and locomo is None:
        raise UsageError("--limit belongs to --locomo")
    options = DemoOptions(locomo, conversation, limit, keep, json)
    try:
        with handled():
            holds = run(read_settings(), options, console(), error_console())
    except Stopped:
        raise CliError("the demo was stopped before its end; everything that it started is stopped too") from None
    if not holds:
        raise CliError("something that the demo shows does not hold: see above")
