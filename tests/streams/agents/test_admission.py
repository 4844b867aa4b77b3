"""Admission through a worker: from the inbox to the conversation topic, or into the parking lot."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from benchmarks.owners import fixed_reference
from schemas import codec, ids
from schemas.owner import Owner
from schemas.sealed import Sealed
from schemas.sealing import ItemKey, Subject
from schemas.types import ConversationTurn, ToolCall
from streams.agents import admission
from streams.agents.admission import TIME_HEADER, Admission, judge
from streams.agents.admit import Admissible, admit
from streams.failures import Away, Refused
from streams.parking.lot import ParkingLot
from streams.stage import Work
from tests.keys.plain import PlainKeys
from tests.streams.agents.bench import Bench

OWNER = fixed_reference("u-1")
AT_S = 1_770_000_000.25


def _sent(**changes: Any) -> bytes:
    turn = {"id": "turn-1", "owner": "u-1", "session_id": "s-1", "messages": [{"role": "user", "content": "hello", "id": "m-1"}]}
    return json.dumps({**turn, **changes}).encode()


async def test_a_turn_in_json_is_published_whole_under_its_owner(bench: Bench) -> None:
    extras = {"tool_calls": [{"name": "weather", "arguments": {"place": "Lima"}}], "latency_ms": {"model": 812}}
    async with bench.worker("admit"):
        await bench.producer.send_and_wait(bench.topics.inbox, _sent(**extras), key=b"u-1")
        (record,) = await bench.until(bench.topics.conversation, OWNER, bool)
    turn = codec.decode_as(ConversationTurn, record.value)
    assert record.key == OWNER.encode()
    assert dict(record.headers)["ce_id"] == turn.turn_id.encode()
    assert turn.messages[0].content.text == "hello"
    assert turn.tool_calls == (ToolCall("weather", Sealed.of('{"place":"Lima"}')),)
    assert turn.latency_ms == {"model": 812.0}


async def test_a_refused_record_is_parked_as_it_came_and_holds_nothing_back(bench: Bench) -> None:
    broken = _sent(skill=["not a text"])
    async with bench.worker("admit"):
        sent = await bench.producer.send_and_wait(bench.topics.inbox, broken, key=b"u-1", headers=[("mine", b"\xff\x00")])
        await bench.producer.send_and_wait(bench.topics.inbox, _sent(), key=b"u-1")
        await bench.until(bench.topics.conversation, OWNER, bool)
        async with ParkingLot(bench.bootstrap, bench.topics, PlainKeys()) as lot:
            parked_id = ids.parked_id("admit", bench.topics.inbox, sent.partition, sent.offset)
            place = await bench.until_parked(lot, parked_id)
            parked = await lot.read(place)
    assert parked.reason == "skill: string type"
    assert place.owner is None
    assert (parked.key, parked.value) == (b"u-1", broken)
    assert parked.headers["mine"] == b"\xff\x00"
    assert float(parked.headers[TIME_HEADER]) > 0


async def test_a_record_is_judged_once_and_anew_when_it_comes_back_from_the_lot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[bytes | None] = []

    def counting(value: bytes | None, *rest: Any) -> Admissible:
        judged.append(value)
        return admit(value, *rest)

    monkeypatch.setattr(admission, "admit", counting)
    handle = Admission(bench.config("admit"), bench.producer)
    work = judge(bench.work(bench.topics.inbox, _sent()), AT_S)
    assert work.lane == "default/user/u-1"
    await handle(work)
    assert len(judged) == 1
    await handle(Work(work.topic, work.partition, work.offset, work.key, work.value, work.headers))
    assert len(judged) == 2
    first, again = await bench.records(bench.topics.conversation, OWNER)
    assert first.value == again.value, "a record keeps its own time wherever it waits"


async def test_a_refused_record_has_a_lane_of_its_own_and_its_reason(bench: Bench) -> None:
    work = judge(bench.work(bench.topics.inbox, b"not JSON", offset=7), AT_S)
    assert work.lane == "0/7"
    with pytest.raises(Refused, match="record: json invalid"):
        await Admission(bench.config("admit"), bench.producer)(work)


async def test_a_turn_too_large_for_the_broker_is_refused_and_not_taken_for_an_outage(bench: Bench) -> None:
    work = judge(bench.work(bench.topics.inbox, _sent()), AT_S)
    async with AIOKafkaProducer(bootstrap_servers=bench.bootstrap, max_request_size=100) as small:
        with pytest.raises(Refused, match="exceeds"):
            await Admission(bench.config("admit"), small)(work)


class _JustErased(PlainKeys):
    """An owner who was erased since the reference was looked up, and has come back under another."""

    def __init__(self) -> None:
        self.stale = True

    async def reference_of(self, owner: Owner) -> str:
        return fixed_reference("before") if self.stale else OWNER

    async def for_sealing(self, subjects: Collection[Subject]) -> Mapping[Subject, ItemKey | None]:
        return dict.fromkeys(subjects) if self.stale else await super().for_sealing(subjects)

    def clear(self) -> None:
        self.stale = False


async def test_a_turn_of_an_owner_who_was_erased_meanwhile_goes_out_under_the_new_reference_and_is_not_lost(
    bench: Bench,
) -> None:
    keys = _JustErased()
    handle = Admission(bench.config("admit", keys=keys, directory=keys), bench.producer)
    work = judge(bench.work(bench.topics.inbox, _sent()), AT_S)
    with pytest.raises(Away, match="erased"):
        await handle(work)
    assert await bench.records(bench.topics.conversation, fixed_reference("before")) == []
    await handle(work)
    (record,) = await bench.records(bench.topics.conversation, OWNER)
    assert codec.decode_as(ConversationTurn, record.value).messages[0].content.text == "hello"
