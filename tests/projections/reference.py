"""The reference fold: a view's rows made in memory from a whole log, record by record, with the readers' rule and no database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from projections.folding import FoldingView
from projections.intake import Reader, foreign_owner
from projections.owners import NamesOwners
from projections.rows import Rows
from schemas.errors import ContractError
from schemas.slices import Verdict, verdict
from tests.projections.harness import EVERYBODY
from tests.projections.logs import Rec


def fold_all(view: FoldingView, records: Iterable[Rec]) -> Rows:
    """The rows after ``records``, which are those of the view's topics."""
    reader, rows = Reader(view.sources), Rows(view.tables, complete=True)
    last: dict[str, int] = defaultdict(int)
    gone: set[str] = set()
    for record in records:
        for candidate in reader.take([record]).candidates:
            if foreign_owner(candidate) is not None:
                continue
            piece = candidate.slice
            if piece is not None:
                judged = verdict(piece.first, last[piece.owner])
                if judged is Verdict.GAP:
                    gone.add(piece.owner)
                if judged is not Verdict.ACCEPT or piece.owner in gone:
                    continue
                last[piece.owner] = piece.events[-1].meta.sequence
            for placed in candidate.events:
                try:
                    view.check(placed)
                except ContractError:
                    continue
                if isinstance(view, NamesOwners):
                    placed = replace(placed, owners=EVERYBODY.named(view.owners_in(placed)))
                view.fold(rows, placed)
    return rows
