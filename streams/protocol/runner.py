"""One partition of the decider on real parts: commands in, record batches out, the log read back, state materialised.

Start, in the protocol's order: the committed offset was read by the consumer that brings us commands; then parking and the
materialised state with its position; then the log is folded up to its high watermark; then commands. Any failure begins there
again: appends under way may still land, and may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import structlog

from streams import kafka, tasks
from streams.acks import OrderedAcks
from streams.parking.lot import Place
from streams.protocol.commands import RawCommand
from streams.protocol.session import DeciderParts, Session

log = structlog.get_logger(__name__)

MAX_UNDER_WAY = 5_000
"""Commands taken and not finished, per partition: the bound on memory and on what a crash repeats."""

OUTAGES: tuple[type[BaseException], ...] = (*kafka.OUTAGE_ERRORS, psycopg.OperationalError)


class PartitionRunner:
    """``start``, then ``take`` commands in offset order; ``stop`` when the partition is revoked."""

    def __init__(self, parts: DeciderParts, partition: int) -> None:
        self._parts, self._partition = parts, partition
        self._acks = OrderedAcks()
        self._raw: dict[int, RawCommand] = {}
        self._room = asyncio.Semaphore(MAX_UNDER_WAY)
        self._kick = asyncio.Event()
        self._running = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._stopped = False

    async def start(self) -> None:
        """Begin; returns once the partition is folded up to its high watermark."""
        self._supervisor = asyncio.create_task(self._supervise(), name=f"decide-{self._partition}")
        await self._running.wait()

    async def stop(self) -> None:
        """Stop without finishing: what is not confirmed will be delivered again."""
        self._stopped = True
        self._acks.close()
        if self._supervisor is not None:
            await tasks.end(self._supervisor)
        self._room.release()  # whoever waits for room finds the runner stopped, and lets the next one know

    async def take(self, raw: RawCommand, ack: Callable[[], object]) -> None:
        """Take the next command; waits while too many are under way. ``ack`` is called once it may be committed."""
        await self._room.acquire()
        if self._stopped or not self._acks.add(raw.offset, ack):
            self._room.release()
            return
        self._raw[raw.offset] = raw
        if self._session is not None:
            self._session.inbox.append(raw)
        self._kick.set()

    def retry(self, owner: str) -> None:
        """Try the owner's parked commands again."""
        if self._session is not None:
            self._session.retries.append(owner)
        self._kick.set()

    def left(self, place: Place) -> None:
        """A parked command left the lot."""
        if self._session is not None and place.owner is not None:
            self._session.machine.unparked(place.owner, place.offset)
            self._kick.set()

    def _finished(self, offset: int) -> None:
        if self._raw.pop(offset, None) is not None:
            self._room.release()
        self._acks.done(offset)

    async def _supervise(self) -> None:
        pause = 0.2
        while not self._stopped:
            session = Session(self._parts, self._partition, self._kick, self._raw, self._finished)
            try:
                async with session:
                    session.inbox.extend(self._raw.values())
                    self._session = session
                    self._running.set()
                    pause = 0.2
                    await session.run()
            except OUTAGES as error:
                log.warning("a partition of the decider begins again", partition=self._partition, error=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
            except asyncio.CancelledError:
                if kafka.is_cancelled():
                    raise
                log.warning("a partition of the decider begins again", partition=self._partition, error="CancelledError")
                await asyncio.sleep(pause)
            except BaseException as error:
                self._parts.on_fatal(error)
                return
            finally:
                self._session = None
