"""``emberlog receipt``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.commands.options import Json

if TYPE_CHECKING:
    from ops.cli.target import Target


def register(app: typer.Typer) -> None:
    app.command("receipt", rich_help_panel="Use")(receipt)


def receipt(
    id: Annotated[str, typer.Argument(help="Id of the forgetting, as `forget` and `erase` say it, or of its receipt.")],
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for it, where it is not there yet.")] = 0.0,
    json: Json = False,
) -> None:
    """Show what a forgetting destroyed: in which store, how much, what is still to come, and what stays on purpose.

    It is issued once every store has followed, mostly within a second. What it says stands on the log as well.

    Examples:

      emberlog receipt 0d7f6f5e-5a0c-5f43-9f0a-6f2f3a0c8a11

      emberlog receipt 0d7f6f5e-5a0c-5f43-9f0a-6f2f3a0c8a11 --wait 10 --json
    """
    from ops.cli.errors import CliError
    from ops.cli.out import print_json
    from ops.cli.receipts import find
    from ops.cli.target import find_running

    target = find_running()
    found = asyncio.run(find(target, id.strip().lower(), wait))
    if json:
        print_json(found)
    else:
        _show(target, found)
    if found["receipt_id"] is None:
        raise CliError("there is no receipt yet: a store has not followed", "what runs and lags is shown by: emberlog status")


def _show(target: Target, found: dict[str, Any]) -> None:
    from ops.cli.out import console, plain, table

    out = console()
    out.print(plain(f"forgetting {found['forget_id']}: {found['memories']} memories, asked for at {found['asked_at']}"))
    rows = [(s["store"], s["removed"], s["pending_until"] or "done") for s in found["stores"]]
    if rows:
        out.print(
            table(f"Receipt {found['receipt_id']}", ("store", "destroyed", "still to come until"), rows, right=("destroyed",))
        )
    if found["remaining_message_ids"]:
        out.print(plain("these messages stay, as a conversation is not a memory: " + ", ".join(found["remaining_message_ids"])))
        out.print("they go too with: emberlog forget … --include-source")
    out.print(
        "Destroyed keys leave the key store's files with VACUUM FULL, its write-ahead log and backups as those expire.",
        soft_wrap=True,
    )
