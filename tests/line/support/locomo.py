"""LoCoMo's conversations as turns of the kill test, where the data set is at hand. It is used from its place, never copied."""

from __future__ import annotations

import os
from pathlib import Path

from ops.standin.locomo import load_locomo
from tests.line.support.generator import Batch, Turn

ROOT = Path(__file__).resolve().parents[3]
DATA = Path("data/locomo/locomo_dev5.json")


def locomo_file() -> Path | None:
    """The data set: EMBERLOG_LOCOMO, or in a folder ``shared`` beside this checkout; None where it is not there."""
    places = [Path(os.environ["EMBERLOG_LOCOMO"])] if os.environ.get("EMBERLOG_LOCOMO") else [ROOT.parent / "shared" / DATA]
    return next((place for place in places if place.is_file()), None)


def conversation(file: Path, name: str) -> Batch:
    """One conversation, its recorded facts and its own dates. Each text begins with its turn's id, to be told from the others."""
    data = load_locomo(file)
    made = []
    times = {f"{name}/{turn.dia_id}": (turn.at, turn.dia_id) for turn in data.conversation(name).turns()}
    for number, recorded in enumerate(data.recorded_turns([name])):
        at, dia_id = times[recorded.turn]
        facts = tuple(fact.text for fact in recorded.facts)
        text = f"[{recorded.turn}] {recorded.text}"
        session = dia_id.partition(":")[0]
        made.append(Turn(number, f"default/user/locomo-{name}", recorded.turn, session, at, text, facts, reply=None))
    return Batch(0, tuple(made))
