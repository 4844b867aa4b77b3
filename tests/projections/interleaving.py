"""A log whose topics are read in another order than they were written; each partition keeps its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from projections.folding import FoldingView
from tests.projections.logs import Rec
from tests.projections.reference import fold_all


def interleaved(records: Sequence[Rec], choices: Sequence[int]) -> list[Rec]:
    """``records`` with their partitions merged anew: each choice says from which the next record comes."""
    waiting: dict[tuple[str, int], list[Rec]] = defaultdict(list)
    for record in reversed(records):
        waiting[record.topic, record.partition].append(record)
    found: list[Rec] = []
    while waiting:
        place = sorted(waiting)[choices[len(found) % len(choices)] % len(waiting)]
        found.append(waiting[place].pop())
        if not waiting[place]:
            del waiting[place]
    return found


def rows_of(view: FoldingView, records: Sequence[Rec]) -> dict[str, list[Any]]:
    """Rows of all tables after ``records``, by the reference fold."""
    rows = fold_all(view, records)
    return {table.name: sorted(rows.all(table), key=repr) for table in view.tables}
