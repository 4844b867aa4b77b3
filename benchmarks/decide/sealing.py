"""What sealing costs: turns, commands and events sealed, encoded, decoded and opened, beside the same in plain, batch by batch.

The keys are in a real key store, and made before. Each run begins with empty caches, so it fetches and unwraps every key twice:
for sealing, and for opening; of one batch together, as projections do.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from benchmarks.decide.clocked import ClockedKeys
from benchmarks.decide.workload import Workload
from benchmarks.harness import Failed
from benchmarks.owners import make_known
from benchmarks.services import Services
from ops.keyring import open_keys
from ops.keys.store import PostgresKeys
from schemas import codec, ids
from schemas.sealed import Sealed
from schemas.sealing import Keys, open_all, seal
from schemas.subjects import subjects_of
from schemas.types import EVENTS, Command, ConversationTurn, FactsExtracted, MemoryEvent, Message, Record
from streams.decider import EMPTY, OwnerState, step

COMMANDS = 6_000
"""As many are enough: they make some twenty thousand records, and as many keys."""
BATCH = 500
LABEL = "sealed"


class Pair(NamedTuple):
    """A record in plain, and as its writer has it: in plain too, or an event with the values that its command brought sealed."""

    plain: Record
    written: Record


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one run over ``records`` records; fetching keys, for sealing and for opening, is part of ``sealed_s``."""

    records: int
    plain_s: float
    sealed_s: float
    keys_for_sealing_s: float
    keys_for_opening_s: float

    @property
    def ratio(self) -> float:
        """Sealed over plain."""
        return self.sealed_s / self.plain_s


@dataclass(frozen=True, slots=True)
class Costs:
    """Several runs, and how many keys per second were made before them, in batches."""

    runs: Sequence[Cost]
    keys: int
    keys_made_per_s: float

    @property
    def ratio(self) -> float:
        """Sealed over plain: the median."""
        return median(run.ratio for run in self.runs)

    def figures(self) -> dict[str, float]:
        """Medians: microseconds per record, and the shares of the sealed time that keys took."""
        return {
            "records": self.runs[0].records,
            "keys": self.keys,
            "plain_us": median(1e6 * run.plain_s / run.records for run in self.runs),
            "sealed_us": median(1e6 * run.sealed_s / run.records for run in self.runs),
            "keys_for_sealing_share": median(run.keys_for_sealing_s / run.sealed_s for run in self.runs),
            "keys_for_opening_share": median(run.keys_for_opening_s / run.sealed_s for run in self.runs),
            "keys_made_per_s": self.keys_made_per_s,
        }


async def costs(services: Services, commands: int, owners: int, repeats: int) -> Costs:
    """``repeats`` runs over what ``commands`` commands of ``owners`` owners are made from and lead to."""
    settings, dsn = services.target.settings, services.dsn
    await make_known(settings, dsn, (f"default/user/{LABEL}-{i}" for i in range(owners)))
    async with open_keys(settings, dsn, connections=1) as ring:
        workload = Workload(owners, services.topics.partitions, label=LABEL)
        said = [(_turn_of(command), offset, command) for _, offset, command in workload.commands(commands)]
        subjects = {s for turn, _, command in said for r in (turn, command) if r is not None for s in subjects_of(r)}
        begun = time.perf_counter()
        await ring.keys.for_sealing(subjects)
        made_per_s = len(subjects) / (time.perf_counter() - begun)
        pairs = await _pairs(ring.keys, said)
        await _run(ring.keys, pairs[:BATCH])  # the codec of a type is made at its first use
        runs = [await _run(ring.keys, pairs) for _ in range(repeats)]
    return Costs(runs, len(subjects), made_per_s)


def _turn_of(command: Command) -> ConversationTurn | None:
    """The turn from which an extraction came: what its facts name as evidence was said, and then answered."""
    if not isinstance(command, FactsExtracted):
        return None
    meta = command.meta
    said = [
        Message(shown.message_id, "user", fact.text, producer_id=shown.producer_id)
        for fact in command.facts
        for shown in fact.evidence
    ]
    answer = Message(ids.message_id(meta.command_id, len(said)), "assistant", Sealed.of("Thank you, I shall keep that in mind."))
    return ConversationTurn(
        turn_id=meta.command_id,
        owner=meta.owner,
        user_id=command.user_id,
        agent_id=command.agent_id,
        session_id=command.session_id,
        occurred_at=meta.occurred_at,
        messages=(*said, answer),
    )


async def _pairs(keys: Keys, said: Sequence[tuple[ConversationTurn | None, int, Command]]) -> list[Pair]:
    """Everything that is written, in its order: turn, command, events."""
    plain: dict[str, OwnerState] = {}
    sealed: dict[str, OwnerState] = {}
    pairs = []
    for turn, offset, command in said:
        if turn is not None:
            pairs.append(Pair(turn, turn))
        pairs.append(Pair(command, command))
        events = _decided(plain, command, offset)
        pairs += map(Pair, events, _decided(sealed, await seal(keys, command), offset))
    return pairs


def _decided(states: dict[str, OwnerState], command: Command, offset: int) -> Sequence[MemoryEvent]:
    owner = command.meta.owner
    events, states[owner] = step(states.get(owner, EMPTY), command, offset)
    return events


async def _run(keys: PostgresKeys, pairs: Sequence[Pair]) -> Cost:
    """Every batch first in plain, then sealed. Raises Failed where something else comes out."""
    clocked, plain_s, sealed_s = ClockedKeys(keys), 0.0, 0.0
    keys.clear()
    gc.collect()
    gc.freeze()  # the workload is no garbage of the codec's
    try:
        for batch in _batches(pairs):
            begun = time.perf_counter()
            values = [codec.encode(pair.plain) for pair in batch]
            decoded = [codec.decode(value) for value in values]
            between = time.perf_counter()
            opened = await _sealed(clocked, batch)
            sealed_s += time.perf_counter() - between
            plain_s += between - begun
            if opened != decoded:
                raise Failed("what was sealed and opened is not what it was")
    finally:
        gc.unfreeze()
    return Cost(len(pairs), plain_s, sealed_s, clocked.sealing_s, clocked.opening_s)


async def _sealed(keys: Keys, batch: Sequence[Pair]) -> list[Record]:
    # a decider copies what is sealed, and seals nothing itself
    plain = [pair.written for pair in batch if not isinstance(pair.written, EVENTS)]
    await keys.for_sealing({subject for record in plain for subject in subjects_of(record)})
    written = [pair.written if isinstance(pair.written, EVENTS) else await seal(keys, pair.written) for pair in batch]
    values = list(map(codec.encode, written))
    return await open_all(keys, [codec.decode(value) for value in values])


def _batches(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    return (pairs[i : i + BATCH] for i in range(0, len(pairs), BATCH))
