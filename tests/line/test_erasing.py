"""What is forgotten is destroyed: its keys go, the log stays, and a receipt says what went where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ops.keyring import masters, open_keys
from ops.keys import backup
from ops.keys.database import KeyDatabase
from ops.local.addresses import ServiceAddresses
from ops.receipts import VIEWS as CLEARED
from schemas.ids import receipt_id
from schemas.sealed import text_of
from schemas.sealing import open_all
from schemas.types import FactsExtracted, MemoryAdded, MemoryEvent, ReceiptIssued, StoreCleared
from tests.line.conftest import MakeLine
from tests.line.support.line import Line, running
from tests.line.support.reading import read_all
from tests.line.support.rebuilt import live_digest, rebuilt_digest
from tests.line.support.speaker import Speaker
from tests.line.support.waiting import until

SECRET = "Her locker code at the harbour is 4417"
OTHER = "Her brother mends nets in Quellón"
VIEWS = ["keys", *CLEARED]


@pytest.fixture
async def eva(line: Line) -> Speaker:
    return Speaker(line, "default/user/eva")


async def events_of(speaker: Speaker) -> list[MemoryEvent]:
    async with speaker.line.log() as log:
        await log.to_the_end()
    return log.owners.get(speaker.reference, [])


async def receipt_of(speaker: Speaker, forget_id: str) -> ReceiptIssued:
    """The receipt, once it is on the log."""
    found: list[ReceiptIssued] = []

    async def there() -> bool:
        events = await events_of(speaker)
        found[:] = [e for e in events if isinstance(e, ReceiptIssued) and e.forget_id == forget_id]
        return bool(found)

    await until(there, lambda: "the receipt is on the log", 60)
    [receipt] = found
    return receipt


async def memory_that_says(speaker: Speaker, fact: str) -> str:
    return next(str(row["id"]) for row in await speaker.archive() if row["original_content"] == fact)


async def asked(speaker: Speaker, *arguments: str) -> Any:
    return (await speaker.line.cli(*arguments, "--owner", str(speaker.owner), "--json")).json()


async def forget_id_of(speaker: Speaker) -> str:
    forgotten = [e for e in await events_of(speaker) if type(e).__name__ in ("MemoryForgotten", "OwnerErased")]
    return forgotten[-1].meta.command_id


async def test_the_words_of_a_forgotten_memory_cannot_be_opened_wherever_they_stand_and_a_receipt_says_so(eva: Speaker) -> None:
    line = eva.line
    told = await eva.say(SECRET, OTHER)
    await eva.say(SECRET)  # a mention: the command topic holds the words twice
    await asked(eva, "forget", await memory_that_says(eva, SECRET))
    forget_id = await forget_id_of(eva)
    receipt = await receipt_of(eva, forget_id)

    said = [e.content for e in await events_of(eva) if isinstance(e, MemoryAdded)]
    assert [value.is_destroyed for value in said] == [True, False]
    facts = await opened_facts(eva)
    assert [text for _, text in facts] == [None, OTHER, None]

    assert receipt.receipt_id == receipt_id(forget_id)
    assert [(o.store, o.removed) for o in receipt.outcomes if o.pending_until is None] == list(
        zip(VIEWS, (2, *[1] * len(CLEARED)), strict=True)
    )
    assert len(receipt.remaining_message_ids) == 2, "the messages stay, and are named"
    cleared = [e.outcome.store for e in await events_of(eva) if isinstance(e, StoreCleared)]
    assert cleared == VIEWS

    await line.projected()
    assert await live_digest(line) == await rebuilt_digest(line)
    tail = await line.cli("tail", "conversation", "--owner", str(eva.owner), "-n", "5")
    assert told.messages[0].content in tail.out, "a conversation is not a memory"


@pytest.mark.slow
async def test_a_memory_with_the_same_words_under_another_slug_keeps_them_until_it_is_forgotten_itself(eva: Speaker) -> None:
    line = eva.line
    for slug in ("locker", "harbour"):
        assert (await line.cli("remember", SECRET, "--owner", str(eva.owner), "--slug", slug, "--json")).code == 0
    both = [e for e in await events_of(eva) if isinstance(e, MemoryAdded)]
    assert len({e.fingerprint for e in both}) == 1 < len(both) == 2
    await asked(eva, "forget", "--slug", "locker")
    await receipt_of(eva, await forget_id_of(eva))
    said = [e for e in await events_of(eva) if isinstance(e, MemoryAdded)]
    assert [(text_of(e.slug), e.content.is_destroyed) for e in said] == [(None, True), ("harbour", False)]
    await line.projected()
    assert await live_digest(line) == await rebuilt_digest(line)
    assert await eva.contents() == [SECRET]

    await asked(eva, "forget", "--slug", "harbour")
    await receipt_of(eva, await forget_id_of(eva))
    assert [e.content.is_destroyed for e in await events_of(eva) if isinstance(e, MemoryAdded)] == [True, True]
    await line.projected()
    assert await live_digest(line) == await rebuilt_digest(line)


async def opened_facts(speaker: Speaker) -> list[tuple[str, str | None]]:
    """Facts on the command topic with their text, None where it is destroyed."""
    line = speaker.line
    records = [r for _, r in await read_all(line.bootstrap, line.topics.commands, line.topics.partitions)]
    mine = [r for r in records if isinstance(r, FactsExtracted) and r.meta.owner == speaker.reference]
    async with open_keys(line.as_settings, line.dsn) as ring:
        return [(f.fingerprint, text_of(f.text)) for r in await open_all(ring.keys, mine) for f in r.facts]


async def test_with_its_source_the_messages_are_destroyed_too_and_their_ids_leave_other_memories(eva: Speaker) -> None:
    line = eva.line
    told = await eva.say(SECRET, OTHER)
    label = told.messages[0].id
    assert await labels(eva) == [[label], [label]]
    await asked(eva, "forget", await memory_that_says(eva, SECRET), "--include-source")
    receipt = await receipt_of(eva, await forget_id_of(eva))
    assert receipt.remaining_message_ids == ()

    await line.projected()
    tail = await line.cli("tail", "conversation", "--owner", str(eva.owner), "-n", "5")
    assert told.messages[0].content not in tail.out
    [[left]] = await labels(eva)
    assert left != label
    assert await live_digest(line) == await rebuilt_digest(line)


async def labels(speaker: Speaker) -> list[list[str]]:
    query = "SELECT producer_message_ids FROM thermal_memory_archive WHERE owner = %s ORDER BY added_sequence"
    return [row[0] for row in await speaker.line.rows(query, (speaker.reference,))]


async def test_an_erased_owner_is_unknown_and_nothing_of_theirs_can_be_opened(eva: Speaker) -> None:
    line = eva.line
    await eva.say(SECRET, OTHER)
    erased = await line.cli("erase", str(eva.owner), "--yes", "--json")
    assert erased.code == 0, erased.err
    receipt = await receipt_of(eva, await forget_id_of(eva))
    [keys] = [o.removed for o in receipt.outcomes if o.store == "keys"]
    assert keys >= 5, "the owner's key, the turn's, the message's and both statements'"
    assert all(e.content.is_destroyed for e in await events_of(eva) if isinstance(e, MemoryAdded))
    await line.projected()
    assert await live_digest(line) == await rebuilt_digest(line)
    async with open_keys(line.as_settings, line.dsn) as ring:
        assert await ring.directory.find(eva.owner) is None


@pytest.fixture
async def own_line(services: ServiceAddresses, make_line: MakeLine) -> AsyncIterator[Line]:
    """A line of its own, whose processes and key store may be broken."""
    async with running(make_line(services)) as line:
        yield line


@pytest.mark.slow
async def test_a_projector_killed_while_it_forgets_many_ends_with_the_same_keys_gone_and_one_receipt(own_line: Line) -> None:
    eva, number = Speaker(own_line, "default/user/eva"), 60
    for begin in range(0, number, 20):
        await eva.say(*(f"She keeps the secret number {n} in a drawer" for n in range(begin, begin + 20)))
    await eva.say(OTHER)
    memories = [str(row["id"]) for row in await eva.archive() if row["original_content"] != OTHER]
    assert len(memories) == number
    async with own_line.commands() as producer:
        [command] = await producer.forget(eva.reference, memories)
    projector = own_line.processes[-1]
    for _ in range(3):
        await until(lambda: _forgetting_begun(eva), lambda: "the forgetting is on the log", 30)
        projector.kill()
        [projector] = await own_line.start("project")
    await receipt_of(eva, command.meta.command_id)
    await own_line.projected()
    events = await events_of(eva)
    assert [type(e).__name__ for e in events].count("ReceiptIssued") == 1
    assert [e.content.is_destroyed for e in events if isinstance(e, MemoryAdded)] == [*[True] * number, False]
    assert await live_digest(own_line) == await rebuilt_digest(own_line)


async def _forgetting_begun(speaker: Speaker) -> bool:
    return any(type(e).__name__ == "MemoryForgotten" for e in await events_of(speaker))


@pytest.mark.slow
async def test_a_key_store_brought_back_from_before_a_forget_forgets_again_before_anything_is_served(
    own_line: Line, tmp_path: Path
) -> None:
    line, eva = own_line, Speaker(own_line, "default/user/eva")
    await eva.say(SECRET, OTHER)
    async with open_keys(line.as_settings, line.dsn) as ring:
        await backup.backup(ring.database, tmp_path / "keys.backup")
    await asked(eva, "forget", await memory_that_says(eva, SECRET))
    await receipt_of(eva, await forget_id_of(eva))
    await _stopped(line)

    await line.new_key_store()
    async with KeyDatabase(line.keys_dsn, masters(line.as_settings), connections=1) as database:
        await backup.restore(database, tmp_path / "keys.backup")
    assert [text for _, text in await opened_facts(eva)] == [SECRET, OTHER], "the backup has the key"
    await line.new_database()
    await line.start("worker", "project")  # ready
    assert [text for _, text in await opened_facts(eva)] == [None, OTHER]
    await line.projected()
    assert [row["original_content"] for row in await eva.archive()] == [OTHER]


@pytest.mark.slow
async def test_views_brought_back_from_before_a_forget_answer_nothing_until_they_have_followed_it(own_line: Line) -> None:
    line, eva = own_line, Speaker(own_line, "default/user/eva")
    await eva.say(SECRET, OTHER)
    await _stopped(line)
    before = await line.copied_database()
    await line.start("worker", "project")
    await asked(eva, "forget", await memory_that_says(eva, SECRET))
    await receipt_of(eva, await forget_id_of(eva))
    await _stopped(line)

    line.dsn = before
    assert SECRET in await eva.contents(), "the backup has the words"
    refused = await line.cli("recall", "what is her locker code?", "--owner", str(eva.owner))
    assert (refused.code, SECRET in refused.out + refused.err) == (1, False)
    assert "emberlog status" in refused.err
    await line.start("worker", "project")
    await line.projected()
    assert await eva.told_by_the_command_line("what is her locker code?") == [OTHER]


async def _stopped(line: Line) -> None:
    await asyncio.gather(*(asyncio.to_thread(process.close) for process in line.processes))
    line.processes.clear()
