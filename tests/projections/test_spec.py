"""What every view must do, run against each registered one."""

from __future__ import annotations

import re

import psycopg
import pytest

from projections import generation, tables
from projections.folding import FoldingView, copy_in
from projections.view import Target, View
from projections.views import REGISTRY, build_views
from schemas.codec import decode
from schemas.types import EVENTS
from tests.projections.harness import AUDIT_KEY, EVERYBODY, Fold, of_view, owner
from tests.projections.logs import LogMaker
from tests.projections.other_events import OTHERS
from tests.projections.reference import fold_all
from tests.projections.test_splits import OWNERS, TOPICS, write

PLAN = [("add", 0, 3), ("reheat", 0, 1), ("embed", 0, 1), ("embed", 0, 2), ("park", 1, 1), ("retry", 1, 1), ("add", 1, 2),
        ("request", 0, 1), ("reheat", 0, 3), ("revise", 0, 2), ("revise by a turn", 0, 1), ("embed late", 0, 2), ("pin", 0, 1),
        ("revise", 0, 1), ("unpin", 0, 1), ("pin", 0, 2), ("link", 0, 2), ("unlink", 0, 2), ("downshift", 0, 1),
        ("forget", 0, 0), ("embed", 0, 3), ("note", 2, 5), ("again", 0, 0), ("park", 2, 4), ("rubbish", 0, 0), ("add", 2, 1),
        ("embed", 2, 1), ("erase", 2, 0), ("embed late", 2, 1), ("add", 2, 2), ("embed", 2, 1),
        ("embed message", 0, 2), ("embed message", 0, 3), ("say", 0, 3), ("learn", 0, 3), ("embed message", 0, 5), ("say", 0, 5),
        ("learn", 0, 1), ("say", 0, 1), ("learn", 1, 7), ("say", 1, 7), ("forget with source", 1, 2), ("say", 1, 7),
        ("learn", 0, 5), ("forget", 0, 2), ("say", 2, 4), ("say", 1, 8), ("embed message", 1, 8), ("learn", 1, 8),
        ("talk", 0, 2), ("teach", 0, 4), ("teach", 1, 1), ("talk", 1, 5), ("forget with source", 1, 2),
        ("talk", 2, 3)]  # fmt: skip


def spec_log() -> LogMaker:
    """A log with every type of event, each view's other records, duplicates and rubbish."""
    log = LogMaker(TOPICS)
    write(log, PLAN)
    for kind in OTHERS:
        log.other(OWNERS[1], kind)
    return log


