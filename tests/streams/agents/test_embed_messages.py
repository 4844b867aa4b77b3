"""Embedding of messages: what somebody said gets a vector under the message's own key, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace

from schemas import codec, ids
from schemas.sealed import Sealed
from schemas.sealing import open_all, seal
from schemas.types import ConversationTurn, Message, MessageEmbedding
from schemas.vectors import unpack
from streams import kafka
from streams.agents.vectors import HEAD, embedding_key
from streams.config import EMBED_MESSAGES
from streams.extraction.embedders import WordLlamaEmbedder
from streams.extraction.errors import ModelFailure, ModelUnavailable
from streams.order import committed_offsets
from streams.parking.lot import ParkingLot
from tests.docs.log import appender
from tests.keys.memory import MemoryKeys
from tests.keys.plain import PlainKeys
from tests.streams.agents.bench import PARTITIONS, Bench
from tests.streams.commands import NOON, OWNER, remember
from tests.streams.scenario import Scenario

PEACH, PLUM, LAST = "I planted a peach tree", "A plum would do as well", "That is all"


def _message(name: str, role: str, content: str) -> Message:
    return Message(ids.message_reference(OWNER, name), role, Sealed.of(content))


ASKED, ANSWERED, ENDED = (_message(*m) for m in (("m-1", "user", PEACH), ("m-2", "assistant", PLUM), ("m-9", "user", LAST)))


def _turn(*messages: Message, turn: str = "t-1") -> ConversationTurn:
    return ConversationTurn(ids.turn_id(OWNER, turn), OWNER, Sealed.of("u"), "agent", Sealed.of("s"), NOON, messages)


async def _say(bench: Bench, *turns: ConversationTurn) -> None:
    for turn in turns:
        topics = bench.topics
        await kafka.send_to_owner(bench.producer, topics.conversation, PARTITIONS, OWNER, codec.encode(turn), [])


def _key_of(message: Message, embedder: str) -> bytes:
    return embedding_key(message.message_id, HEAD, embedder)


async def _embedded(bench: Bench, last: Message) -> list[MessageEmbedding]:
    """Vectors of messages on the topic, in order, once ``last`` has its own: an owner's turns are handled in order."""
    wanted = _key_of(last, bench.embedder.name)
    found = await bench.until(bench.topics.embeddings, OWNER, lambda records: any(r.key == wanted for r in records))
    records = [(r.key, codec.decode(r.value)) for r in found if r.value]
    ours = [record for _, record in records if isinstance(record, MessageEmbedding)]
    assert [key for key, record in records if isinstance(record, MessageEmbedding)] == [
        embedding_key(record.message_id, record.head, record.model) for record in ours
    ]
    return ours


def _is_of(record: MessageEmbedding, text: str) -> bool:
    (vector,) = WordLlamaEmbedder().embed_sync([text])
    return bool(np.array_equal(unpack(record.vector.raw, record.dimensions), np.asarray(vector, "<f2").astype("<f4")))


@dataclass
class Told:
    """WordLlama that fails at texts as it is told to, and keeps what it was asked for."""

    refuses: str = ""
    away: int = 0
    asked: list[list[str]] = field(default_factory=list)
    name: str = WordLlamaEmbedder().name
    dimensions: int = 256

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.asked.append(list(texts))
        if self.away > 0:
            self.away -= 1
            raise ModelUnavailable("the endpoint is away")
        if self.refuses and self.refuses in texts:
            raise ModelFailure("the endpoint answered HTTP 400")
        return [list(v) for v in WordLlamaEmbedder().embed_sync(list(texts))]

    async def close(self) -> None:
        return None


async def test_what_user_and_assistant_say_gets_a_vector_and_nothing_else_does(bench: Bench) -> None:
    others = [
        _message("m-3", "system", "You are a gardener"),
        _message("m-4", "tool", "12 degrees"),
        _message("m-5", "user", " \n"),
    ]
    async with bench.worker("embed"):
        await _say(bench, _turn(ASKED, *others, ANSWERED), _turn(ENDED, turn="t-2"))
        found = await _embedded(bench, ENDED)
        raw = await bench.records(bench.topics.embeddings, OWNER)
    assert [r.message_id for r in found] == [m.message_id for m in (ASKED, ANSWERED, ENDED)]
    assert [_is_of(r, text) for r, text in zip(found, (PEACH, PLUM, LAST), strict=True)] == [True] * 3
    assert {(r.owner, r.head, r.model, r.dimensions) for r in found} == {(OWNER, HEAD, bench.embedder.name, 256)}
    headers = dict(raw[0].headers)
    assert (headers["ce_type"], headers["ce_subject"].decode()) == (b"emberlog.MessageEmbedding.v1", OWNER)
    assert headers["ce_id"].decode() == ASKED.message_id


