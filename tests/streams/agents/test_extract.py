"""Extraction's border: plain strings inside, sealed values and references on the command topic."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from benchmarks.owners import fixed_key
from schemas import codec, ids
from schemas.fingerprint import fingerprint
from schemas.sealed import Sealed, maybe
from schemas.types import CommandMeta, ConversationTurn, FactsExtracted, Message, MessageRef
from streams.agents.extract import Extract
from streams.extraction.ports import CandidateFact, Extraction, TurnToExtract
from streams.failures import Refused
from streams.recent import RecentMessages
from tests.streams.agents.bench import Bench
from tests.streams.commands import NOON, OWNER

TURN = ids.turn_id(OWNER, "turn-1")


@dataclass
class Finds:
    """An extractor that finds what it is told to, and keeps what it was shown."""

    facts: tuple[CandidateFact, ...]
    rules: bool = False
    shown: list[TurnToExtract] = field(default_factory=list)

    async def extract(self, turn: TurnToExtract) -> Extraction:
        self.shown.append(turn)
        return Extraction(self.facts, (), 1, "mem0", "a-model", "p-1", 10, 20, self.rules)

    async def close(self) -> None:
        return None


def _message(place: int, content: str, producer_id: str | None, name: str | None = None) -> Message:
    reference = ids.message_id(TURN, place) if producer_id is None else ids.message_reference(OWNER, producer_id)
    return Message(reference, "user", Sealed.of(content), maybe(producer_id), maybe(name))


def _turn(*messages: Message, turn_id: str = TURN) -> ConversationTurn:
    return ConversationTurn(turn_id, OWNER, Sealed.of("u-1"), "agent", Sealed.of("s-1"), NOON, messages)


NAMED, UNNAMED = _message(0, "I live in Lima", "m-1", "Ana"), _message(1, "And I have a dog", None)


def _extract(bench: Bench, found: Finds, messages: RecentMessages | None = None) -> Extract:
    return Extract(bench.config("extract", extractor=found), bench.producer, messages or RecentMessages())


async def _commands(bench: Bench) -> list[FactsExtracted]:
    records = await bench.records(bench.topics.commands, OWNER)
    return [codec.decode_as(FactsExtracted, r.value) for r in records]


async def test_a_turn_is_opened_for_the_extractor_and_its_facts_are_sealed_again(bench: Bench) -> None:
    fact = CandidateFact("User lives in Lima", ("m-1", UNNAMED.message_id), 0.7)
    found = Finds((fact,))
    await _extract(bench, found)(bench.work(bench.topics.conversation, codec.encode(_turn(NAMED, UNNAMED)), offset=41))
    (shown,) = found.shown
    assert [(m.message_id, m.name, m.content) for m in shown.messages] == [
        ("m-1", "Ana", "I live in Lima"),
        (UNNAMED.message_id, None, "And I have a dog"),
    ]
    assert (shown.user_id, shown.session_id, shown.recent_messages) == ("u-1", "s-1", ())
    (command,) = await _commands(bench)
    assert command.meta == CommandMeta(TURN, OWNER, NOON, "emberlog/extract")
    assert (command.user_id.text, command.session_id.text, command.source_offset) == ("u-1", "s-1", 41)
    (kept,) = command.facts
    assert (kept.text.text, kept.salience, kept.action) == ("User lives in Lima", 0.7, "add")
    assert kept.fingerprint == fingerprint(fixed_key(OWNER), "User lives in Lima")
    assert kept.evidence == (MessageRef(NAMED.message_id, Sealed.of("m-1")), MessageRef(UNNAMED.message_id))


async def test_evidence_from_an_earlier_turn_of_the_session_is_that_turns_message(bench: Bench) -> None:
    found = Finds((CandidateFact("User lives in Lima", ("m-1", "made-up"), 0.7),))
    extract = _extract(bench, found)
    for turn_id, message in ((TURN, NAMED), (ids.turn_id(OWNER, "turn-2"), UNNAMED)):
        await extract(bench.work(bench.topics.conversation, codec.encode(_turn(message, turn_id=turn_id))))
    assert [m.message_id for m in found.shown[1].recent_messages] == ["m-1"]
    first, second = await _commands(bench)
    assert first.facts[0].evidence == second.facts[0].evidence == (MessageRef(NAMED.message_id, Sealed.of("m-1")),)
    assert first.meta.command_id != second.meta.command_id


async def test_a_turn_that_cannot_be_opened_is_refused_and_no_model_is_asked(bench: Bench) -> None:
    sealed = Sealed(b"\x00\x01", "aes-256-gcm", "a-key")
    for turn in (replace(_turn(NAMED), session_id=sealed), _turn(replace(NAMED, content=sealed))):
        found = Finds(())
        with pytest.raises(Refused, match="never had"):
            await _extract(bench, found)(bench.work(bench.topics.conversation, codec.encode(turn)))
        assert found.shown == []


async def test_facts_beyond_the_limit_of_one_command_are_counted_as_failed(bench: Bench) -> None:
    many = tuple(CandidateFact(f"User owns boat {n}", ("m-1",), 0.5) for n in range(203))
    await _extract(bench, Finds(many))(bench.work(bench.topics.conversation, codec.encode(_turn(NAMED))))
    (command,) = await _commands(bench)
    assert (len(command.facts), command.failed, command.skipped_short) == (200, 3, 1)
