"""A stage of slow work: per owner in order, retried, then parked with its reason; later work of that owner follows it there.

An outage (broker, database or model away) pauses the owner's lane and resumes: it counts as no attempt and parks nothing. Work is
acknowledged when it is done or durably parked, strictly in offset order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from schemas import ids
from streams import tasks
from streams.acks import OrderedAcks
from streams.failures import Away, Failed, Refused
from streams.lanes import Lanes
from streams.parking.lot import ParkingLot, Place

log = structlog.get_logger(__name__)

MAX_WAITING = 2_000
FIRST_PAUSE_S, LAST_PAUSE_S = 0.2, 10.0


@dataclass(frozen=True, slots=True)
class Work:
    """One record to work on, as it came from its topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]

    @property
    def source(self) -> tuple[str, int, int]:
        return self.topic, self.partition, self.offset


Handle = Callable[[Work], Awaitable[None]]


class Stage:
    """``submit`` takes work in offset order per partition; ``handle`` does one piece, raising Refused, Failed or Away."""

    def __init__(
        self,
        name: str,
        handle: Handle,
        lot: ParkingLot,
        *,
        attempts: int,
        max_in_flight: int,
        on_fatal: Callable[[BaseException], None],
        alone: bool = False,
    ) -> None:
        """``alone``: what is refused is parked by itself, under no owner, and holds nothing back."""
        self.name, self._alone = name, alone
        self._handle, self._lot, self._attempts = handle, lot, attempts
        self._lanes = Lanes(MAX_WAITING, on_fatal)
        self._slots = asyncio.Semaphore(max_in_flight)
        self._assigned: set[tuple[str, int]] = set()
        self._acks: dict[tuple[str, int], OrderedAcks] = {}
        self._retries: set[asyncio.Task[None]] = set()
        lot.on_retry(name, self._on_retry)

    async def submit(self, owner: str, work: Work, ack: Callable[[], object]) -> None:
        """Queue ``work`` in its owner's lane; ``ack`` is called once it and all before it in its partition are finished."""
        acks = self._acks.setdefault((work.topic, work.partition), OrderedAcks())
        if not acks.add(work.offset, ack):
            return

        async def job() -> None:
            await self._process(owner, work)
            acks.done(work.offset)

        await self._lanes.submit(owner, job)

    def finish(self, work: Work, ack: Callable[[], object]) -> None:
        """Acknowledge work that needs nothing done, in its turn."""
        acks = self._acks.setdefault((work.topic, work.partition), OrderedAcks())
        if acks.add(work.offset, ack):
            acks.done(work.offset)

    def assigned(self, partitions: set[tuple[str, int]]) -> None:
        """A new assignment of (topic, partition): acknowledgements of the old one must not reach the new one."""
        for acks in self._acks.values():
            acks.close()
        self._acks.clear()
        self._assigned = partitions
        for place in self._lot.retries_wanted(self.name):
            self._on_retry(place)

    async def stop(self) -> None:
        """Stop without finishing; what is under way is delivered again."""
        await tasks.end(*self._retries)
        await self._lanes.stop()

    async def _process(self, owner: str, work: Work) -> None:
        if self._lot.contains(ids.parked_id(self.name, *work.source)):
            return  # redelivered after it was parked
        blocker = None if self._alone else self._lot.blocker(self.name, owner)
        if blocker is not None:
            await self._park(owner, work, "waits behind parked work of its owner", behind=blocker)
            return
        reason, made = await self._attempt(work, self._attempts)
        if reason is not None:
            await self._park(owner, work, reason, attempts=made)

    async def _attempt(self, work: Work, attempts: int) -> tuple[str | None, int]:
        """Do ``work``; None when it is done, else why it cannot be; and the attempts that counted."""
        made, pause = 0, FIRST_PAUSE_S
        said = log.bind(stage=self.name, partition=work.partition, offset=work.offset)
        while True:
            try:
                async with self._slots:
                    await self._handle(work)
                return None, made + 1
            except Refused as error:
                return error.reason, made + 1
            except Away as error:
                said.warning("a stage waits", reason=error.reason)
            except ConnectionError as error:
                # whatever could not be reached (a schema registry, say), the work is not at fault
                said.warning("a stage waits", reason=type(error).__name__)
            except Failed as error:
                made += 1
                said.warning("an attempt failed", reason=error.reason)
                if made >= attempts:
                    return error.reason, made
            except Exception as error:
                # a fault nobody foresaw counts as an attempt like any other: it must neither end the worker nor lose the work
                made += 1
                kind = type(error).__name__
                said.error("an attempt raised", error=kind)
                if made >= attempts:
                    return f"the {self.name} stage raised {kind}", made
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, LAST_PAUSE_S)

    async def _park(self, owner: str, work: Work, reason: str, *, behind: str | None = None, attempts: int = 0) -> None:
        record = (work.key, work.value, work.headers)
        await self._lot.park(
            self.name,
            work.source,
            owner=None if self._alone else owner,
            reason=reason,
            record=record,
            behind=behind,
            attempts=attempts,
        )

    # -- retries that a person asks for

    def _on_retry(self, place: Place) -> None:
        # several workers hear the request; only the one that reads the partition answers it
        if (place.topic, place.partition) not in self._assigned:
            return
        key = place.owner or place.parked_id
        task = asyncio.create_task(self._lanes.submit(key, lambda: self._retry_from(place)))
        self._retries.add(task)
        task.add_done_callback(self._retries.discard)

    async def _retry_from(self, wanted: Place) -> None:
        """The owner's parked work from its oldest on, until one fails again; runs in the owner's lane, before anything newer."""
        places = self._lot.of_owner(self.name, wanted.owner) if wanted.owner else [wanted]
        for place in places:
            if not self._lot.contains(place.parked_id):
                continue
            parked = await self._lot.read(place)
            work = Work(place.topic, place.partition, place.offset, parked.key, parked.value, parked.headers)
            reason, _ = await self._attempt(work, 1)
            if reason is not None:
                await self._park(place.owner or "", work, reason, attempts=parked.attempts + 1)
                return
            await self._lot.resolve(place, "done")
            log.info("parked work healed", stage=self.name, parked_id=place.parked_id)


__all__ = ["Away", "Failed", "Refused", "Stage", "Work"]
