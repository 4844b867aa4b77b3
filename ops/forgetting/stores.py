"""The registry of stores: every place where text about a person can stand, what it is, and how it forgets.

A topic, a view or a table that is missing here fails a test. A new store is an entry of its kind below; one of a new kind, such
as a key-value store, needs a searcher in ``ops.forgetting.proof`` too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath

from projections.generation import schema_of
from projections.tables import published
from projections.view import ViewSettings
from projections.views import build_views
from projections.working_set import prefix_of
from schemas.sealing import Keys
from schemas.topics import Topics

BACKUPS = "backups"
"""Name in receipts of the operator's backups and snapshots, which nothing here reaches and nothing here searches: they expire."""
WORKING_SET = "working set"
"""Its name here and in receipts."""
ALL_TABLES = "*"
"""In place of a table's name: all of the database that no other store names."""


class Kind(StrEnum):
    """What a store is, and so how it is searched."""

    TOPIC = "topic"
    TABLES = "tables"
    STATISTICS = "statistics"
    FILES = "files"
    RAW = "raw files"
    KEY_VALUES = "key-values"
    UNREAD = "not read"


class Forgets(StrEnum):
    """How a store comes to hold a text no more."""

    PROJECTION = "removed by its projection"
    DECIDER = "removed by the decider"
    KEY = "unreadable once its key is destroyed"
    PURGED = "purged behind admission"
    VACUUM = "by emberlog vacuum"
    CHECKPOINT = "by emberlog vacuum, or with checkpoints"
    REWRITE = "when its append-only file is written anew"
    SEGMENTS = "when its segment leaves the disk"
    NEVER_HELD = "holds no content"
    NOT_OURS = "nothing of Emberlog forgets there"


@dataclass(frozen=True, slots=True)
class Store:
    """One store.

    ``places`` are a topic's full name, tables as ``schema.table``, beginnings of keys, or the beginnings of paths inside the data
    folder (the longest that fits a file owns it). ``keys`` is true for what stands in the key store's database.
    """

    name: str
    kind: Kind
    holds: str
    forgets: Forgets
    places: tuple[str, ...] = ()
    keys: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """Where the stores are.

    ``key_dsn`` is the key store's database and ``redis_url`` the working set's Redis, where there is one; with ``keys`` what is
    sealed on topics is opened, as far as its keys are still there.
    """

    bootstrap: str
    dsn: str = field(repr=False)
    topics: Topics
    data_dir: Path
    key_dsn: str | None = field(default=None, repr=False)
    keys: Keys | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)


