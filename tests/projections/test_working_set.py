"""The working set in a real Redis: what it holds, forgets, evicts and lets expire, and that it follows from the log alone."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from ops.local.redis import EmbeddedRedis
from projections.errors import Fenced
from projections.working_set import Recent, fold
from projections.working_set.store import StateLost
from schemas.topics import Topics
from tests.projections.harness import owner
from tests.projections.logs import T0
from tests.projections.talk import TTL_S, Held, TalkLog, recently, shuffled
from tests.services import temporary_data_dir


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    """A Redis of this file."""
    folder = temporary_data_dir()
    redis = EmbeddedRedis(folder)
    redis.start()
    try:
        yield redis
    finally:
        redis.stop()
        redis.remove()


@pytest.fixture
async def held(server: EmbeddedRedis, topics: Topics) -> AsyncIterator[Held]:
    async with Held.of(server, TalkLog(topics)) as made:
        yield made


async def test_the_newest_messages_and_memories_of_an_owner_and_what_was_touched_last_are_held(held: Held) -> None:
    ann, log = owner(), held.log
    said = [log.utter(ann, f"message {n}", at=recently(90 - n)) for n in range(60)]
    tea = log.learn(ann, "likes tea", said[50])
    log.reheat(ann, tea, at=(warmed := recently(10)))
    await held.take()
    found = await held.known(ann, 100)
    assert [m.text for m in found.turns] == [f"message {n}" for n in range(10, 60)]
    assert (found.turns[-1].role, found.turns[-1].message_id) == ("user", said[-1].message_id)
    [memory] = found.memories
    assert (memory.memory_id, memory.text, memory.access_count) == (tea, "likes tea", 2)
    assert memory.warmed_at == warmed
    assert found.focus[0].kind == "memory"
    assert [it.id for it in found.focus[1:3]] == [said[59].message_id, said[58].message_id]
    short = await held.known(ann, 2)
    assert [m.text for m in short.turns] == ["message 58", "message 59"]
    assert len(short.focus) == 2


async def test_a_turn_of_long_ago_that_comes_late_or_again_does_not_take_the_place_of_a_newer_one(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold, "MESSAGES", 3)
    ann, log = owner(), held.log
    for n in range(5):
        log.utter(ann, f"message {n}", at=recently(50 - n))
    log.again(log.records[:1])
    log.utter(ann, "from an archive", at=T0)
    await held.take()
    assert [m.text for m in (await held.known(ann)).turns] == ["message 2", "message 3", "message 4"]


async def test_an_owner_who_said_nothing_is_known_to_have_nothing(held: Held) -> None:
    held.log.utter(owner(), "something")
    await held.take()
    found = await held.known(owner())
    assert found == Recent((), (), ())


async def test_memories_follow_their_events_and_sacred_ones_stay_before_others(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold, "MEMORIES", 3)
    ann, log = owner(), held.log
    [sacred] = log.add(ann, "sacred")
    log.pin(ann, sacred)
    [old] = log.add(ann, "old")
    log.revise(ann, old, "revised")
    log.add(ann, "one")
    log.add(ann, "two")
    await held.take()
    found = await held.known(ann)
    assert [(m.text, m.sacred) for m in found.memories] == [("two", False), ("one", False), ("sacred", True)]
    log.reheat(ann, old)
    log.revise(ann, old, "brought back")
    await held.take()
    found = await held.known(ann)
    assert [(m.text, m.version) for m in found.memories] == [("brought back", 3), ("two", 1), ("sacred", 1)]


async def test_a_forgotten_memory_goes_and_its_messages_only_with_their_source(held: Held) -> None:
    ann, log = owner(), held.log
    first, second = log.utter(ann, "I like tea"), log.utter(ann, "I like rum")
    tea, rum = log.learn(ann, "likes tea", first), log.learn(ann, "likes rum", second)
    log.mention(ann, rum, third := log.utter(ann, "rum again"))
    log.utter(ann, "something else")
    await held.take()
    log.forget(ann, tea)
    log.forget_with_source(ann, rum)
    await held.take()
    found = await held.known(ann)
    assert found.memories == ()
    assert [m.text for m in found.turns] == ["I like tea", "something else"]
    assert {second.message_id, third.message_id}.isdisjoint(it.id for it in found.focus)
    assert "rum" not in str(await held.contents())


async def test_of_an_erased_owner_nothing_is_left_and_late_turns_bring_nothing_back(held: Held) -> None:
    ann, bob, log = owner(), owner(), held.log
    for who in (ann, bob):
        log.learn(who, "likes tea", log.utter(who, f"I like tea, {who}", at=recently(5)))
    await held.take()
    log.erase(ann)
    log.utter(ann, "a turn that was on its way")
    await held.take()
    assert not [key for key in await held.contents() if ann in key]
    found = await held.known(ann)
    assert found == Recent((), (), ())
    assert len([key for key in await held.contents() if bob in key]) == 2


ACTS = (
    ["say"] * 4 + ["learn"] * 4 + ["mention"] * 2 + ["pin", "revise", "forget", "forget_source", "forget_source", "dup", "erase"]
)


def _live(log: TalkLog, chance: random.Random, owners: list[str]) -> set[str]:
    """A random history; the texts that are forgotten in it."""
    gone: set[str] = set()
    told: dict[str, dict[str, set[str]]] = {who: {} for who in owners}
    erased: set[str] = set()
    for n in range(120):
        who = chance.choice([o for o in owners if o not in erased])
        known = told[who]
        text = f"text {n} of {who}"
        match chance.choice(ACTS):
            case "say":
                log.utter(who, text, at=recently(300 - n + chance.randrange(-9, 9)))
            case "learn":
                known[log.learn(who, f"fact {text}", log.utter(who, text, at=recently(300 - n)))] = {text, f"fact {text}"}
            case "mention" if known:
                memory = chance.choice(sorted(known))
                log.mention(who, memory, log.utter(who, text, at=recently(300 - n)))
                known[memory].add(text)
            case "pin" if known:
                log.pin(who, chance.choice(sorted(known)), pinned=chance.random() < 0.7)
            case "revise" if known:
                memory = chance.choice(sorted(known))
                log.revise(who, memory, f"fact {text}")
                known[memory].add(f"fact {text}")
            case "forget" if known:
                memory = chance.choice(sorted(known))
                log.forget(who, memory)
                gone |= {it for it in known.pop(memory) if it.startswith("fact")}
            case "forget_source" if known:
                memory = list(known)[-1]  # its messages are held still, most of the time
                log.forget_with_source(who, memory)
                gone |= known.pop(memory)
            case "dup":
                log.again(log.records[-1:])
            case "erase" if len(erased) < len(owners) - 1 and n > 100:
                log.erase(who)
                erased.add(who)
                gone.add(who)
    return gone


@pytest.mark.parametrize("seed", range(3))
async def test_the_contents_follow_from_the_log_alone_however_it_is_cut_mixed_and_replayed(
    held: Held, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    for name, size in (("MESSAGES", 10), ("MEMORIES", 6), ("FOCUS", 4)):
        monkeypatch.setattr(fold, name, size)
    chance, owners, log = random.Random(seed), [owner() for _ in range(3)], held.log
    gone = _live(log, chance, owners)
    size = len(log.records)
    await held.take(cuts=chance.sample(range(size), 40))
    live = await held.contents()
    assert any(key.endswith(":focus") for key in live)
    assert not [text for text in gone if f"{text}\\" in str(live) or f'{text}"' in str(live)]
    # keys are destroyed by the time of a replay, and its topics meet in any order
    replayed = log.after(lambda text: any(text == it or (it in owners and it in text) for it in gone))
    assert replayed != log.records
    conversation_first = sorted(replayed, key=lambda record: record.topic != log.topics.conversation)
    assert await held.anew(conversation_first, [size // 3, size // 2]) == live
    assert await held.anew(sorted(replayed, key=lambda record: record.topic == log.topics.conversation)) == live
    for _ in range(3):
        assert await held.anew(shuffled(replayed, chance), chance.sample(range(size), 10)) == live
    # and where a key is destroyed late: what is forgotten before its turn was read is not taken in
    assert await held.anew(sorted(log.records, key=lambda record: record.topic == log.topics.conversation)) == live


async def test_a_writer_that_was_killed_between_batches_is_followed_by_one_that_ends_in_the_same(held: Held) -> None:
    ann, log = owner(), held.log
    for n in range(30):
        log.learn(ann, f"fact {n}", log.utter(ann, f"message {n}"))
    records = log.records
    for begin in range(0, len(records), 7):
        held.applier = None  # and with it all that it had in memory
        await held.take(records[begin : begin + 7])
    assert await held.contents() == await held.anew(records)


async def test_a_writer_that_lost_the_working_set_to_another_writes_no_more(held: Held) -> None:
    ann, log = owner(), held.log
    log.utter(ann, "one")
    await held.take()
    first = held.applier
    assert first is not None
    log.utter(ann, "two")
    await held.begin()
    with pytest.raises(Fenced):
        await first.apply(log.records[1:])
    await held.take()
    found = await held.known(ann)
    assert [m.text for m in found.turns] == ["one", "two"]
    held.log.utter(ann, "three")
    await held.redis.hset(f"{held.prefix}state", f"at:{log.topics.conversation}/{log.records[0].partition}", "0")
    with pytest.raises(StateLost):
        await held.take()


async def test_a_zombie_s_slice_is_dropped_and_a_gap_parks_the_owner(held: Held) -> None:
    ann, log = owner(), held.log
    log.add(ann, "one")
    log.again(log.records[-1:])
    await held.take()
    assert len((await held.known(ann)).memories) == 1
    skipped = len(log.records)
    log.add(ann, "lost")
    log.add(ann, "behind the gap")
    await held.take(log.records[:0])
    applier = held.applier
    assert applier is not None
    place = log.records[skipped].topic, log.records[skipped].partition
    applier.positions[place] = skipped + 1
    await held.redis.hset(f"{held.prefix}state", f"at:{place[0]}/{place[1]}", str(skipped + 1))
    await held.take(log.records[skipped + 1 :])
    assert [m.text for m in (await held.known(ann)).memories] == ["one"]
    assert (await held.redis.hget(f"{held.prefix}state", f"owner:{ann}")) == b"1 gap"


async def test_the_focus_expires_by_the_time_of_the_last_event_and_old_history_revives_none(held: Held) -> None:
    ann, bob, log = owner(), owner(), held.log
    log.utter(ann, "long ago", at=T0)
    log.utter(bob, "just now", at=(now := recently(1)))
    await held.take()
    old = await held.known(ann)
    assert (len(old.turns), old.focus) == (1, ())
    contents = await held.contents()
    assert f"{ann}:focus" not in contents
    assert contents[f"{bob}:focus"][1] == pytest.approx((now + timedelta(seconds=TTL_S)).timestamp(), abs=1)


async def test_what_was_evicted_is_not_known_and_is_not_taken_for_empty(held: Held) -> None:
    ann, log = owner(), held.log
    log.learn(ann, "likes tea", log.utter(ann, "I like tea", at=recently()))
    await held.take()
    await held.redis.unlink(f"{held.prefix}{ann}:focus")
    assert await held.reader.recent(ann) is None
    await held.redis.unlink(f"{held.prefix}{ann}")
    assert await held.reader.recent(ann) is None
    log.utter(ann, "more", at=recently())
    await held.take()
    assert await held.reader.recent(ann) is None, "a part must not pass for the whole"
    assert [key for key in await held.contents() if ann in key] == []
    await held.redis.unlink(f"{held.prefix}state")
    assert await held.reader.recent(owner()) is None, "without the checkpoint nobody is known"


async def test_an_owner_evicted_between_reading_and_writing_is_not_written_in_part(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, log = owner(), held.log
    log.utter(ann, "one", at=recently(2))
    await held.take()
    log.utter(ann, "two", at=recently())
    applier = await held.begin()
    read = held.store.owners

    async def evicted_meanwhile(references: object) -> object:
        found = await read(references)  # type: ignore[arg-type]
        await held.redis.unlink(f"{held.prefix}{ann}")
        return found

    monkeypatch.setattr(held.store, "owners", evicted_meanwhile)
    await applier.apply(log.records[1:])
    assert await held.reader.recent(ann) is None
    assert ann not in await held.contents()
