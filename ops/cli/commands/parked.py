"""``emberlog parked``: work that could not be done, and what to do with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ops.cli.lot import ParkedEntry, RetryResult
    from ops.cli.target import Target

app = typer.Typer(no_args_is_help=True, help="Work that could not be done: list, show, retry or drop it.")

Ids = Annotated[list[str] | None, typer.Argument(help="Parked ids; their first digits are enough.", show_default=False)]
OwnerOption = Annotated[str | None, typer.Option("--owner", help="All parked work of this owner.")]
AllOption = Annotated[bool, typer.Option("--all", help="All parked work.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="parked", rich_help_panel="Operate")


@app.command("list")
def list_parked(owner: OwnerOption = None, json: JsonOption = False) -> None:
    """List what is parked, with the reason of each.

    Later work of an owner waits behind what is parked, so that order is kept; other owners go on.
    """
    from ops.cli.lot import entries
    from ops.cli.out import console, moment, print_json, table
    from ops.cli.target import find_running
    from ops.cli.words import short

    found = asyncio.run(entries(find_running(), owner))
    if json:
        print_json([entry.as_json() for entry in found])
    elif not found:
        console().print("nothing is parked")
    else:
        rows = [
            (
                w.parked_id,
                w.stage,
                short(w.owner),
                w.reason,
                f"{w.topic} {w.partition}@{w.offset}",
                w.attempts,
                moment(w.parked_at),
            )
            for w in (entry.work for entry in found)
        ]
        columns = ("parked id", "stage", "owner", "reason", "record", "attempts", "parked at")
        console().print(table("Parked work", columns, rows, right=("attempts",)))
        console().print("read one: emberlog parked show ID; try again: emberlog parked retry ID (or --owner …, --all)")


@app.command()
def show(
    parked_id: Annotated[str, typer.Argument(help="Parked id; its first digits are enough.")], json: JsonOption = False
) -> None:
    """Show one piece of parked work with the record itself."""
    from ops.cli.lot import choose, entries, value_of
    from ops.cli.out import console, moment, plain, print_json
    from ops.cli.target import find_running

    target = find_running()
    entry = choose(asyncio.run(entries(target)), [parked_id], everything=False)[0]
    value = asyncio.run(value_of(target, entry.parked_id))
    record = asyncio.run(_readable(target, value))
    if json:
        print_json({**entry.as_json(), "record": record, "value": value})
        return
    work = entry.work
    lines = {
        "parked id": work.parked_id,
        "stage": work.stage,
        "reason": work.reason,
        "attempts": work.attempts,
        "parked at": moment(work.parked_at),
        "owner": work.owner or "none could be told",
        "record": f"{work.topic} partition {work.partition} offset {work.offset}, {entry.size} bytes",
        "waits behind": work.behind or "nothing",
        "retry asked": moment(entry.retry_requested_at) or "no",
    }
    for name, text in lines.items():
        console().print(plain(f"{name:<13} {text}"), soft_wrap=True)
    console().print(plain(_as_text(record, value)), soft_wrap=True)


async def _readable(target: Target, value: bytes) -> Any:
    """The record as JSON types, opened; None where it cannot be read."""
    import orjson

    from ops.cli.out import to_jsonable
    from ops.keyring import open_keys
    from schemas import codec
    from schemas.errors import ContractError
    from schemas.sealing import open_all

    try:
        async with open_keys(target.settings, target.dsn, connections=1) as ring:
            [record] = await open_all(ring.keys, [codec.decode(value)])
        return {"type": type(record).__name__, **to_jsonable(record)}
    except ContractError:
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return None


def _as_text(record: Any, value: bytes) -> str:
    import orjson

    if record is None:
        return f"unreadable; first bytes: {value[:64].hex(' ')}"
    return orjson.dumps(record, option=orjson.OPT_INDENT_2).decode()


@app.command()
def retry(
    ids: Ids = None,
    owner: OwnerOption = None,
    all: AllOption = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the outcome.")] = 60.0,
    json: JsonOption = False,
) -> None:
    """Try parked work again, wait for the outcome, and say what healed.

    An owner's work is tried from its oldest on, until one piece fails again.
    """
    from ops.cli.errors import CliError, TimedOut
    from ops.cli.lot import wait_for_retry

    target, chosen = _chosen(ids, owner, all)

    async def work() -> RetryResult:
        from streams.producers import CommandProducer

        async with CommandProducer(target.bootstrap, target.topics) as producer:
            await producer.retry_parked((entry.parked_id, entry.work.owner) for entry in chosen)
        return await wait_for_retry(target, chosen, timeout)

    result = asyncio.run(work())
    _show_retry(result, json)
    if result.unanswered:
        raise TimedOut(f"{len(result.unanswered)} not answered within {timeout:g} s", "does a worker run? emberlog status")
    if result.failed or result.behind:
        raise CliError(f"{len(result.failed) + len(result.behind)} still parked")


def _show_retry(result: RetryResult, json: bool) -> None:
    from ops.cli.out import console, plain, print_json

    if json:
        print_json(result)
        return
    for parked_id in result.healed:
        console().print(plain(f"healed   {parked_id}", "green"))
    for parked_id, reason in result.failed.items():
        console().print(plain(f"failed   {parked_id}  {reason}", "red"), soft_wrap=True)
    for parked_id, head in result.behind.items():
        console().print(plain(f"waiting  {parked_id}  behind {head}", "yellow"), soft_wrap=True)
    console().print(f"{len(result.healed)} healed, {len(result.failed)} failed again, {len(result.behind)} waiting behind them")


@app.command()
def drop(
    ids: Ids = None,
    owner: OwnerOption = None,
    all: AllOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait until it is gone.")] = 30.0,
    json: JsonOption = False,
) -> None:
    """Give parked work up for good. What it would have done never happens."""
    from ops.cli.errors import TimedOut
    from ops.cli.lot import wait_for_retry
    from ops.cli.out import console, print_json

    target, chosen = _chosen(ids, owner, all)
    if not yes:
        typer.confirm(f"Drop {len(chosen)} for good?", abort=True, err=True)

    async def work() -> RetryResult:
        from streams.producers import CommandProducer

        async with CommandProducer(target.bootstrap, target.topics) as producer:
            await producer.drop_parked((entry.parked_id, entry.work.owner) for entry in chosen)
        return await wait_for_retry(target, chosen, timeout)

    gone = asyncio.run(work()).healed
    if json:
        print_json({"dropped": gone})
    else:
        console().print(f"{len(gone)} dropped")
    if len(gone) < len(chosen):
        raise TimedOut(f"{len(chosen) - len(gone)} still shown as parked", "does a projector run? emberlog status")


def _chosen(ids: list[str] | None, owner: str | None, everything: bool) -> tuple[Target, list[ParkedEntry]]:
    from ops.cli.errors import UsageError
    from ops.cli.lot import choose, entries
    from ops.cli.out import console
    from ops.cli.target import find_running

    if sum((bool(ids), owner is not None, everything)) != 1:
        raise UsageError("say which: parked ids, --owner, or --all", "see what is parked with: emberlog parked list")
    target = find_running()
    present = asyncio.run(entries(target, owner))
    chosen = choose(present, ids or [], everything or owner is not None)
    if not chosen:
        console().print("nothing is parked")
        raise typer.Exit(0)
    return target, chosen
