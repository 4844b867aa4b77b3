"""Generated turns: deterministic by seed, with the facts that a model would find and what must be remembered of them.

    batch = generate(seed=7, turns=120)
    batch.recording()          # for the stand-in
    batch.expected()           # what the archive must hold in the end, worked out here and nowhere else

Every text says which turn it is, so that a stand-in's override can hit one turn. Facts repeat inside an owner (a mention) and
across owners (which must not matter); some turns hold none.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from benchmarks.owners import fixed_reference
from ops.standin.recording import RecordedFact, RecordedTurn
from schemas import ids
from schemas.fingerprint import normalise
from schemas.types import InboxMessage, InboxTurn

BEGIN = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
REPEATED, ACROSS, EMPTY = 0.15, 0.10, 0.08
INITIAL, REHEAT, MAXIMUM, FLOOR, HALF_LIFE_DAYS = 75.0, 5.0, 100.0, 20.0, 30.0

_SUBJECTS = ("The sister of the speaker", "The speaker", "The speaker's oldest friend", "The neighbour upstairs", "La abuela")
_VERBS = ("keeps", "has just bought", "repairs", "is looking for", "photographs", "colecciona", "sold", "dreams of")
_THINGS = ("clocks", "maps", "stamps", "bicycles", "kettles", "letters", "shells", "engines", "carpets", "lamps")
_PLACES = ("Valdivia", "Coyhaique", "Tromsø", "Łódź", "Nagoya", "Cusco", "Porto", "Tbilisi", "Óbidos", "Kraków")


@dataclass(frozen=True, slots=True)
class Turn:
    """One generated turn; ``facts`` in the order in which the model lists them."""

    number: int
    owner: str
    id: str
    session: str
    at: datetime
    text: str
    facts: tuple[str, ...]
    reply: str | None = "I see."

    @property
    def marker(self) -> str:
        """What stands in this turn's text and in no other's."""
        return self.text.partition("]")[0] + "]"

    @property
    def reference(self) -> str:
        return fixed_reference(self.owner)

    @property
    def turn_id(self) -> str:
        return ids.turn_id(self.reference, self.id)

    @property
    def message_ids(self) -> tuple[str, str]:
        return f"{self.id}-a", f"{self.id}-b"

    def inbox(self) -> InboxTurn:
        """As its producer sends it."""
        mine, theirs = self.message_ids
        messages = [InboxMessage("user", self.text, id=mine)]
        if self.reply is not None:
            messages.append(InboxMessage("assistant", self.reply, id=theirs))
        return InboxTurn(self.owner, self.session, tuple(messages), id=self.id, agent_id="generated", occurred_at=self.at)


@dataclass(frozen=True, slots=True)
class Expected:
    """One memory as it must be in the end: the turns that said it, in order, the first of them first."""

    owner: str
    content: str
    turn_ids: tuple[str, ...]
    temperature: float
    last_access: datetime

    @property
    def access_count(self) -> int:
        return len(self.turn_ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """The turns of one seed, in the order in which they are published."""

    seed: int
    turns: tuple[Turn, ...]

    @property
    def owners(self) -> tuple[str, ...]:
        """Owner references, each once."""
        return tuple(dict.fromkeys(turn.reference for turn in self.turns))

    def recording(self) -> list[RecordedTurn]:
        """What the stand-in answers."""
        return [
            RecordedTurn(turn.id, turn.text, turn.at.date().isoformat(), tuple(RecordedFact(f, salience=0.6) for f in turn.facts))
            for turn in self.turns
        ]

    def expected(self) -> dict[tuple[str, str], Expected]:
        """By owner reference and content: what each owner's turns teach when every one of them is taken exactly once."""
        return expected_of(self.turns)


def expected_of(turns: Sequence[Turn]) -> dict[tuple[str, str], Expected]:
    """What ``turns``, each taken exactly once and in this order, teach."""
    known: dict[tuple[str, str], Expected] = {}
    first_words: dict[tuple[str, str], str] = {}
    for turn in turns:
        # facts that differ in case or punctuation at the edges are one, in the words in which it was first said
        said = [first_words.setdefault((turn.reference, normalise(fact)), fact) for fact in turn.facts]
        for fact in dict.fromkeys(said):
            key = (turn.reference, fact)
            before = known.get(key)
            if before is None:
                known[key] = Expected(turn.reference, fact, (turn.turn_id,), INITIAL, turn.at)
                continue
            warm = min(round(_cooled(before, turn.at) + REHEAT, 6), MAXIMUM)
            known[key] = Expected(turn.reference, fact, (*before.turn_ids, turn.turn_id), warm, turn.at)
    return known


def _cooled(memory: Expected, now: datetime) -> float:
    days = (now - memory.last_access) / timedelta(days=1)
    return round(FLOOR + (memory.temperature - FLOOR) * 0.5 ** (days / HALF_LIFE_DAYS), 6) if days > 0 else memory.temperature


@dataclass(slots=True)
class _Writer:
    chance: random.Random
    owners: list[str]
    told: dict[str, list[str]] = field(default_factory=dict)
    everything: list[str] = field(default_factory=list)
    fresh: int = 0

    def facts(self, owner: str) -> tuple[str, ...]:
        if self.chance.random() < EMPTY:
            return ()
        return tuple(dict.fromkeys(self._fact(owner) for _ in range(self.chance.randint(1, 4))))

    def _fact(self, owner: str) -> str:
        mine = self.told.setdefault(owner, [])
        draw = self.chance.random()
        if mine and draw < REPEATED:
            return self.chance.choice(mine)
        heard = self.everything and draw < REPEATED + ACROSS
        fact = self.chance.choice(self.everything) if heard else self._new()
        if fact not in mine:
            mine.append(fact)
        return fact

    def _new(self) -> str:
        self.fresh += 1
        pick = self.chance.choice
        number = self.chance.randint(2, 99)
        fact = f"{pick(_SUBJECTS)} {pick(_VERBS)} {number} {pick(_THINGS)} from {pick(_PLACES)} (no. {self.fresh})"
        self.everything.append(fact)
        return fact


def generate(seed: int, turns: int, *, owners: int = 12, label: str = "g") -> Batch:
    """``turns`` turns over ``owners`` owners; other labels give other owners."""
    chance = random.Random(seed)
    names = [f"default/{'shared' if i % 5 == 4 else 'user'}/{label}-{seed}-{i}" for i in range(owners)]
    writer = _Writer(chance, names)
    clock = BEGIN
    made = []
    for number in range(turns):
        owner = chance.choice(names)
        clock += timedelta(minutes=chance.randint(1, 600))
        text = f"[{label}{seed}.{number}] {chance.choice(_SUBJECTS)} came up again, in {chance.choice(_PLACES)}."
        session = f"s-{number // 20}"
        made.append(Turn(number, owner, f"{label}{seed}-t{number}", session, clock, text, writer.facts(owner)))
    return Batch(seed, tuple(made))