async def test_the_messages_of_a_turn_go_to_the_endpoint_together(bench: Bench) -> None:
    told = Told()
    many = [_message(f"n-{n}", "user", f"sentence {n}") for n in range(70)]
    async with bench.worker("embed", embedder=told):
        await _say(bench, _turn(*many))
        found = await _embedded(bench, many[-1])
    assert len(found) == 70
    assert [len(texts) for texts in told.asked] == [64, 6]


async def test_a_vector_is_sealed_under_its_messages_key_and_a_message_whose_key_is_gone_gets_none(bench: Bench) -> None:
    keys = MemoryKeys()
    turns = [await seal(keys, turn) for turn in (_turn(ASKED, ANSWERED), _turn(ENDED, turn="t-2"))]
    await keys.destroy_messages(OWNER, [ASKED.message_id])
    async with bench.worker("embed", keys=keys, directory=PlainKeys()):
        await _say(bench, *turns)
        found = await _embedded(bench, ENDED)
    assert [r.message_id for r in found] == [ANSWERED.message_id, ENDED.message_id]
    assert [r.vector.key_id for r in found] == [turns[0].messages[1].content.key_id, turns[1].messages[0].content.key_id]
    assert all(_is_of(r, text) for r, text in zip(await open_all(keys, found), (PLUM, LAST), strict=True))
    await keys.destroy_messages(OWNER, [ANSWERED.message_id])
    assert [r.vector.is_destroyed for r in await open_all(keys, found)] == [True, False]


async def test_a_message_that_is_forgotten_while_it_is_embedded_leaves_a_vector_that_nobody_can_open(bench: Bench) -> None:
    keys, read, go = MemoryKeys(), asyncio.Event(), asyncio.Event()

    class Slow(Told):
        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            read.set()
            await go.wait()
            return await super().embed(texts)

    async with bench.worker("embed", keys=keys, directory=PlainKeys(), embedder=Slow()):
        await _say(bench, await seal(keys, _turn(ENDED)))
        async with asyncio.timeout(30):
            await read.wait()
        await keys.destroy_messages(OWNER, [ENDED.message_id])
        go.set()
        [record] = await open_all(keys, await _embedded(bench, ENDED))
    assert record.vector.is_destroyed


async def test_a_text_that_the_endpoint_refuses_is_parked_and_holds_no_memory_back(bench: Bench) -> None:
    scenario = Scenario()
    events = scenario.when(remember("User has a dog")).events
    memory = embedding_key(scenario.memory_id("User has a dog"), HEAD, bench.embedder.name)
    lot = ParkingLot(bench.bootstrap, bench.topics, PlainKeys())
    async with lot, bench.worker("embed", embedder=Told(refuses=PLUM), attempts=1):
        await _say(bench, _turn(ASKED, ANSWERED))
        # the others of its turn are there nevertheless
        assert [r.message_id for r in await _embedded(bench, ASKED)] == [ASKED.message_id]
        [record] = await bench.records(bench.topics.conversation, OWNER)
        place = await bench.until_parked(lot, ids.parked_id(EMBED_MESSAGES, record.topic, record.partition, record.offset))
        assert (place.stage, place.owner) == (EMBED_MESSAGES, OWNER)
        async with appender(bench.bootstrap, bench.topics) as log:
            await log.append(events)
        await bench.until(bench.topics.embeddings, OWNER, lambda records: any(r.key == memory for r in records))


async def test_an_outage_pauses_and_parks_nothing_and_what_was_done_is_committed(bench: Bench) -> None:
    told = Told(away=2)
    async with bench.worker("embed", embedder=told, attempts=1):
        await _say(bench, _turn(ASKED), _turn(ENDED, turn="t-2"))
        found = await _embedded(bench, ENDED)
        await bench.until_committed(EMBED_MESSAGES, bench.topics.conversation, OWNER)
    assert [r.message_id for r in found] == [ASKED.message_id, ENDED.message_id]
    assert len(told.asked) == 4
    assert await bench.records(bench.topics.parked, OWNER) == []
    async with bench.worker("embed"):
        await _say(bench, _turn(replace(ENDED, message_id=ids.message_reference(OWNER, "m-10")), turn="t-3"))
        again = await _embedded(bench, replace(ENDED, message_id=ids.message_reference(OWNER, "m-10")))
    assert len(again) == 3, "what was committed is not embedded again"


async def test_where_it_is_switched_off_memories_alone_are_embedded(bench: Bench) -> None:
    scenario = Scenario()
    await _say(bench, _turn(ASKED))
    async with bench.worker("embed", embed_messages=False), appender(bench.bootstrap, bench.topics) as log:
        await log.append(scenario.when(remember("User has a dog")).events)
        await bench.until_committed("embed", bench.topics.events, OWNER)
    [record] = await bench.records(bench.topics.embeddings, OWNER)
    assert not isinstance(codec.decode(record.value), MessageEmbedding)
    group = bench.config("embed").group(EMBED_MESSAGES)
    assert await committed_offsets(bench.bootstrap, group, bench.topics.conversation) == {}
