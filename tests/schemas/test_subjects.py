"""Which key protects which value: the table of ``schemas.subjects``, value by value."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from schemas import codec, ids, types
from schemas.golden.sample import sample_bytes
from schemas.sealed import DESTROYED, Sealed
from schemas.sealing import seal
from schemas.subjects import BY_REQUEST, Subject, key_ids_of, opened_with, sealed_with, subjects_of
from schemas.types import COMMANDS, ConversationTurn, MessageEmbedding, Record, WorkParked
from schemas.versions import FILES
from tests.keys.memory import MemoryKeys

WHOSE = "7d0c8a3e-6f0e-4f7e-9f46-0c7b6a1d2e11"
AT = datetime(2026, 2, 3, 9, 30, tzinfo=UTC)
META = types.CommandMeta("command-1", WHOSE, AT, "tests")
POLICY = types.ThermalPolicy()
DAY = date(2026, 2, 3)
TURN_OFFSET = 41

THE_OWNER = Subject(WHOSE, "owner")
THE_TURN = Subject(WHOSE, "turn", "turn-1")
THE_MESSAGE = Subject(WHOSE, "message", "message-1")
THE_FACT = Subject(WHOSE, "statement", "print-1", "command-1", TURN_OFFSET)
THE_REQUEST = Subject(WHOSE, "statement", "print-1", "command-1", BY_REQUEST)
THE_SUMMARY = Subject(WHOSE, "summary", ids.summary_id(WHOSE, "2026-02-03"), "command-1")
THE_ENTRY = Subject(WHOSE, "parked", "parked-1")

s = Sealed.of
EVIDENCE = types.MessageRef("message-1", s("facts.evidence.producer_id"))
FACT = types.Fact(
    s("facts.text"),
    "print-1",
    (EVIDENCE,),
    0.5,
    entities=(types.Entity(s("facts.entities.name"), "place"),),
    triples=(types.Triple(s("facts.triples.subject"), s("facts.triples.predicate"), s("facts.triples.object")),),
)
FOUND = types.FactsExtracted(
    meta=META,
    user_id=s("user_id"),
    agent_id="agent",
    session_id=s("session_id"),
    source_offset=TURN_OFFSET,
    facts=(FACT,),
    failed=0,
    skipped_short=0,
    extractor="mem0",
    model="a-model",
    prompt_version="1",
    prompt_tokens=1,
    completion_tokens=1,
    rules=False,
    policy=POLICY,
)
SAID = types.Message(
    "message-1",
    "user",
    s("messages.content"),
    producer_id=s("messages.producer_id"),
    name=s("messages.name"),
    image_caption=s("messages.image_caption"),
)
TURN = ConversationTurn(
    turn_id="turn-1",
    owner=WHOSE,
    user_id=s("user_id"),
    agent_id="agent",
    session_id=s("session_id"),
    occurred_at=AT,
    messages=(SAID,),
    tool_calls=(types.ToolCall("search", s("tool_calls.arguments"), s("tool_calls.result")),),
    model_messages=s("model_messages"),
)
SUMMARY = types.ConsolidateDay(
    meta=META,
    day=DAY,
    summary=s("summary"),
    memory_ids=(),
    message_ids=(),
    triples=(types.Triple(s("triples.subject"), s("triples.predicate"), s("triples.object")),),
    downshifts=(),
    model="a-model",
    prompt_version="1",
    prompt_tokens=1,
    completion_tokens=1,
)
PARKED = WorkParked(
    parked_id="parked-1",
    owner=WHOSE,
    stage="extract",
    topic="conversation.events.v1",
    partition=0,
    offset=7,
    reason="it cannot be read",
    behind=None,
    attempts=1,
    parked_at=AT,
    key=s("key"),
    value=s("value"),
    headers={"a header": s("headers")},
)
ASKED: dict[str, Any] = {"content": s("content"), "fingerprint": "print-1", "category": s("category"), "extra": s("extra")}

# every value's text is its place in the record
TABLE: list[tuple[Record, dict[str, Subject]]] = [
    (
        TURN,
        {
            "user_id": THE_OWNER,
            "session_id": THE_OWNER,
            "messages.content": THE_MESSAGE,
            "messages.producer_id": THE_MESSAGE,
            "messages.name": THE_MESSAGE,
            "messages.image_caption": THE_MESSAGE,
            "tool_calls.arguments": THE_TURN,
            "tool_calls.result": THE_TURN,
            "model_messages": THE_TURN,
        },
    ),
    (
        FOUND,
        {
            "user_id": THE_OWNER,
            "session_id": THE_OWNER,
            "facts.text": THE_FACT,
            "facts.evidence.producer_id": THE_MESSAGE,
            "facts.entities.name": THE_FACT,
            "facts.triples.subject": THE_FACT,
            "facts.triples.predicate": THE_FACT,
            "facts.triples.object": THE_FACT,
        },
    ),
    (
        types.Remember(META, s("user_id"), salience=1.0, policy=POLICY, slug=s("slug"), tags=(s("tags"),), **ASKED),
        {"user_id": THE_OWNER, **dict.fromkeys(("content", "slug", "category", "tags", "extra"), THE_REQUEST)},
    ),
    (
        types.Revise(META, "memory-1", policy=POLICY, **ASKED),
        dict.fromkeys(("content", "category", "extra"), THE_REQUEST),
    ),
    (SUMMARY, dict.fromkeys(("summary", "triples.subject", "triples.predicate", "triples.object"), THE_SUMMARY)),
    (types.BeginAccess(META, "access-1", "somebody", "session", s("session_id")), {"session_id": THE_OWNER}),
    (types.AliasOwner(META, s("alias"), "print-1"), {"alias": THE_OWNER}),
    (types.SetSetting(META, "language", s("value"), "print-1"), {"value": THE_OWNER}),
    (types.RequestApproval(META, "r-1", "forget", "o-1", 1, s("instruction"), AT), {"instruction": THE_OWNER}),
    (types.RecordExport(META, "export-1", s("path"), "json", 1, "0" * 64), {"path": THE_OWNER}),
    (MessageEmbedding("message-1", WHOSE, "semantic", "m", 1, s("vector")), {"vector": THE_MESSAGE}),
    (PARKED, dict.fromkeys(("key", "value", "headers"), THE_ENTRY)),
]
SEALING = (ConversationTurn, *COMMANDS, MessageEmbedding, WorkParked)
"""What is sealed by whoever writes it; events hold copies, and a vector is sealed under the key of its words."""


def places(value: Any, at: str = "") -> Iterator[str]:
    """Where in ``value`` there are values about a person, found by looking at each part."""
    if isinstance(value, Sealed):
        yield at
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from places(getattr(value, name), f"{at}.{name}".lstrip("."))
    elif isinstance(value, tuple):
        for item in value:
            yield from places(item, at)
    elif isinstance(value, dict):
        for item in value.values():
            yield from places(item, at)


def sample(kind: type[Record]) -> Record:
    """A record of ``kind`` with every field filled."""
    return codec.decode(sample_bytes(FILES.parsed(kind.__name__), FILES.fingerprint(kind.__name__)))


def subject_of_each(record: Record) -> dict[str, Subject]:
    """By text of each value of ``record`` its subject."""
    found: dict[str, Subject] = {}

    def note(value: Sealed, subject: Subject) -> Sealed:
        assert found.setdefault(value.text, subject) == subject
        return value

    assert sealed_with(record, note) == record
    return found


def of_type(row: Any) -> str:
    return type(row[0]).__name__


@pytest.mark.parametrize("row", TABLE, ids=of_type)
def test_every_value_has_the_subject_that_the_table_names(row: tuple[Record, dict[str, Subject]]) -> None:
    record, expected = row
    assert subject_of_each(record) == expected
    assert subjects_of(record) == set(expected.values())


def test_the_table_has_a_row_for_every_value_of_every_record_that_is_sealed() -> None:
    rows = {(type(record), place) for record, expected in TABLE for place in expected}
    assert rows == {(kind, place) for kind in SEALING for place in places(sample(kind))}


def test_each_message_is_a_subject_of_its_own_also_as_evidence() -> None:
    other = replace(THE_MESSAGE, name="message-2")
    second = types.Message("message-2", "user", s("other content"))
    found = subject_of_each(replace(TURN, messages=(SAID, second)))
    assert (found["messages.content"], found["other content"]) == (THE_MESSAGE, other)
    shown = types.MessageRef("message-2", s("other id"))
    found = subject_of_each(replace(FOUND, facts=(replace(FACT, evidence=(EVIDENCE, shown)),)))
    assert (found["facts.evidence.producer_id"], found["other id"]) == (THE_MESSAGE, other)


def test_two_facts_of_a_turn_are_two_statements() -> None:
    other = replace(FACT, text=s("other text"), fingerprint="print-2", evidence=(), entities=(), triples=())
    found = subject_of_each(replace(FOUND, facts=(FACT, other)))
    assert (found["facts.text"], found["other text"]) == (THE_FACT, replace(THE_FACT, name="print-2"))


@pytest.mark.parametrize("offset", [0, 1, 2**40])
def test_a_facts_offset_is_that_of_its_turn(offset: int) -> None:
    assert subject_of_each(replace(FOUND, source_offset=offset))["facts.text"] == replace(THE_FACT, offset=offset)


def test_the_same_statement_in_another_command_has_another_subject() -> None:
    again = replace(FOUND, meta=replace(META, command_id="command-2"))
    assert subject_of_each(again)["facts.text"] == replace(THE_FACT, cause="command-2")
    assert subject_of_each(again)["user_id"] == THE_OWNER


def test_parked_work_that_names_no_owner_has_its_entry_for_a_subject() -> None:
    assert set(subject_of_each(replace(PARKED, owner=None)).values()) == {replace(THE_ENTRY, owner="")}


@pytest.mark.parametrize("row", TABLE, ids=of_type)
async def test_sealing_twice_changes_nothing_and_keys_can_be_found_again(row: tuple[Record, dict[str, Subject]]) -> None:
    record, expected = row
    keys = MemoryKeys()
    sealed = await seal(keys, record)
    assert subjects_of(sealed) == set()
    assert await seal(keys, sealed) == sealed
    assert await seal(keys, record) == sealed
    made = await keys.for_sealing(set(expected.values()))
    assert set(key_ids_of(sealed)) == {key.key_id for key in made.values() if key is not None}
    assert len(set(key_ids_of(sealed))) == len(set(expected.values()))


def test_what_was_destroyed_is_neither_sealed_nor_opened_again() -> None:
    gone = replace(TURN, model_messages=Sealed(b"", DESTROYED, "a key that was"), messages=(), tool_calls=())

    def never(value: Sealed, _: object = None) -> Sealed:
        raise AssertionError("it was to stay as it is")

    assert subjects_of(gone) == {THE_OWNER}
    assert opened_with(gone, never) == gone
    assert list(key_ids_of(gone)) == []
