"""The four agents: what each reads, and how an event reaches the code that handles it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import faust
from aiokafka import AIOKafkaProducer

from schemas import envelope
from streams.agents.accepting import Accepting
from streams.agents.admission import Admission, judge
from streams.agents.embed import EMBEDDED, Embed
from streams.agents.embed_messages import EmbedMessages
from streams.agents.extract import Extract
from streams.agents.purging import InboxPurger
from streams.agents.rolling import is_neutral
from streams.agents.seeding import seed_accepting, seed_extraction
from streams.agents.vectors import BatchingEmbedder, Vectors
from streams.app import build_app
from streams.config import EMBED_MESSAGES, WorkerConfig
from streams.parking.lot import ParkingLot, Place
from streams.protocol.commands import RawCommand
from streams.protocol.runner import PartitionRunner
from streams.protocol.session import DeciderParts
from streams.recent import RecentMessages
from streams.stage import Stage, Work

ADMIT_IN_FLIGHT = 256
EMBED_IN_FLIGHT = 256
_EMBEDDED = {f"emberlog.{t.__name__}".encode() for t in EMBEDDED}


def work_of(event: Any) -> Work:
    """A Faust event as Work."""
    m = event.message
    headers = m.headers.items() if isinstance(m.headers, dict) else m.headers
    return Work(m.topic, m.partition, m.offset, m.key, m.value, envelope.as_map(headers))


@dataclass(slots=True)
class Agents:
    """Builds the Faust applications of a worker; ``ready`` once each has its first assignment."""

    config: WorkerConfig
    lot: ParkingLot
    producer: AIOKafkaProducer
    on_fatal: Callable[[BaseException], None]
    stages: list[Stage] = field(default_factory=list)
    purgers: list[InboxPurger] = field(default_factory=list)
    runners: dict[int, PartitionRunner] = field(default_factory=dict)
    _waiting: set[str] = field(default_factory=set)
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def build(self) -> list[faust.App]:
        """One application per configured agent; two for ``embed``, which reads two topics."""
        makers = {
            "admit": self._admit,
            "extract": self._extract,
            "decide": self._decide,
            "embed": self._embed,
            EMBED_MESSAGES: self._embed_messages,
        }
        wanted = set(self.config.agents)
        if "embed" in wanted and self.config.embed_messages:
            wanted.add(EMBED_MESSAGES)
        self._waiting = wanted
        return [make() for name, make in makers.items() if name in wanted]

    async def stop(self) -> None:
        """Stop all work without finishing it."""
        for purger in self.purgers:
            await purger.stop()
        for stage in self.stages:
            await stage.stop()
        for runner in self.runners.values():
            await runner.stop()

    def _assigned(self, agent: str) -> None:
        self._waiting.discard(agent)
        if not self._waiting:
            self.ready.set()

    def _stage(self, name: str, handle: Any, *, in_flight: int, alone: bool = False) -> Stage:
        stage = Stage(
            name + self.config.apart,
            handle,
            self.lot,
            attempts=self.config.attempts,
            max_in_flight=in_flight,
            on_fatal=self.on_fatal,
            alone=alone,
        )
        self.stages.append(stage)
        return stage

    # -- admit

    def _admit(self) -> faust.App:
        admission = Admission(self.config, self.producer)
        stage = self._stage("admit", admission, in_flight=ADMIT_IN_FLIGHT, alone=True)
        purger = InboxPurger(self.config.bootstrap, self.config.group("admit"), self.config.topics.inbox, self.producer)
        self.purgers.append(purger)

        async def on_event(event: Any) -> None:
            came = work_of(event)
            if is_neutral(came):
                stage.finish(came, event.ack)
                return
            work = judge(came, event.message.timestamp)
            await stage.submit(work.lane, work, event.ack)

        async def on_assigned(partitions: set[tuple[str, int]]) -> None:
            await self.lot.refresh()
            stage.assigned(partitions)
            purger.assigned({p for _, p in partitions})
            self._assigned("admit")

        async def on_revoked() -> None:
            stage.assigned(set())
            purger.assigned(set())

        return build_app(self.config, "admit", self.config.topics.inbox, on_event, on_assigned, on_revoked, self.on_fatal)

    # -- extract

    def _extract(self) -> faust.App:
        messages = RecentMessages()
        extract = Extract(self.config, self.producer, messages)
        stage = self._stage("extract", extract, in_flight=self.config.max_in_flight)

        async def on_event(event: Any) -> None:
            work = work_of(event)
            await stage.submit((work.key or b"").decode(errors="replace"), work, event.ack)

        async def on_assigned(partitions: set[tuple[str, int]]) -> None:
            await self.lot.refresh()
            await seed_extraction(self.config, messages, {p for _, p in partitions})
            stage.assigned(partitions)
            self._assigned("extract")

        async def on_revoked() -> None:
            stage.assigned(set())

        return build_app(
            self.config, "extract", self.config.topics.conversation, on_event, on_assigned, on_revoked, self.on_fatal
        )

    # -- decide

    def _decide(self) -> faust.App:
        parts = DeciderParts(self.config.bootstrap, self.config.topics, self.config.state_dsn, self.lot, self.on_fatal)

        def runner_of(place: Place) -> PartitionRunner | None:
            return self.runners.get(place.partition)

        def on_retry(place: Place) -> None:
            runner = runner_of(place)
            if runner is not None and place.owner is not None:
                runner.retry(place.owner)

        def on_left(place: Place) -> None:
            runner = runner_of(place)
            if runner is not None:
                runner.left(place)

        self.lot.on_retry("decide", on_retry)
        self.lot.on_left("decide", on_left)

        async def on_event(event: Any) -> None:
            work = work_of(event)
            runner = self.runners.get(work.partition)
            if runner is not None:  # else it was taken away; its next owner gets the event
                await runner.take(RawCommand(work.offset, work.key, work.value, work.headers), event.ack)

        async def on_revoked() -> None:
            # at once: a runner that went on saving would take the position from the partition's next owner
            old, self.runners = self.runners, {}
            for runner in old.values():
                await runner.stop()

        async def on_assigned(partitions: set[tuple[str, int]]) -> None:
            await on_revoked()
            self.runners = {p: PartitionRunner(parts, p) for _, p in partitions}
            await asyncio.gather(*(runner.start() for runner in self.runners.values()))
            for place in self.lot.retries_wanted("decide"):
                on_retry(place)
            self._assigned("decide")

        return build_app(self.config, "decide", self.config.topics.commands, on_event, on_assigned, on_revoked, self.on_fatal)

    # -- embed

    def _embed(self) -> faust.App:
        embed = Embed(self._vectors())
        stage = self._stage("embed", embed, in_flight=EMBED_IN_FLIGHT)
        accepting = Accepting()

        async def on_event(event: Any) -> None:
            work = work_of(event)
            kind = work.headers.get("ce_type", b"").rpartition(b".v")[0]  # whatever its version
            if accepting.feed(work.headers) and kind in _EMBEDDED:
                await stage.submit((work.key or b"").decode(errors="replace"), work, event.ack)
            else:
                stage.finish(work, event.ack)

        async def on_assigned(partitions: set[tuple[str, int]]) -> None:
            await self.lot.refresh()
            await seed_accepting(self.config, accepting, {p for _, p in partitions})
            stage.assigned(partitions)
            self._assigned("embed")

        async def on_revoked() -> None:
            stage.assigned(set())

        return build_app(self.config, "embed", self.config.topics.events, on_event, on_assigned, on_revoked, self.on_fatal)

    def _embed_messages(self) -> faust.App:
        stage = self._stage(EMBED_MESSAGES, EmbedMessages(self._vectors()), in_flight=EMBED_IN_FLIGHT)

        async def on_event(event: Any) -> None:
            work = work_of(event)
            await stage.submit((work.key or b"").decode(errors="replace"), work, event.ack)

        async def on_assigned(partitions: set[tuple[str, int]]) -> None:
            await self.lot.refresh()
            stage.assigned(partitions)
            self._assigned(EMBED_MESSAGES)

        async def on_revoked() -> None:
            stage.assigned(set())

        topic = self.config.topics.conversation
        return build_app(self.config, EMBED_MESSAGES, topic, on_event, on_assigned, on_revoked, self.on_fatal)

    def _vectors(self) -> Vectors:
        # batches of its own: what is said a lot holds no memory's vector back
        return Vectors(self.config, self.producer, BatchingEmbedder(self.config.embedder))
