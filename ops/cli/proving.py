"""``emberlog forget --prove``: texts are asked for or read, sought in every store, and never shown; where they stand is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import typer

from ops.cli.errors import CliError, UsageError
from ops.cli.out import console, error_console, plain, print_json, table
from ops.cli.target import Target
from ops.forgetting.findings import SEALED
from ops.forgetting.needles import TooShort
from ops.forgetting.proof import Proof, Searched, prove
from ops.forgetting.stores import Forgets, Kind, Places
from ops.keyring import keys_dsn, open_keys

SHOWN = 10
"""Findings of one store that people are shown; ``--json`` has more."""


def sought(content_file: str | None) -> list[str]:
    """The texts to seek, one per line that is not empty. Raises UsageError."""
    if content_file is None:
        if not sys.stdin.isatty():
            hint = "say what to look for with --content-file FILE, or --content-file - to read standard input"
            raise UsageError("there is no terminal to ask for the content on", hint)
        text = typer.prompt("What is to be looked for (it is not shown)", hide_input=True, err=True)
    else:
        text = _read(content_file)
    lines = [line.strip() for line in text.splitlines()]
    if not any(lines):
        raise UsageError("the content to look for is empty")
    return [line for line in lines if line]


def _read(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.buffer.read().decode()
        with open(name, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError("the content to look for is not UTF-8") from None


def show_proof(target: Target, memory_ids: Sequence[str], needles: Sequence[str], json: bool) -> None:
    """Search and tell. Raises CliError where something was found, or could not be searched."""
    try:
        proof = asyncio.run(_prove(target, needles))
    except TooShort as error:
        raise UsageError(str(error), "give whole sentences or names, one per line") from None
    if json:
        print_json(_as_json(proof, memory_ids))
    else:
        _show(proof, memory_ids)
    if proof.failures:
        raise CliError("not everything could be searched, so nothing is proved: " + "; ".join(proof.failures[:SHOWN]))
    if proof.found:
        stores = [searched for searched in proof.stores if searched.found]
        raise CliError(f"found in {proof.found} places of {', '.join(s.store.name for s in stores)}", _hint(stores))


async def _prove(target: Target, needles: Sequence[str]) -> Proof:
    settings, errors = target.settings, error_console()
    async with open_keys(settings, target.dsn, connections=1) as ring:
        data_dir, redis = settings.data_dir.resolve(), settings.redis_url
        places = Places(
            *(target.bootstrap, target.dsn, target.topics, data_dir, keys_dsn(settings, target.dsn), ring.keys),
            redis_url=None if redis is None else redis.get_secret_value(),
        )
        if not errors.is_terminal:
            return await prove(places, needles)
        with errors.status("searching") as status:
            return await prove(places, needles, lambda store, done: status.update(f"searching {store}: {done:,}"))


def _show(proof: Proof, memory_ids: Sequence[str]) -> None:
    title = f"Searched for the content of {', '.join(memory_ids)}" if memory_ids else "Searched for the content"
    rows = [(s.store.name, _amount(s), f"{s.size / 1e6:,.1f}", s.found, s.store.forgets) for s in proof.stores]
    console().print(table(title, ("store", "searched", "MB", "found", "how it forgets"), rows, right=("searched", "MB", "found")))
    for searched in proof.stores:
        for finding in searched.findings[:SHOWN]:
            console().print(plain(f"{finding.store}: {finding.place} ({finding.form}, text {finding.needle})"), soft_wrap=True)
        if (more := searched.found - SHOWN) > 0:
            console().print(plain(f"{searched.store.name}: and {more:,} more"))
    if not proof.found and not proof.failures:
        console().print("found nowhere")


_UNITS = {
    Kind.TOPIC: "records",
    Kind.TABLES: "rows",
    Kind.STATISTICS: "columns",
    Kind.KEY_VALUES: "keys",
    Kind.FILES: "files",
    Kind.RAW: "files",
    Kind.UNREAD: "files, not read",
}


def _amount(searched: Searched) -> str:
    return f"{searched.items:,} {_UNITS[searched.store.kind]}"


def _as_json(proof: Proof, memory_ids: Sequence[str]) -> dict[str, object]:
    stores = [
        {
            "store": s.store.name,
            "kind": s.store.kind,
            "holds": s.store.holds,
            "forgets": s.store.forgets,
            "searched": s.items,
            "bytes": s.size,
            "found": s.found,
            "findings": [{"place": f.place, "form": f.form, "text": f.needle} for f in s.findings],
            "failures": s.failures,
        }
        for s in proof.stores
    ]
    return {"memory_ids": list(memory_ids), "found": proof.found, "complete": not proof.failures, "stores": stores}


def _hint(found: Sequence[Searched]) -> str:
    """What the places mean, and what ends it."""
    ways = {searched.store.forgets for searched in found}
    says = []
    forms = {(searched.store.kind, finding.form == SEALED) for searched in found for finding in searched.findings}
    if (Kind.TOPIC, True) in forms:
        says.append("the log holds it sealed, and its key is still there")
    if (Kind.TOPIC, False) in forms:
        says.append("a topic holds it in plain: the inbox until it is purged, others from before values were sealed")
    if Forgets.VACUUM in ways:
        says.append("deleted rows, and samples of them, stay in the databases' files until emberlog vacuum")
    if Forgets.CHECKPOINT in ways:
        says.append("the write-ahead log goes with checkpoints, or emberlog vacuum")
    if Forgets.REWRITE in ways:
        says.append("the working set's file is written anew some seconds after a forgetting, while a projector runs")
    if ways & {Forgets.PROJECTION, Forgets.DECIDER}:
        says.append("a view still has it: was it forgotten, or was it said again since?")
    if ways & {Forgets.NEVER_HELD, Forgets.NOT_OURS}:
        says.append("logs and other files should never hold contents: look there first")
    return "; ".join(says)
