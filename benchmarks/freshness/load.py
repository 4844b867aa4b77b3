"""The load: turns with a fact each, distinct owners, published on a schedule that waits for nothing (open loop).

Latency counts from the moment a turn was due, not from when it was sent, so that a sender held up by a slow line does not hide it
(coordinated omission).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.owners import fixed_reference
from ops.standin.recording import RecordedFact, RecordedTurn
from schemas.owner import Owner
from schemas.types import InboxMessage, InboxTurn
from streams.producers import InboxProducer

_ROOMS = ("kitchen", "attic", "cellar", "garage", "study", "hall", "pantry", "garden shed")
_THINGS = ("violin", "telescope", "red bicycle", "chess set", "sewing machine", "canoe", "typewriter", "barometer", "harp")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One turn to publish: its owner, what is said, and the fact that the recording has for it."""

    owner: Owner
    text: str
    fact: str

    def as_turn(self) -> InboxTurn:
        return InboxTurn(owner=str(self.owner), session_id="s-1", messages=(InboxMessage("user", self.text),))


def utterances(label: str, count: int) -> list[Utterance]:
    """``count`` turns of as many owners; no two say the same."""
    made = []
    for i in range(count):
        thing, room = _THINGS[i % len(_THINGS)], _ROOMS[i // len(_THINGS) % len(_ROOMS)]
        number = f"{label}-{i}"
        made.append(
            Utterance(
                Owner.of("freshness", "user", number),
                f"By the way, I keep the {thing} with the tag {number} in my {room} now.",
                f"The user keeps a {thing} with the tag {number} in the {room}.",
            )
        )
    return made


def recording(turns: Sequence[Utterance]) -> list[RecordedTurn]:
    """What the stand-in answers."""
    return [RecordedTurn(turn=str(u.owner), text=u.text, facts=(RecordedFact(u.fact, salience=0.7),)) for u in turns]


def due_times(count: int, rate: float) -> Iterator[float]:
    """Seconds after the start at which each turn is due, ``rate`` per second."""
    return (i / rate for i in range(count))


async def send(
    producer: InboxProducer, turns: Sequence[Utterance], rate: float, on_due: Callable[[str], None]
) -> dict[str, float]:
    """Publish on schedule; when each owner's turn was due, by owner reference, on the clock of ``time.perf_counter``.

    ``on_due`` gets the owner reference just before its turn goes out.
    """
    due: dict[str, float] = {}
    began = time.perf_counter() + 0.05
    async with asyncio.TaskGroup() as group:
        for turn, offset in zip(turns, due_times(len(turns), rate), strict=True):
            moment = began + offset
            due[fixed_reference(turn.owner)] = moment
            await asyncio.sleep(max(0.0, moment - time.perf_counter()))
            on_due(fixed_reference(turn.owner))
            group.create_task(_publish(producer, turn))
    return due


async def _publish(producer: InboxProducer, turn: Utterance) -> None:
    await producer.publish(turn.as_turn())
