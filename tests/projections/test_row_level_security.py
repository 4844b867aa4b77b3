"""No role reads another's rows of the brain tables, whatever it tries."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg import AsyncConnection, sql

from ops.local.postgres import dsn_with, ensure_database
from ops.local.services import ServiceAddresses
from projections import generation, tables
from projections.applier import Applier
from projections.generation import Generation
from projections.view import View, ViewSettings
from projections.views import build_views
from projections.views.brain_readers import MAPPED, NAMES_ITS_USER
from schemas.owner import Owner
from schemas.topics import Topics
from tests.projections.harness import Known, of_view, owner
from tests.projections.logs import LogMaker
from tests.projections.readers import MARKS, Connection, everywhere, owners_in, role, seen_by

TOPICS = Topics(partitions=2, prefix="guarded.")
VIEWS = build_views(ViewSettings(TOPICS), ["brain", "thermal"])
ANA, BEN, ACME, OTHER_ANA = [owner() for _ in range(4)]
NAMED = Known(
    {
        ANA: Owner("default", "user", "u-ana"),
        BEN: Owner("default", "user", "u-ben"),
        ACME: Owner("default", "company", "acme"),
        OTHER_ANA: Owner("other", "user", "u-ana"),
    }
)
MEMORIES = "SELECT slug, content, extra_metadata FROM user_brain"
COMPANIES = "SELECT slug, content, extra_metadata FROM company_brain"
BOTH = f"{MEMORIES} UNION ALL {COMPANIES}"


class Guarded:
    """A database with brain and thermal, and a log that both follow."""

    def __init__(self, dsn: str) -> None:
        self.dsn, self.log, self._taken = dsn, LogMaker(TOPICS), 0
        for who, (name, mark) in zip((ANA, BEN, ACME, OTHER_ANA), MARKS.items(), strict=True):
            self.log.request(who, f"{mark} 1, of {name}", user_id=mark, slug=f"{mark} slug", category=mark, tags=mark)
            self.log.add(who, *[f"{mark} {i}" for i in range(2, 5)], user_id=mark)

    async def take(self) -> None:
        """Fold what is new on the log."""
        fresh, self._taken = self.log.records[self._taken :], len(self.log.records)
        for view in VIEWS.values():
            async with await generation.connect(self.dsn) as conn:
                await self.fold(conn, view, (await generation.live(conn, view.name)).schema, len(self.log.records) - len(fresh))

    async def fold(self, conn: Connection, view: View, schema: str, begin: int = 0) -> None:
        applier = Applier(view, schema, conn, owners=NAMED)
        await applier.claim()
        await applier.apply(of_view(view, self.log.records[begin : self._taken]))

    async def promote(self) -> Generation:
        """Make the brain anew beside the live one, and switch."""
        view = VIEWS["brain"]
        async with await generation.connect(self.dsn) as conn:
            async with conn.transaction():
                new = await generation.create(conn, view)
            await self.fold(conn, view, new.schema)
            for statement in tables.create_indexes(view, new.schema):
                await conn.execute(statement.encode())
            async with conn.transaction():
                await generation.lock_published(conn, view)
                await generation.switch(conn, view, new)
        return new

    @contextlib.asynccontextmanager
    async def reader(self, *groups: str, mapped: str | None = None) -> AsyncIterator[Connection]:
        """A session of a role of its own; ``mapped`` is the reference of the owner whom it reads as."""
        async with role(self.dsn, *groups) as (name, dsn), await AsyncConnection.connect(self.dsn, autocommit=True) as admin:
            if mapped is not None:
                await admin.execute("INSERT INTO brain_reader VALUES (%s, %s)", (name, UUID(mapped)))
            # DISCARD ALL takes psycopg's own prepared statements, too
            async with await AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=None) as conn:
                yield conn
            await admin.execute("DELETE FROM brain_reader WHERE role = %s", (name,))


@pytest.fixture(scope="module")
def module_database(services: ServiceAddresses) -> Iterator[str]:
    name = f"emb_test_{secrets.token_hex(6)}"
    ensure_database(services.postgres_dsn, name)
    yield dsn_with(services.postgres_dsn, name)
    with psycopg.connect(services.postgres_dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="module")
async def guarded(module_database: str) -> Guarded:
    await generation.install(module_database, list(VIEWS.values()))
    made = Guarded(module_database)
    await made.take()
    await made.promote()
    async with await AsyncConnection.connect(module_database, autocommit=True) as conn:
        await conn.execute("ANALYZE")
    return made


@pytest.fixture
async def ben(guarded: Guarded) -> AsyncIterator[Connection]:
    """A session that reads as Ben."""
    async with guarded.reader(MAPPED, mapped=BEN) as conn:
        yield conn


@pytest.fixture
async def application(guarded: Guarded) -> AsyncIterator[Connection]:
    """A session that says whom it reads as."""
    async with guarded.reader(NAMES_ITS_USER) as conn:
        yield conn


async def test_the_owner_of_the_tables_finds_everybody_in_them_and_in_the_statistics(guarded: Guarded) -> None:
    async with await AsyncConnection.connect(guarded.dsn, autocommit=True) as conn:
        found = await everywhere(conn)
    users, every = {"ana", "ben", "other ana"}, set(MARKS)
    assert found["public.user_brain"] == found["brain_g1.user_brain"] == found["brain_g2.user_brain"] == users
    assert found["public.company_brain"] == found["brain_g2.company_brain"] == {"acme"}
    assert found["public.thermal_memory_archive"] == found["pg_catalog.pg_stats"] == every


async def test_a_reader_finds_itself_alone_in_every_table_and_view_of_the_database(ben: Connection) -> None:
    found = await everywhere(ben)
    assert found == {name: {"ben"} for name in ("public.user_brain", "brain_g1.user_brain", "brain_g2.user_brain")}
    assert await (await ben.execute("SELECT count(*) FROM user_brain")).fetchone() == (4,)


async def test_a_role_without_a_name_for_its_user_finds_nobody(guarded: Guarded, application: Connection) -> None:
    assert await everywhere(application, catalogs=False) == {}
    async with guarded.reader(MAPPED) as nobody, guarded.reader() as stranger:
        await nobody.execute("SET emberlog.user_id = 'u-ben'")
        assert await everywhere(nobody, catalogs=False) == {}, "it was not mapped, and its own word does not count"
        await stranger.execute("SET emberlog.user_id = 'u-ben'")
        assert await everywhere(stranger, catalogs=False) == {}


TRICKS = (
    f"PREPARE a AS {BOTH}; EXECUTE a",
    f"BEGIN; DECLARE c CURSOR FOR {BOTH}; FETCH ALL FROM c",
    f"CREATE TEMP TABLE kept AS {BOTH}; TABLE kept",
    "WITH all_of AS MATERIALIZED (SELECT u FROM user_brain u) SELECT u::text FROM all_of",
    "SELECT * FROM user_brain TABLESAMPLE SYSTEM (100)",
    "SELECT * FROM user_brain WHERE ctid IS NOT NULL",
    "SELECT query_to_xml('SELECT * FROM brain_g2.user_brain', true, false, '')::text",
    "SELECT table_to_xml('brain_g2.company_brain', true, false, '')::text",
    "SELECT ts_stat('SELECT tsv FROM brain_g2.user_brain')::text",
    "SELECT * FROM brain_reader",
    "SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats",
    "SELECT stavalues1::text FROM pg_statistic",
    # what a condition says of a row that it should not see
    "SELECT content::int FROM user_brain",
    "SELECT 1 FROM user_brain WHERE content::int = 1",
    "SELECT 1 FROM company_brain WHERE (extra_metadata ->> 'category')::int = 1",
    "SELECT 1 FROM user_brain WHERE {schema}.tells(content)",
    "SELECT 1 FROM brain_g2.user_brain WHERE {schema}.tells(content)",
    "SELECT 1 FROM company_brain WHERE {schema}.tells(content) AND slug >= ''",
    "SELECT 1 FROM brain_access WHERE {schema}.tells(company_id)",
    # functions
    "SELECT {schema}.by_invoker()",
    "SELECT {schema}.by_definer()",
    "SELECT * FROM {schema}.of_all",
    # other identities
    "SET emberlog.user_id = 'u-ana'; " + BOTH,
    "SET emberlog.tenant = 'other'; SET emberlog.user_id = 'u-ana'; " + BOTH,
    "SET row_security = off; " + BOTH,
    f"SET ROLE {MAPPED}; " + BOTH,
    f"SET ROLE {MAPPED}; SET emberlog.user_id = 'u-ana'; " + BOTH,
    f"SET ROLE {NAMES_ITS_USER}; SET emberlog.user_id = 'u-ana'; " + BOTH,
    "SET ROLE {admin}; " + BOTH,
    "SET SESSION AUTHORIZATION {admin}; " + BOTH,
    "CREATE TEMP TABLE brain_reader (role text, owner uuid); INSERT INTO pg_temp.brain_reader VALUES (session_user, '{ana}'); "
    "SET search_path = pg_temp, public; " + BOTH,
    "CREATE TEMP VIEW brain_access AS SELECT '{acme}'::uuid AS owner, NULL::timestamptz AS ended_at, now() AS began_at; "
    "SET search_path = pg_temp, public; " + BOTH,
    # changing what decides
    "INSERT INTO brain_reader VALUES (session_user, '{ana}')",
    "UPDATE brain_reader SET owner = '{ana}'",
    "CREATE OR REPLACE FUNCTION public.emberlog_brain_identity() RETURNS TABLE (owner uuid, tenant text, user_id text) "
    "LANGUAGE sql AS $$ SELECT '{ana}'::uuid, '', '' $$; " + BOTH,
    "ALTER TABLE brain_g2.user_brain DISABLE ROW LEVEL SECURITY; " + BOTH,
    "CREATE POLICY mine ON brain_g2.user_brain USING (true); " + BOTH,
    "ALTER VIEW user_brain SET (security_invoker = false); " + BOTH,
    # writing with an answer
    "UPDATE user_brain SET content = content RETURNING *",
    "DELETE FROM brain_g2.user_brain RETURNING *",
    "INSERT INTO brain_g2.brain_access SELECT '{acme}', 'x', 'acme', '{ben}', 'default', 'u-ben', 'session', now(), NULL",
    "LOCK TABLE brain_g2.user_brain",
)  # fmt: skip
MADE = """
CREATE FUNCTION {schema}.tells(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    $$ BEGIN RAISE NOTICE 'it says %', $1; RETURN true; END $$;
CREATE FUNCTION {schema}.by_invoker() RETURNS SETOF text LANGUAGE sql AS $$ SELECT u::text FROM public.user_brain u $$;
CREATE FUNCTION {schema}.by_definer() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS
    $$ SELECT u::text FROM brain_g2.user_brain u UNION ALL SELECT c::text FROM brain_g2.company_brain c $$;
CREATE VIEW {schema}.of_all AS SELECT u::text FROM public.user_brain u UNION ALL SELECT c::text FROM public.company_brain c;
"""


async def test_no_trick_shows_a_reader_anybody_else(guarded: Guarded, ben: Connection) -> None:
    names = {"schema": ben.info.user, "admin": psycopg.conninfo.conninfo_to_dict(guarded.dsn)["user"]}
    references = {"ana": ANA, "ben": BEN, "acme": ACME}
    await ben.execute(MADE.format(**names).encode())
    told: dict[str, set[str]] = {}
    for trick in TRICKS:
        for query in trick.format(**names, **references).split("; "):
            told[trick] = told.get(trick, set()) | await seen_by(ben, query)
        await ben.execute("ROLLBACK")
        await ben.execute("DISCARD ALL")
    assert {trick: seen - {"ben"} for trick, seen in told.items() if seen - {"ben"}} == {}
    assert told[TRICKS[0]] == told["SELECT {schema}.by_definer()"] == {"ben"}, "its own it does see"
    assert sum("tells(content)" in trick for trick, seen in told.items() if seen == {"ben"}) == 2, "the condition was tried"


async def test_functions_and_roles_of_two_readers_do_not_mix_them_up(guarded: Guarded, ben: Connection) -> None:
    """Who logged in counts, neither whose function it is nor which role was taken on."""
    async with guarded.reader(MAPPED, mapped=ANA) as ana, await AsyncConnection.connect(guarded.dsn, autocommit=True) as admin:
        mine, its = sql.Identifier(ben.info.user), sql.Identifier(ana.info.user)
        await ana.execute(
            sql.SQL(
                "CREATE FUNCTION {0}.hers() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS "
                "'SELECT u::text FROM public.user_brain u'; GRANT USAGE ON SCHEMA {0} TO {1}"
            ).format(its, mine)
        )
        assert owners_in(await (await ana.execute(sql.SQL("SELECT {}.hers()").format(its))).fetchall()) == {"ana"}
        assert owners_in(await (await ben.execute(sql.SQL("SELECT {}.hers()").format(its))).fetchall()) == {"ben"}
        await admin.execute(sql.SQL("GRANT {} TO {}").format(its, mine))
        await ben.execute(sql.SQL("SET ROLE {}").format(its))
        assert await seen_by(ben, BOTH) == {"ben"}


async def test_an_application_reads_as_the_user_whom_it_names_and_as_none_afterwards(application: Connection) -> None:
    await application.execute(f"PREPARE mine AS {BOTH}")
    for _ in range(7):  # beyond the number from which on one plan may serve all
        for user, seen in (("u-ana", {"ana"}), ("u-ben", {"ben"}), ("acme", set()), ("u-nobody", set()), ("", set())):
            await application.execute("SELECT set_config('emberlog.user_id', %s, false)", (user,))
            assert await seen_by(application, "EXECUTE mine") == seen
    async with application.transaction():
        await application.execute("SET LOCAL emberlog.tenant = 'other'; SET LOCAL emberlog.user_id = 'u-ana'")
        assert await seen_by(application, "EXECUTE mine") == {"other ana"}
    assert await seen_by(application, "EXECUTE mine") == set()


async def test_a_mapped_application_role_no_longer_chooses(guarded: Guarded) -> None:
    async with guarded.reader(NAMES_ITS_USER, mapped=BEN) as conn:
        await conn.execute("SET emberlog.user_id = 'u-ana'")
        assert await seen_by(conn, BOTH) == {"ben"}


async def test_a_companys_rows_come_with_an_access_and_go_with_its_end_through_a_promotion(fresh_database: str) -> None:
    await generation.install(fresh_database, list(VIEWS.values()))
    here = Guarded(fresh_database)
    log = here.log
    await here.take()
    async with here.reader(MAPPED, mapped=BEN) as ben, here.reader(NAMES_ITS_USER) as application:
        await application.execute("SET emberlog.user_id = 'u-ana'")
        await ben.execute(f"PREPARE every AS {BOTH}")
        assert await seen_by(ben, "EXECUTE every") == {"ben"}
        log.access(ACME, BEN)
        log.access(ACME, ANA, access_id="later", at=datetime.now(UTC) + timedelta(days=1))
        await here.take()
        assert await seen_by(ben, "EXECUTE every") == {"ben", "acme"}
        assert await (await ben.execute("SELECT company_id, user_id FROM brain_access")).fetchall() == [("acme", "u-ben")]
        assert await seen_by(application, BOTH) == {"ana"}, "it has not begun yet"
        await here.promote()
        assert await seen_by(ben, "EXECUTE every") == {"ben", "acme"}
        assert await seen_by(application, BOTH) == {"ana"}
        log.access(ACME, BEN, ended=True, at=datetime.now(UTC) + timedelta(days=1))
        await here.take()
        assert await seen_by(ben, "EXECUTE every") == {"ben"}, "an end holds at once, whatever time it names"
        await here.promote()
        await generation.install(fresh_database, list(VIEWS.values()))
        assert await seen_by(ben, BOTH) == {"ben"}
        log.erase(BEN)
        await here.take()
        assert await seen_by(ben, BOTH) == set()


async def test_readers_that_were_made_after_the_tables_are_let_in_by_the_next_set_up(fresh_database: str) -> None:
    await generation.install(fresh_database, list(VIEWS.values()))
    here = Guarded(fresh_database)
    await here.take()
    async with await AsyncConnection.connect(fresh_database, autocommit=True) as admin:
        for table in (t.name for t in VIEWS["brain"].tables if t.guard is not None):
            await admin.execute(f"REVOKE ALL ON public.{table}, brain_g1.{table} FROM {MAPPED}".encode())
        await admin.execute(f"REVOKE ALL ON SCHEMA brain_g1 FROM {MAPPED}".encode())
    async with here.reader(MAPPED, mapped=BEN) as ben:
        assert await seen_by(ben, BOTH) == set()
        await generation.install(fresh_database, list(VIEWS.values()))
        assert await seen_by(ben, BOTH) == {"ben"}


async def test_a_role_that_is_no_superuser_can_project(fresh_database: str) -> None:
    """As on an operator's own server. Were the policies forced on it, PostgreSQL would refuse its COPY."""
    view, log = VIEWS["brain"], LogMaker(TOPICS)
    log.add(ANA, *[f"fact {i}" for i in range(200)])
    async with await AsyncConnection.connect(fresh_database, autocommit=True) as admin, role(fresh_database) as (name, dsn):
        database = admin.info.dbname
        await admin.execute(
            sql.SQL("GRANT CREATE ON DATABASE {} TO {}; GRANT CREATE ON SCHEMA public TO {}").format(
                sql.Identifier(database), sql.Identifier(name), sql.Identifier(name)
            )
        )
        await generation.install(dsn, [view])
        async with await generation.connect(dsn) as conn:
            applier = Applier(view, (await generation.live(conn, "brain")).schema, conn, owners=NAMED)
            await applier.claim()
            assert await applier.apply(of_view(view, log.records)) == 200
            assert await (await conn.execute("SELECT count(*) FROM user_brain")).fetchone() == (200,)
