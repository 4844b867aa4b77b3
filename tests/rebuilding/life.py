"""What happens in the lives of many owners: turns that teach facts, requests, days that are summed up, work that is parked.

Each round lets some owners do one thing each. Who does what follows from the seed; the decider's own rules say what comes of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from benchmarks.owners import fixed_reference
from schemas import ids
from schemas.fingerprint import details_fingerprint, fingerprint, slug_fingerprint
from schemas.sealed import Sealed, maybe
from schemas.topics import partition_of
from schemas.types import (
    BeginAccess,
    Command,
    CommandMeta,
    ConsolidateDay,
    ConversationTurn,
    DaySummarised,
    Downshift,
    EndAccess,
    Entity,
    EraseOwner,
    Fact,
    FactsExtracted,
    Forget,
    Link,
    MemoryAdded,
    MemoryEvent,
    MemoryForgotten,
    Message,
    MessageRef,
    OwnerErased,
    Pin,
    Record,
    Reheat,
    Remember,
    Revise,
    ThermalPolicy,
    ToolCall,
    Triple,
    Unlink,
    Unpin,
    WorkParked,
)
from streams.decider import EMPTY, OwnerState

POLICY = ThermalPolicy()
LASTS = timedelta(hours=20)
"""All of it was less than a day ago, so that nothing expires from the working set meanwhile."""
SHARES = {
    "turn": 60, "reheat": 12, "remember": 6, "revise": 5, "forget": 4, "pin": 3, "unpin": 2, "link": 4, "unlink": 1, "day": 2,
    "access": 6, "park": 1,
}  # fmt: skip
ERASED = 0.002
"""Of all steps."""
PLACES = ("Valdivia", "Tromsø", "Łódź", "Nagoya", "Cusco", "Porto", "Tbilisi", "Óbidos", "Kraków", "Coyhaique")
THINGS = ("clocks", "maps", "stamps", "bicycles", "kettles", "letters", "shells", "engines", "carpets", "lamps")
SLUGS = ("email", "address", "birthday")


@dataclass(slots=True)
class Person:
    """An owner, with the decider's state of it. ``key`` is for fingerprints."""

    name: str
    reference: str
    partition: int
    key: bytes = b""
    state: OwnerState = EMPTY
    memories: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    accesses: int = 0
    forgotten_days: set[str] = field(default_factory=set)
    days_again: int = 0
    """Summaries of days of which one was forgotten before."""
    is_gone: bool = False

    @property
    def is_user(self) -> bool:
        return "/user/" in self.name

    def live_through(self, events: Iterable[MemoryEvent]) -> None:
        """Remember which memories there are."""
        for event in events:
            if isinstance(event, MemoryAdded):
                self.memories.append(event.memory_id)
            elif isinstance(event, MemoryForgotten):
                if event.memory_id in self.memories:
                    self.memories.remove(event.memory_id)
                self.forgotten_days.update(event.summary_ids)
            elif isinstance(event, DaySummarised):
                self.days_again += event.summary_id in self.forgotten_days
            elif isinstance(event, OwnerErased):
                self.is_gone = True


@dataclass(slots=True)
class Step:
    """What one owner does: a command, a turn that it was extracted from, or a piece of work that is parked."""

    person: Person
    command: Command | None = None
    turn: ConversationTurn | None = None
    beside: Record | None = None

    @property
    def records(self) -> Iterator[Record]:
        return (record for record in (self.turn, self.command, self.beside) if record is not None)


