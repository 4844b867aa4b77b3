"""Who does the work of a fill: this process, or several that share partitions first and buckets then."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.synchronize import Event
from typing import Protocol

from projections.bulk.folding import Folder
from projections.bulk.loading import Loader
from projections.bulk.plan import Done, KeyStore, OpenKeys, Work
from projections.bulk.reading import read_all

PIECES = 3
"""So many pieces of work for each process: the last ones to end wait for little."""
_stopped: Event | None = None
"""In a process of a crew: set when there is no more to be done."""

Show = Callable[[int, int], None]
"""Called with what is done and how much there is."""


class Crew(Protocol):
    """Does both stages."""

    async def read(self, show: Show) -> Done:
        """The first stage."""
        ...

    async def fold(self, buckets: Sequence[int], show: Show) -> Done:
        """The second, of these buckets."""
        ...


@contextlib.contextmanager
def crew_of(work: Work, store: KeyStore, workers: int, open_keys: OpenKeys | None) -> Iterator[Crew]:
    """So many ``workers``. ``store`` is for this process, ``open_keys`` opens that of others."""
    if workers <= 1:
        yield _Alone(work, store)
        return
    # spawned: a fork would share this process' connections and threads
    context = multiprocessing.get_context("spawn")
    stopped = context.Event()
    with ProcessPoolExecutor(workers, context, _begin, (stopped,)) as pool:
        try:
            yield _Several(work, pool, workers, open_keys)
        finally:
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)


class _Alone:
    def __init__(self, work: Work, store: KeyStore) -> None:
        self._work, self._store = work, store

    async def read(self, show: Show) -> Done:
        total = sum(self._work.until.values())
        return await _read(self._work, 0, self._work.partitions, lambda done: show(done, total))

    async def fold(self, buckets: Sequence[int], show: Show) -> Done:
        return await _fold(self._work, buckets, self._store, lambda done: show(done, len(buckets)))


class _Several:
    def __init__(self, work: Work, pool: ProcessPoolExecutor, workers: int, open_keys: OpenKeys | None) -> None:
        self._work, self._pool, self._workers, self._open_keys = work, pool, workers, open_keys

    async def read(self, show: Show) -> Done:
        parts = [frozenset(sorted(self._work.partitions)[n :: self._workers]) for n in range(self._workers)]
        return await _gathered(
            [self._pool.submit(_read_apart, self._work, n, part) for n, part in enumerate(parts) if part], show
        )

    async def fold(self, buckets: Sequence[int], show: Show) -> Done:
        pieces = min(len(buckets), PIECES * self._workers)
        parts = [buckets[n::pieces] for n in range(pieces)]
        return await _gathered([self._pool.submit(_fold_apart, self._work, some, self._open_keys) for some in parts], show)


async def _gathered(pieces: Sequence[Future[Done]], show: Show) -> Done:
    """All of them together. Where one fails, those not begun are not."""
    whole, count = Done(), 0
    try:
        for one in asyncio.as_completed([asyncio.wrap_future(piece) for piece in pieces]):
            whole = whole + await one
            count += 1
            show(count, len(pieces))
    except BaseException:
        for piece in pieces:
            piece.cancel()
        raise
    return whole


async def _read(work: Work, number: int, partitions: frozenset[int], show: Callable[[int], None]) -> Done:
    def shown(done: int) -> None:
        _must_go_on()
        show(done)

    with Loader.of(work) as loader:
        return await read_all(work, number, partitions, loader, shown)


async def _fold(work: Work, buckets: Iterable[int], store: KeyStore, show: Callable[[int], None]) -> Done:
    with Loader.of(work) as loader:
        folder = Folder(work, store, loader)
        for number, bucket in enumerate(buckets):
            await asyncio.sleep(0)  # a stop is noticed here
            _must_go_on()
            await folder.fold(bucket)
            show(number + 1)
        loader.flush()
        return Done({}, dict(loader.failed), folder.records)


# -- in a process of a crew


def _begin(stopped: Event) -> None:
    """Leave it to the first process when all stop, and do not outlive it."""
    global _stopped
    _stopped = stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_first, daemon=True).start()


def _end_with_the_first() -> None:
    first = multiprocessing.parent_process()
    assert first is not None
    first.join()
    os._exit(1)


def _must_go_on() -> None:
    if _stopped is not None and _stopped.is_set():
        raise asyncio.CancelledError


def _read_apart(work: Work, number: int, partitions: frozenset[int]) -> Done:
    return asyncio.run(_read(work, number, partitions, lambda _: None))


def _fold_apart(work: Work, buckets: Sequence[int], open_keys: OpenKeys | None) -> Done:
    async def run() -> Done:
        async with contextlib.AsyncExitStack() as stack:
            store = KeyStore() if open_keys is None else await stack.enter_async_context(open_keys())
            return await _fold(work, buckets, store, lambda _: None)

    return asyncio.run(run())
