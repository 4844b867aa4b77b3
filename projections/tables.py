"""All SQL tables that are the runner's own: the list of generations, and the service tables inside each generation.

A generation of view ``thermal`` is schema ``thermal_g<N>``. It holds the view's tables and:
- ``checkpoint``      next offset by topic and partition, who may move it, when it was claimed or moved last, whether the
                      generation has been retired
- ``owner_position``  last accepted sequence and its cause by owner (the acceptance rule's memory)
- ``owner_alarm``     owners whose log has a gap: parked, loudly
- ``view_problem``    records that were skipped, and why
- ``loaded_bucket``   only while it is filled in bulk: the parts of the log that were loaded
The public schema shows each view table under its own name, and the service tables as ``emberlog_<view>_<table>``.
"""

from __future__ import annotations

from projections.view import Column, Table, View

STATES = "'building', 'ready', 'live', 'kept', 'replaying', 'as-of'"
GENERATIONS = f"""
CREATE TABLE IF NOT EXISTS public.emberlog_view_generation (
    view text NOT NULL,
    generation integer NOT NULL,
    state text NOT NULL CHECK (state IN ({STATES})),
    fold_version integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (view, generation)
);
CREATE UNIQUE INDEX IF NOT EXISTS emberlog_view_generation_live ON public.emberlog_view_generation (view) WHERE state = 'live';
"""
GENERATIONS_OF_BEFORE = f"""
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('public.emberlog_view_generation'))
        AND NOT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = to_regclass('public.emberlog_view_generation') AND attname = 'since'
        )
    THEN
        ALTER TABLE public.emberlog_view_generation
            DROP CONSTRAINT IF EXISTS emberlog_view_generation_state_check,
            ADD CONSTRAINT emberlog_view_generation_state_check CHECK (state IN ({STATES})),
            ADD COLUMN since timestamptz NOT NULL DEFAULT now();
        UPDATE public.emberlog_view_generation SET since = created_at;
    END IF;
END $$
"""
"""Gives the list of an older version what is new in it."""

CHECKPOINT = """
CREATE TABLE {schema}.checkpoint (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    runner uuid,
    moved_at timestamptz,
    retired boolean NOT NULL DEFAULT false,
    PRIMARY KEY (topic, partition)
)
"""

OWNER_POSITION = Table(
    "owner_position",
    (Column("owner", "uuid"), Column("last_sequence", "int8"), Column("last_cause", "int8")),
    ("owner",),
)
OWNER_ALARM = Table(
    "owner_alarm",
    (
        Column("owner", "uuid"),
        Column("topic", "text"),
        Column("partition", "int4"),
        Column("offset", "int8"),
        Column("expected_sequence", "int8"),
        Column("found_sequence", "int8"),
    ),
    ("owner",),
)
VIEW_PROBLEM = Table(
    "view_problem",
    (Column("topic", "text"), Column("partition", "int4"), Column("offset", "int8"), Column("reason", "text")),
    ("topic", "partition", "offset"),
)
SERVICE_TABLES = (OWNER_POSITION, OWNER_ALARM, VIEW_PROBLEM)
CHECKPOINT_COLUMNS = ("topic", "partition", "next_offset", "moved_at")
"""What is published of it. Not in any digest: ``moved_at`` is a clock's."""


def create_generation(view: View, schema: str) -> list[str]:
    """Statements that make a generation's schema and tables, without secondary indexes."""
    statements = [*needs(view), f"CREATE SCHEMA {schema}", CHECKPOINT.format(schema=schema)]
    for table in (*SERVICE_TABLES, *view.tables):
        statements.append(table.create(schema))
        statements += [text.format(table=f"{schema}.{table.name}") for text in table.tuning]
    # last: a condition may look at any of the tables
    for table in view.tables:
        if table.guard is not None:
            statements += table.guard.protect(schema, table.name)
    return statements


def needs(view: View) -> list[str]:
    """Statements that make what guards use and all generations share; they may be repeated, one after the other."""
    return list(dict.fromkeys(text for table in view.tables if table.guard is not None for text in table.guard.needs))


def let_in(view: View, schema: str) -> list[str]:
    """Statements that open the guarded tables of a published generation to their readers."""
    guards = [(table.name, table.guard) for table in view.tables if table.guard is not None]
    return [text for name, guard in guards for text in guard.let_in(schema, name)]


def create_indexes(view: View, schema: str, *, cluster: bool = True) -> list[str]:
    """Statements that make the secondary indexes and, unless they were loaded in it, the order of rows, after a load."""
    statements = []
    for table in view.tables:
        name = f"{schema}.{table.name}"
        made = [f"CREATE INDEX {table.name}_{n} ON {name} {index}" for n, index in enumerate(table.indexes)]
        if table.clustered and cluster:
            # at once after its own index: CLUSTER makes all that are there anew
            made.insert(1, f"CLUSTER {name} USING {table.name}_0")
        statements += made
    return statements


def strip(view: View, schema: str) -> list[str]:
    """Statements that leave a generation's tables empty and bare: no key, nothing unique, no secondary index."""
    statements = []
    for table in (*SERVICE_TABLES, *view.tables):
        name = f"{schema}.{table.name}"
        drops = [f"DROP CONSTRAINT IF EXISTS {constraint}" for constraint, _ in table.constraints]
        statements += [f"TRUNCATE {name}", f"ALTER TABLE {name} {', '.join(drops)}"]
        statements += [f"DROP INDEX IF EXISTS {schema}.{table.name}_{n}" for n, _ in enumerate(table.indexes)]
    return statements


def add_keys(view: View, schema: str) -> list[str]:
    """Statements that give the tables what ``strip`` took, but for the secondary indexes."""
    return [
        f"ALTER TABLE {schema}.{table.name} {', '.join(f'ADD CONSTRAINT {name} {what}' for name, what in table.constraints)}"
        for table in (*SERVICE_TABLES, *view.tables)
    ]


def published(view: View) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Public name -> table of the generation and its columns."""
    names = {t.name: (t.name, (*t.names, *(g for g, _ in t.generated))) for t in view.tables}
    for table in SERVICE_TABLES:
        names[f"emberlog_{view.name}_{table.name}"] = (table.name, table.names)
    names[f"emberlog_{view.name}_checkpoint"] = ("checkpoint", CHECKPOINT_COLUMNS)
    return names