class ViewSpec:
    """The spec; subclass it with ``name``."""

    name: str

    @pytest.fixture
    def view(self) -> View:
        from projections.view import ViewSettings

        return build_views(ViewSettings(TOPICS, AUDIT_KEY), [self.name])[self.name]

    @pytest.fixture
    def full(self) -> LogMaker:
        return spec_log()

    def test_its_names_are_plain_words(self, view: View) -> None:
        assert view.name == self.name
        names = [view.name, *(t.name for t in view.tables), *(c.name for t in view.tables for c in t.columns)]
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)
        service = {t.name for t in tables.SERVICE_TABLES} | {"checkpoint"}
        assert not service & {t.name for t in view.tables}
        assert len({s.topic for s in view.sources}) == len(view.sources)

    async def test_its_log_leaves_rows(self, database: str, view: View, full: LogMaker) -> None:
        async with Fold.of(database, view) as fold:
            await fold.take(of_view(view, full.records))
            assert sum(t.rows for t in (await fold.digest()).tables.values()) > 0

    async def test_the_same_log_written_twice_changes_nothing(self, database: str, view: View, full: LogMaker) -> None:
        """Every event slice again (a zombie), every plain record again in its order (a producer's retry)."""
        async with Fold.of(database, view) as fold:
            records = of_view(view, full.records)
            await fold.take(records)
            before = await fold.digest()
            full.again(records)
            await fold.restart()
            await fold.take(of_view(view, full.records)[len(records) :])
            assert (await fold.digest()).differing(before) == []

    async def test_a_runner_that_is_cut_off_at_any_place_goes_on_to_the_same_rows(
        self, database: str, view: View, full: LogMaker
    ) -> None:
        records = of_view(view, full.records)
        async with Fold.of(database, view) as whole, Fold.of(database, view) as cut:
            await whole.take(records)
            for at in range(len(records)):
                # what was read and not committed is read again
                await cut.take([r for r in records[: at + 1] if r.offset >= cut.applier.positions[r.topic, r.partition]])
                await cut.restart()
            assert await whole.digest() == await cut.digest()

    async def test_rows_follow_from_records_and_not_from_the_clock(self, database: str, view: View, full: LogMaker) -> None:
        records = of_view(view, full.records)
        digests = []
        for _ in range(2):
            async with Fold.of(database, view) as fold:
                await fold.take(records)
                digests.append(await fold.digest())
                defaults = await fold.rows(
                    "table_name, column_name FROM information_schema.columns WHERE table_schema = '{s}' "
                    "AND table_name <> 'checkpoint' AND column_default IS NOT NULL"
                )
                assert defaults == [], "a default would not come from the log"
        assert digests[0] == digests[1]

    async def test_its_rows_are_those_of_the_reference_fold(self, database: str, view: View, full: LogMaker) -> None:
        if not isinstance(view, FoldingView):
            pytest.skip("its fold is SQL")
        records = of_view(view, full.records)
        reference = fold_all(view, records)
        async with Fold.of(database, view) as live, Fold.of(database, view) as made:
            await live.take(records, range(1, len(records)))
            for table in view.tables:
                await copy_in(Target(made.conn, made.schema), table, reference.all(table))
                rows = await live.rows(f"count(*) FROM {{s}}.{table.name}")
                assert rows == await made.rows(f"count(*) FROM {{s}}.{table.name}")
            expected = (await made.digest()).tables
            found = (await live.digest()).tables
            counted = [table.name for table in view.tables if table.digested]
            assert {name: found[name] for name in counted} == {name: expected[name] for name in counted}

    async def test_no_records_leave_no_rows(self, database: str, view: View) -> None:
        async with Fold.of(database, view) as fold:
            await fold.take([])
            assert sum(t.rows for t in (await fold.digest()).tables.values()) == 0

    async def test_only_rubbish_leaves_problems_and_no_rows(self, database: str, view: View) -> None:
        log = LogMaker(TOPICS)
        for source in view.sources:
            for value in (b"", b"x", b"\xc3\x01" + bytes(60)):
                log.put(source.topic, 0, b"k", value)
        async with Fold.of(database, view) as fold:
            await fold.take(log.records)
            assert sum(t.rows for t in (await fold.digest()).tables.values()) == 0
            assert await fold.rows("count(*) FROM {s}.view_problem") == [(len(log.records),)]
            assert sum(fold.applier.positions.values()) == len(log.records)

    async def test_its_public_names_answer_and_installing_again_keeps_its_rows(
        self, fresh_database: str, view: View, full: LogMaker
    ) -> None:
        from projections.applier import Applier

        await generation.install(fresh_database, [view])
        async with await generation.connect(fresh_database) as conn:
            live = await generation.live(conn, view.name)
            applier = Applier(view, live.schema, conn, owners=EVERYBODY)
            await applier.claim()
            await applier.apply(of_view(view, full.records))
            await generation.install(fresh_database, [view])
            assert (await generation.live(conn, view.name)) == live
            for public, (table, columns) in tables.published(view).items():
                names = ", ".join(f'"{c}"' for c in columns)
                shown = await (await conn.execute(f"SELECT {names} FROM public.{public}")).fetchall()
                held = await (await conn.execute(f"SELECT {names} FROM {live.schema}.{table}")).fetchall()
                assert shown == held

    async def test_a_role_that_reads_the_public_names_needs_no_right_on_the_tables(self, fresh_database: str, view: View) -> None:
        await generation.install(fresh_database, [view])
        role = f"reader_{owner()[:8]}"
        async with await psycopg.AsyncConnection.connect(fresh_database, autocommit=True) as conn:
            await conn.execute(f"CREATE ROLE {role}")
            try:
                guarded = [f"public.{table.name}" for table in view.tables if table.guard is not None]
                public = [name for name in (f"public.{name}" for name in tables.published(view)) if name not in guarded]
                await conn.execute(f"GRANT SELECT ON {', '.join(public)} TO {role}")
                await conn.execute(f"SET ROLE {role}")
                for name in public:
                    await conn.execute(f"SELECT count(*) FROM {name}")
                await conn.execute("RESET ROLE")
                if guarded:
                    # these show to each reader other rows, so a reader's rights reach down to the tables
                    await conn.execute(f"GRANT SELECT ON {', '.join(guarded)} TO {role}")
                    for name in guarded:
                        await conn.execute(f"SET ROLE {role}")
                        with pytest.raises(psycopg.errors.InsufficientPrivilege):
                            await conn.execute(f"SELECT count(*) FROM {name}")
                        await conn.execute("RESET ROLE")
            finally:
                await conn.execute(f"DROP OWNED BY {role}")
                await conn.execute(f"DROP ROLE {role}")


class TestThermal(ViewSpec):
    name = "thermal"


class TestGraph(ViewSpec):
    name = "graph"


class TestAudit(ViewSpec):
    name = "audit"


class TestParked(ViewSpec):
    name = "parked"


class TestCurrent(ViewSpec):
    name = "current"


class TestBrain(ViewSpec):
    name = "brain"

    @pytest.fixture
    def full(self) -> LogMaker:
        log, company, user = spec_log(), f"{owner()[:-1]}0", f"{owner()[:-1]}1"
        log.access(company, user)
        log.access(company, user, ended=True)
        log.access(company, user, access_id="a-2")
        log.access(company, OWNERS[2], access_id="erased")
        return log


class TestCapture(ViewSpec):
    name = "capture"


class TestMem0(ViewSpec):
    name = "mem0"


def test_the_log_of_the_spec_holds_every_type_of_event() -> None:
    values = [r.value for r in spec_log().records if r.topic == TOPICS.events and r.value is not None and r.value != b"rubbish"]
    assert {type(decode(value)) for value in values} == set(EVENTS)


def test_every_registered_view_has_its_spec() -> None:
    assert {c.name for c in ViewSpec.__subclasses__() if c.__module__ == __name__} == set(REGISTRY)


def test_an_unknown_view_is_named_with_those_that_exist() -> None:
    from projections.view import ViewSettings

    with pytest.raises(KeyError, match="thermal"):
        build_views(ViewSettings(TOPICS, AUDIT_KEY), ["termal"])
