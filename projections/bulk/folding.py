"""Second stage: bucket by bucket, the rows of all views. A bucket's values are opened together, so their keys are fetched at
once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from projections.bulk.loading import Loader
from projections.bulk.plan import KeyStore, Work, sources_of
from projections.bulk.spill import read_bucket
from projections.owners import NamesOwners
from projections.records import Placed, Problem
from projections.rows import Row, Rows
from projections.tables import VIEW_PROBLEM
from projections.view import Table
from schemas.errors import ContractError, SealedValue
from schemas.owner import Owner
from schemas.sealing import NO_KEYS, opening

AT_ONCE = 12_000
"""Records whose values are opened together."""


class Folder:
    """Folds buckets into rows, and hands these to ``loader``. ``records`` counts what was folded, by the place of the build."""

    def __init__(self, work: Work, store: KeyStore, loader: Loader) -> None:
        self.records: dict[int, int] = {}
        self._work, self._store, self._loader = work, store, loader
        self._views = [view for view, _ in work.folding()]
        sources = sources_of(work.builds)
        self._readers = {
            topic: [(place, self._views[place], source.passes) for place, source in sources.get(topic, ())]
            for topic in work.topics
        }
        self._rows: dict[int, Rows] = {}
        self._problems: dict[int, list[Problem]] = {}

    async def fold(self, bucket: int) -> None:
        """Fold one bucket. Raises KeysUnavailable, and psycopg's errors."""
        self._rows = {place: Rows(view.tables, complete=True) for place, view in enumerate(self._views)}
        self._problems = {place: [] for place in self._rows}
        for batch in _batches(read_bucket(self._work.folder, bucket, self._work.topics)):
            owners = await self._owners(batch)
            for placed in await self._opened(batch, owners):
                self._fold(placed)
        with self._loader.bucket(bucket):
            for place, view in enumerate(self._views):
                for table in view.tables:
                    self._loader.load(place, table, _ordered(table, self._rows[place].all(table)))
                reasons = {(p.topic, p.partition, p.offset): p.reason for p in self._problems[place]}
                self._loader.load_tuples(place, VIEW_PROBLEM, [(*at, reason) for at, reason in reasons.items()])
        self._rows = {}

    async def _owners(self, batch: Sequence[Placed]) -> Mapping[str, Owner]:
        """Those whom the views want to know."""
        naming = [view for view in self._views if isinstance(view, NamesOwners)]
        wanted = {owner for placed in batch for view in naming for owner in view.owners_in(placed)}
        return await self._store.owners.owners_of(wanted) if wanted else {}

    async def _opened(self, batch: Sequence[Placed], owners: Mapping[str, Owner]) -> Iterable[Placed]:
        keys = self._store.keys
        open_one = await opening(keys, [placed.record for placed in batch if placed.record is not None])
        opened = []
        for placed in batch:
            record = placed.record
            if record is not None and keys is not NO_KEYS:
                try:
                    record = open_one(record)
                except SealedValue as error:
                    # it stays closed: a view that needs the value refuses it, and a plain record may be listed without
                    self._note_closed(placed, error)
            opened.append(Placed(placed.topic, placed.partition, placed.offset, placed.key, record, owners))
        return opened

    def _note_closed(self, placed: Placed, error: SealedValue) -> None:
        # of an event only the view that refuses it says so
        for place, _, passes in self._readers[placed.topic] if not hasattr(placed.record, "meta") else ():
            if not isinstance(placed.record, passes):
                self._problems[place].append(_problem(placed, error))

    def _fold(self, placed: Placed) -> None:
        for place, view, passes in self._readers[placed.topic]:
            if isinstance(placed.record, passes):
                continue
            try:
                view.check(placed)
            except ContractError as error:
                self._problems[place].append(_problem(placed, error))
                continue
            view.fold_apart(self._rows[place], placed)
            self.records[place] = self.records.get(place, 0) + 1


def _ordered(table: Table, rows: Iterable[Row]) -> list[Row]:
    """Rows in the order that the table is to have: those of an owner together. Buckets hold whole owners."""
    if not table.clustered:
        return list(rows)
    column = table.indexes[0].strip("(").split(",")[0].strip(') "')
    return sorted(rows, key=lambda row: getattr(row, column).bytes) if column in table.names else list(rows)


def _problem(placed: Placed, error: ContractError) -> Problem:
    return Problem(placed.topic, placed.partition, placed.offset, f"{type(error).__name__}: {error}")


def _batches(records: Iterator[Placed]) -> Iterator[list[Placed]]:
    while batch := list(islice(records, AT_ONCE)):
        yield batch
