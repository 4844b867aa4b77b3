"""``emberlog receipt``."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ops.cli.commands.options import Json

UNDECLARED = (
    "backups and snapshots of databases, key store and broker hold it until they expire; to have the date here, set "
    "EMBERLOG_BACKUP_RETENTION_DAYS for the projector"
)


def register(app: typer.Typer) -> None:
    app.command("receipt", rich_help_panel="Use")(receipt)


def receipt(
    id: Annotated[str, typer.Argument(help="Id of the forgetting, as `forget` and `erase` say it, or of its receipt.")],
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for it, where it is not there yet.")] = 0.0,
    json: Json = False,
) -> None:
    """Show what a forgetting destroyed: in which store, how much, what is still to come, and what stays on purpose.

    It is issued once every store has followed, mostly within a second. What it says stands on the log as well. Until when backups
    hold it, it says where EMBERLOG_BACKUP_RETENTION_DAYS was set for the projector at that time.

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
        _show(found)
    if found["receipt_id"] is None:
        raise CliError("there is no receipt yet: a store has not followed", "what runs and lags is shown by: emberlog status")


def _show(found: dict[str, Any]) -> None:
    from ops.cli.out import console, plain, table
    from ops.forgetting.stores import BACKUPS

    out = console()
    memories = "1 memory" if found["memories"] == 1 else f"{found['memories']} memories"
    out.print(plain(f"forgetting {found['forget_id']}: {memories}, asked for at {found['asked_at']}"))
    if found["stores"]:
        rows = [(s["store"], s["removed"] if s["pending_until"] is None else "", _still(found, s)) for s in found["stores"]]
        rows += [(what, "", f"until {command}, where none ran since") for what, command in found["until_command"].items()]
        out.print(table(f"Receipt {found['receipt_id']}", ("store", "destroyed", "still to come"), rows, right=("destroyed",)))
    if found["remaining_message_ids"]:
        out.print(plain("these messages stay, as a conversation is not a memory: " + ", ".join(found["remaining_message_ids"])))
        out.print("they go too with: emberlog forget … --include-source")
    if found["stores"] and not any(s["store"] == BACKUPS for s in found["stores"]):
        out.print(plain(UNDECLARED), soft_wrap=True)


def _still(found: dict[str, Any], store: dict[str, Any]) -> str:
    """What of a store is still to come."""
    from ops.forgetting.stores import BACKUPS

    if store["pending_until"] is None:
        return "done"
    asked, until = (datetime.fromisoformat(text).astimezone(UTC) for text in (found["asked_at"], store["pending_until"]))
    is_over = until <= datetime.now(UTC)
    begins = "over since" if is_over else "until"
    if store["store"] == BACKUPS:
        return f"{begins} {until:%Y-%m-%d}, as you {'kept' if is_over else 'keep'} them {(until - asked).days} days"
    return f"{begins} {until:%Y-%m-%d %H:%M}, at the latest"