class Life:
    """``owners`` of all kinds; ``events`` says at what pace their time goes by."""

    def __init__(self, seed: int, owners: int, events: int, partitions: int) -> None:
        self.chance = random.Random(seed)
        kinds = ("user", "user", "company", "user", "shared", "user", "user", "company")
        names = [f"default/{kinds[i % len(kinds)]}/history-{seed}-{i}" for i in range(owners)]
        references = [fixed_reference(name) for name in names]
        self.people = [
            Person(name, reference, partition_of(reference, partitions))
            for name, reference in zip(names, references, strict=True)
        ]
        self._users = [person.reference for person in self.people if person.is_user]
        self._now = datetime.now(UTC).replace(microsecond=0) - LASTS
        self._pace = LASTS / max(events, 1)
        self._number = 0
        self._turns = [0] * partitions

    def round(self, size: int) -> list[Step]:
        """One step each of up to ``size`` owners, so that none of them depends on another one of the round."""
        there = [person for person in self.people if not person.is_gone]
        steps = [self._step(person) for person in self.chance.sample(there, min(size, len(there)))]
        return [step for step in steps if step is not None]

    def _step(self, person: Person) -> Step | None:
        self._number += 1
        self._now += self._pace
        if self.chance.random() < ERASED and len(person.memories) > 3:
            return Step(person, EraseOwner(self.meta(person), self._turns[person.partition]))
        kind = self.chance.choices(list(SHARES), list(SHARES.values()))[0]
        known = len(person.memories)
        if (kind in ("reheat", "revise", "forget", "pin", "unpin") and not known) or (kind in ("link", "unlink") and known < 2):
            kind = "turn"
        make: Callable[[Person], Step | None] = getattr(self, f"_{kind}")
        return make(person)

    def meta(self, person: Person, command_id: str = "") -> CommandMeta:
        at = self._now.replace(microsecond=self._now.microsecond // 1000 * 1000)
        return CommandMeta(
            command_id or ids.turn_id(person.reference, f"request {self._number}"), person.reference, at, "operator"
        )

    def _one(self, person: Person) -> str:
        return self.chance.choice(person.memories)

    # -- what is said

    def _turn(self, person: Person) -> Step:
        turn_id = ids.turn_id(person.reference, f"turn {self._number}")
        offset = self._turns[person.partition]
        self._turns[person.partition] += 1
        meta, session = self.meta(person, turn_id), Sealed.of(f"s-{self._number // 500}")
        facts = tuple(self._fact(person, turn_id) for _ in range(self.chance.choice((0, 1, 1, 2, 3))))
        user, assistant = ids.message_id(turn_id, 0), ids.message_id(turn_id, 1)
        said = "; ".join(fact.text.text for fact in facts) or "Nothing much."
        messages = [Message(user, "user", Sealed.of(said), Sealed.of(f"m-{self._number}"), None, None, meta.occurred_at)]
        if self.chance.random() < 0.8:
            messages.append(Message(assistant, "assistant", Sealed.of(f"I see, number {self._number}.")))
        person.messages.append(user)
        calls = (ToolCall("search", maybe(f'{{"q": "{said[:20]}"}}'), maybe("found")),) if self.chance.random() < 0.1 else ()
        latency = {"llm": float(self._number % 900)} if calls else {}
        turn = ConversationTurn(
            turn_id, person.reference, Sealed.of(person.name), "assistant", session, meta.occurred_at, tuple(messages), calls,
            maybe('[{"role": "user"}]') if calls else None, "talk" if calls else None, latency,
        )  # fmt: skip
        found = FactsExtracted(
            meta=meta, user_id=Sealed.of(person.name), agent_id="assistant", session_id=session, source_offset=offset,
            facts=facts, failed=0, skipped_short=0, extractor="mem0", model="a-model", prompt_version="1", prompt_tokens=0,
            completion_tokens=0, rules=False, policy=POLICY,
        )  # fmt: skip
        return Step(person, found, turn)

    def _fact(self, person: Person, turn_id: str) -> Fact:
        text, action, target = self._words(person), "add", None
        draw = self.chance.random()
        if person.memories and draw < 0.12:
            action, target = ("revise", self._one(person)) if draw < 0.08 else ("forget", self._one(person))
        place, thing = self.chance.choice(PLACES), self.chance.choice(THINGS)
        triple = Triple(Sealed.of("user"), Sealed.of("likes"), Sealed.of(f"{thing} of {place}"))
        salience = self.chance.choice((0.2, 0.3, 0.5, 0.9))
        evidence = (MessageRef(ids.message_id(turn_id, 0), Sealed.of(f"m-{self._number}")),)
        about = (Entity(Sealed.of(place), "place"),) if self.chance.random() < 0.4 else ()
        told = (triple,) if self.chance.random() < 0.3 else ()
        return Fact(Sealed.of(text), fingerprint(person.key, text), evidence, salience, action, target, about, told)  # type: ignore[arg-type]

    def _words(self, person: Person) -> str:
        """New ones, or in one of five cases some that were said before."""
        if person.said and self.chance.random() < 0.2:
            return self.chance.choice(person.said)
        number = self.chance.randrange(100_000)
        text = f"The user keeps {number} {self.chance.choice(THINGS)} from {self.chance.choice(PLACES)}"
        person.said = [*person.said[-20:], text]
        return text

    # -- what is asked for

    def _remember(self, person: Person) -> Step:
        text, slug = self._words(person), self.chance.choice((None, *SLUGS))
        category, tags = self.chance.choice((None, "contact")), self.chance.choice(((), ("work", "new")))
        return Step(
            person,
            Remember(
                self.meta(person), Sealed.of(person.name), Sealed.of(text), fingerprint(person.key, text), 0.6, POLICY,
                maybe(slug), None if slug is None else slug_fingerprint(person.key, slug), maybe(category),
                tuple(Sealed.of(tag) for tag in tags), None, details_fingerprint(person.key, category, tags, None),
            ),
        )  # fmt: skip

    def _revise(self, person: Person) -> Step:
        text = self._words(person)
        words = Sealed.of(text), fingerprint(person.key, text), POLICY
        return Step(person, Revise(self.meta(person), self._one(person), *words))

    def _reheat(self, person: Person) -> Step:
        return Step(person, Reheat(self.meta(person), self._one(person), POLICY))

    def _pin(self, person: Person) -> Step:
        return Step(person, Pin(self.meta(person), self._one(person)))

    def _unpin(self, person: Person) -> Step:
        return Step(person, Unpin(self.meta(person), self._one(person)))

    def _link(self, person: Person) -> Step:
        one, other = self.chance.sample(person.memories[-4:], 2)
        return Step(person, Link(self.meta(person), one, other, "about", 0.5))

    def _unlink(self, person: Person) -> Step:
        one, other = self.chance.sample(person.memories[-4:], 2)
        return Step(person, Unlink(self.meta(person), one, other, "about"))

    def _forget(self, person: Person) -> Step:
        with_source = self.chance.random() < 0.4
        return Step(person, Forget(self.meta(person), (self._one(person),), self._turns[person.partition], with_source))

    # -- what operations do

    def _day(self, person: Person) -> Step:
        """A summary of some memories and messages, of which one becomes cooler; of the same day after a forgetting, too."""
        memories, messages = tuple(person.memories[-3:]), tuple(person.messages[-2:])
        cooler = tuple(Downshift(memory, "warm", ()) for memory in memories[:1])
        meta, summary = self.meta(person), Sealed.of(f"A day with {len(memories)} things, number {self._number}")
        day = meta.occurred_at.date()
        made = ConsolidateDay(meta, day, summary, memories, messages, (), cooler, "a-model", "1", 0, 0)
        return Step(person, made)

    def _access(self, person: Person) -> Step:
        """A company lets users in, and out again."""
        if person.is_user:
            return self._turn(person)
        meta = self.meta(person)
        if person.accesses and self.chance.random() < 0.4:
            return Step(person, EndAccess(meta, f"access-{self.chance.randint(1, person.accesses)}"))
        person.accesses += 1
        user = self.chance.choice(self._users)
        return Step(person, BeginAccess(meta, f"access-{person.accesses}", user, "session", None))

    def _park(self, person: Person) -> Step:
        parked = ids.parked_id("extract", "history", person.partition, self._number)
        content = (Sealed(b"k"), Sealed(b"v"), {"h": Sealed(b"\xff")})
        at = self.meta(person).occurred_at
        return Step(
            person,
            beside=WorkParked(
                parked, person.reference, "extract", "t", person.partition, self._number, "broken", None, 3, at, *content
            ),
        )