_TOPICS = {
    "conversation.inbox.v1": ("what outside producers send, plain", Forgets.PURGED),
    "conversation.events.v1": ("admitted turns", Forgets.KEY),
    "memory.commands.v1": ("extracted facts and requests", Forgets.KEY),
    "memory.events.v1": ("the log of record", Forgets.KEY),
    "memory.embeddings.v1": ("vectors, which tell of the text", Forgets.KEY),
    "memory.current.v1": ("the newest state of each memory", Forgets.KEY),
    "memory.parked.v1": ("parked work, with the record itself", Forgets.KEY),
}
_VIEWS = {
    "thermal": ("memories, and the messages that mentioned them", Forgets.PROJECTION),
    "graph": ("memories, messages, summaries, their vectors, and what they tell", Forgets.PROJECTION),
    "audit": ("claims: keys, counts and hashes", Forgets.NEVER_HELD),
    "parked": ("parked work with the record itself", Forgets.PROJECTION),
    "current": ("the newest state of each memory, sealed as on the log", Forgets.PROJECTION),
    "brain": ("memories of users and companies, ids of owners, who may read a company's", Forgets.PROJECTION),
    "capture": ("utterances and their answers, tool calls and model messages", Forgets.PROJECTION),
    "mem0": ("memories and their vectors, as Mem0 reads them", Forgets.PROJECTION),
}
_SETTINGS = ViewSettings(audit_key=b"names of tables do not follow from it")
_TABLES = (
    Store(
        "decider", Kind.TABLES, "its materialised state: references, fingerprints, values of policies", Forgets.DECIDER,
        ("public.emberlog_decider_position", "public.emberlog_decider_owner", "public.emberlog_decider_entry"),
    ),
    Store(
        "bookkeeping", Kind.TABLES, "generations of views, digests of keys", Forgets.NEVER_HELD,
        ("public.emberlog_view_generation", "public.emberlog_key_check"),
    ),
    Store(
        "readers of the brain", Kind.TABLES, "which database role reads for whom: names of roles, references",
        Forgets.NEVER_HELD, ("public.brain_reader",),
    ),
    Store("other tables", Kind.TABLES, "tables that Emberlog does not know", Forgets.NOT_OURS, (ALL_TABLES,)),
    Store("planner statistics", Kind.STATISTICS, "samples of the values of columns", Forgets.VACUUM),
)  # fmt: skip
_KEY_STORE = (
    Store("key store", Kind.TABLES, "owners, aliases and wrapped keys", Forgets.KEY, (ALL_TABLES,), keys=True),
    Store("key store's statistics", Kind.STATISTICS, "samples of the values of columns", Forgets.VACUUM, keys=True),
)
_FILES = (
    Store("keys", Kind.UNREAD, "key files: random bytes, no text", Forgets.NEVER_HELD, ("keys/",)),
    Store("logs", Kind.FILES, "log lines of Emberlog", Forgets.NEVER_HELD, ("logs/",)),
    Store(
        "services' logs", Kind.FILES, "log lines of broker, database and Redis", Forgets.NEVER_HELD,
        ("kafka/broker.log", "postgres.log", "redis.log"),
    ),
    Store("capture file", Kind.FILES, "utterances and their answers, in SQLite", Forgets.PROJECTION, ("capture/",)),
    Store("rebuilds' working files", Kind.FILES, "sealed records, until a rebuild is done", Forgets.KEY, ("rebuilding/",)),
    Store("broker's files", Kind.RAW, "segments and indexes of topics", Forgets.SEGMENTS, ("kafka/log/",)),
    Store("database's files", Kind.RAW, "tables and indexes, dead rows too", Forgets.VACUUM, ("postgres/",)),
    Store("working set's files", Kind.RAW, "what was written to the working set", Forgets.REWRITE, ("redis/",)),
    Store("write-ahead log", Kind.RAW, "what was last written to tables", Forgets.CHECKPOINT, ("postgres/cluster/pg_wal/",)),
    Store("other files", Kind.FILES, "the rest of the data folder: state of processes, working files", Forgets.NOT_OURS, ("",)),
)  # fmt: skip


def topic_stores(topics: Topics) -> list[Store]:
    """A store per topic that the registry knows."""
    return [Store(name, Kind.TOPIC, holds, how, (topics.prefix + name,)) for name, (holds, how) in _TOPICS.items()]


def table_stores(generations: Iterable[tuple[str, int]], *, key_store: bool = False) -> list[Store]:
    """The stores of the database: a view's tables in its ``generations`` (view, number), the decider's, the rest.

    With ``key_store`` that of the keys' own database too.
    """
    views = build_views(_SETTINGS, _VIEWS)
    tables: dict[str, list[str]] = {name: [] for name in _VIEWS}
    for name, number in generations:
        if name in views:
            tables[name] += [f"{schema_of(name, number)}.{table}" for table, _ in published(views[name]).values()]
    ours = [Store(name, Kind.TABLES, *_VIEWS[name], tuple(sorted(tables[name]))) for name in _VIEWS]
    return [*ours, *_TABLES, *(_KEY_STORE if key_store else ())]


def key_value_stores(topics: Topics) -> list[Store]:
    """The stores in Redis."""
    prefix = prefix_of(topics.prefix)
    return [Store(WORKING_SET, Kind.KEY_VALUES, "recent messages and memories", Forgets.PROJECTION, (prefix,))]


def file_stores() -> Sequence[Store]:
    """The stores of the data folder."""
    return _FILES


def store_of(path: PurePosixPath) -> Store:
    """The store that owns a file, by its path inside the data folder."""
    text = str(path)
    return max(((s, p) for s, p in _prefixes() if text.startswith(p)), key=lambda found: len(found[1]))[0]


def _prefixes() -> Iterator[tuple[Store, str]]:
    for store in _FILES:
        for place in store.places:
            yield store, place
