"""The command line: ``emberlog COMMAND``. Commands import what they need when they run, so that help is quick."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ops.cli import schema
from ops.cli.commands import (
    as_of,
    demo,
    forgetting,
    generations,
    keys,
    linking,
    memories,
    owner,
    parked,
    pinning,
    processes,
    publish,
    receipt,
    redecide,
    reembed,
    reindex,
    remember,
    replay,
    revise,
    settings,
    status,
    tail,
    undo,
    up,
    vacuum,
    views,
)
from ops.cli.errors import CliError, explain
from ops.cli.out import error_console
from ops.logging import log_to_stderr

HELP = (
    "Emberlog: the memory of AI agents as an event-sourced stream.\n\n"
    "A chat turn goes to Kafka, facts are extracted from it, every change of memory is an event on one immutable log, and every "
    "store is a projection that can be thrown away and rebuilt.\n\n"
    "[bold]Start here[/bold]\n\n"
    "  emberlog demo         a sample conversation through the whole line\n\n"
    "  emberlog up           keep it running; Ctrl-C stops it, data stays\n\n"
    '  emberlog publish --owner u-1 --text "I live in Lima." --wait\n\n'
    '  emberlog recall "where does she live?" --owner u-1\n\n'
    "  emberlog tail memory.events.v1 --follow"
)
EPILOG = (
    "Exit codes: 0 done, 1 a check failed, 2 wrong input, 3 nothing runs or cannot be reached, 4 waited in vain, 130 stopped."
)

app = typer.Typer(
    name="emberlog",
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("emberlog"))
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Data folder of the set to work with, instead of EMBERLOG_DATA_DIR (.emberlog)."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if data_dir is not None:
        # by the environment, so that child processes work with the same set
        os.environ["EMBERLOG_DATA_DIR"] = str(data_dir)
    schema.use_registry(context.invoked_subcommand)


def _unwrapped(text: str) -> str:
    """A docstring with each paragraph on one line, for Rich to wrap at the terminal's width; indented lines stay lines."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else p.replace("\n", " ") for p in paragraphs)


for module in (
    demo,
    up,
    publish,
    memories,
    forgetting,
    receipt,
    remember,
    revise,
    pinning,
    linking,
    undo,
    tail,
    replay,
    status,
    views,
    reembed,
    reindex,
    generations,
    as_of,
    redecide,
    owner,
    parked,
    keys,
    vacuum,
    processes,
    settings,
):
    module.register(app)
schema.register(app)
for group in (app, owner.app, parked.app, keys.app, schema.app):
    for command in group.registered_commands:
        command.help = _unwrapped((command.callback and command.callback.__doc__) or "")


def main() -> None:
    """Entry point. An expected failure is one line and a hint on stderr and an exit code, never a traceback."""
    # a pool's warnings would stand beside our clear error, unless the command logs
    logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())
    log_to_stderr()
    try:
        app()
    except BrokenPipeError:
        # the reader of our output has gone, as with | head; Python would complain again when it flushes at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        known = error if isinstance(error, CliError) else explain(error) or schema.registry_fault(error)
        if known is None:
            raise
        report(known)
        sys.exit(known.code)


def report(error: CliError) -> None:
    """Print an expected failure on stderr."""
    console = error_console()
    console.print(f"[bold red]error:[/bold red] {escape_markup(str(error))}", soft_wrap=True)
    if error.hint:
        console.print(f"  {escape_markup(error.hint)}", soft_wrap=True)


def escape_markup(text: str) -> str:
    """Text in which Rich sees no markup."""
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
