"""Commands as a busy installation sees them: mostly extractions, some of them empty, mentions, requests, and a few refused."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from benchmarks.owners import fixed_key, fixed_reference
from schemas import ids
from schemas.fingerprint import fingerprint
from schemas.topics import partition_of
from schemas.types import (
    Command,
    CommandMeta,
    Fact,
    FactsExtracted,
    MessageRef,
    Pin,
    Reheat,
    Remember,
    Sealed,
    ThermalPolicy,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = ThermalPolicy()
SHARES: tuple[tuple[str, int], ...] = (("extraction", 70), ("empty", 8), ("remember", 10), ("pin", 7), ("unknown", 5))
"""Of a hundred commands; what is unknown is rejected."""
STATEMENTS = 60
"""Different statements of one owner in its extractions: about half of what 40,000 commands for 500 owners say
has been said before, and is a mention."""


class Workload:
    """Commands for ``owners`` owners over ``partitions`` partitions, the same for the same seed.

    Offsets are counted along from ``offsets``, the ends of the partitions, as every command goes to the end of its owner's: so a
    request can name the memory that an earlier command made.
    """

    def __init__(
        self, owners: int, partitions: int, seed: int = 1, label: str = "bench", offsets: Sequence[int] | None = None
    ) -> None:
        self._rnd = random.Random(seed)
        self.owners = [fixed_reference(f"default/user/{label}-{i}") for i in range(owners)]
        self._keys = {owner: fixed_key(owner) for owner in self.owners}
        self._partitions = partitions
        self._offsets = list(offsets) if offsets is not None else [0] * partitions
        self._remembered: dict[str, list[str]] = {owner: [] for owner in self.owners}
        self._number = 0

    def commands(self, count: int) -> Iterator[tuple[int, int, Command]]:
        """``count`` commands with the partition and offset that each will have."""
        kinds, weights = [kind for kind, _ in SHARES], [share for _, share in SHARES]
        for kind in self._rnd.choices(kinds, weights, k=count):
            owner = self._rnd.choice(self.owners)
            partition = partition_of(owner, self._partitions)
            offset = self._offsets[partition]
            self._offsets[partition] += 1
            self._number += 1
            yield partition, offset, self._command(kind, owner, offset)

    def memories(self, owner: str, count: int) -> Iterator[tuple[int, int, Command]]:
        """``count`` new memories of one owner, each remembered by a request."""
        partition = partition_of(owner, self._partitions)
        for i in range(count):
            offset = self._offsets[partition]
            self._offsets[partition] += 1
            self._number += 1
            yield partition, offset, self._remember(owner, offset, f"Statement number {i} that somebody asked to keep")

    def _command(self, kind: str, owner: str, offset: int) -> Command:
        known = self._remembered[owner]
        if kind == "pin" and known:
            return Pin(self._meta(owner), self._rnd.choice(known))
        if kind == "unknown":
            return Reheat(self._meta(owner), ids.memory_id(owner, -1, 0), POLICY)
        if kind == "remember":
            return self._remember(owner, offset, f"Request number {self._number}: deliver on the first floor")
        facts = () if kind == "empty" else tuple(self._facts(owner))
        return FactsExtracted(
            meta=self._meta(owner),
            user_id=Sealed.of("bench"),
            agent_id="assistant",
            session_id=Sealed.of(f"session-{self._number // 20}"),
            source_offset=self._number,
            facts=facts,
            failed=0,
            skipped_short=0,
            extractor="mem0",
            model="a-model",
            prompt_version="1",
            prompt_tokens=8_000,
            completion_tokens=60,
            rules=False,
            policy=POLICY,
        )

    def _facts(self, owner: str) -> Iterator[Fact]:
        for place in range(self._rnd.choice((1, 1, 1, 2, 3))):
            text = f"The user told about topic {self._rnd.randrange(STATEMENTS)} that it matters on weekdays"
            evidence = (MessageRef(ids.message_id(str(self._number), place), Sealed.of(f"m-{self._number}-{place}")),)
            yield Fact(Sealed.of(text), fingerprint(self._keys[owner], text), evidence, 0.5)

    def _remember(self, owner: str, offset: int, text: str) -> Remember:
        self._remembered[owner].append(ids.memory_id(owner, offset, 0))
        print_ = fingerprint(self._keys[owner], text)
        return Remember(self._meta(owner), Sealed.of("bench"), Sealed.of(text), print_, 0.5, POLICY)

    def _meta(self, owner: str) -> CommandMeta:
        at = START + timedelta(seconds=self._number)
        return CommandMeta(ids.turn_id(owner, str(self._number)), owner, at, "emberlog/benchmark")
