"""What is asked for by command goes through the whole line: its vector, its revision's vector, and an owner's erasure."""

from __future__ import annotations

import pytest

from schemas.types import EraseOwner
from streams.producers import request_meta
from tests.line.support.forgetting import key_store_rows
from tests.line.support.line import Line
from tests.line.support.rebuilt import live_digest, rebuilt_digest
from tests.line.support.speaker import Speaker
from tests.line.support.waiting import until

WORDS, NEW_WORDS = "Her allotment lies behind the railway station", "Her workshop is above the bakery"


async def _vector_made_from(line: Line, memory_id: str) -> int:
    rows = await line.rows("SELECT sequence FROM memory_embedding WHERE trace_id = %s", (memory_id,))
    return int(rows[0][0]) if rows else 0


@pytest.mark.slow
async def test_a_memory_that_was_asked_for_and_its_revision_are_recalled_by_their_newest_words(line: Line) -> None:
    ana = Speaker(line, "default/user/asks")
    made = (await line.cli("remember", WORDS, "--owner", str(ana.owner), "--json")).json()
    [memory] = made["memory_ids"]
    await until(lambda: _vector_made_from(line, memory), "the memory has a vector")
    assert await ana.recalled("where does she grow vegetables, near the trains?") == [WORDS]
    revised = (await line.cli("revise", memory, NEW_WORDS, "--owner", str(ana.owner), "--json")).json()
    assert (made["outcome"], revised["outcome"], revised["version"]) == ("added", "revised", 2)

    async def newer() -> bool:
        return await _vector_made_from(line, memory) == 2

    await until(newer, "the vector is that of the new words")
    assert await ana.told_by_the_command_line("where is her workshop?") == [NEW_WORDS]


async def test_an_erased_owner_leaves_every_store_and_a_rebuild_says_so_too(line: Line) -> None:
    ben, eva = Speaker(line, "default/user/goes"), Speaker(line, "default/user/stays")
    await ben.say("He repairs accordions in a cellar", "His sister lives in Ovalle")
    await eva.say("She repairs accordions in a cellar")
    async with line.commands() as producer:
        end = await producer.conversation_end(ben.reference)
        erasure = EraseOwner(meta=request_meta(ben.reference), conversation_end_offset=end)
        await producer.send(erasure)

    async def gone() -> bool:
        return await ben.archive() == []

    await until(gone, "the archive holds nothing of the owner")
    await line.projected()
    assert await line.rows("SELECT 1 FROM memory_embedding WHERE owner = %s", (ben.reference,)) == []
    mentions = "SELECT 1 FROM memory_mention m WHERE NOT EXISTS (SELECT 1 FROM thermal_memory_archive a WHERE a.id = m.memory_id)"
    assert await line.rows(mentions) == []
    assert await ben.recalled("who repairs accordions?") == []
    assert await eva.recalled("who repairs accordions?") == ["She repairs accordions in a cellar"]

    async def receipted() -> bool:
        asked = (erasure.meta.command_id,)
        return bool(
            await key_store_rows(line, "SELECT 1 FROM forgetting WHERE request_id = %s AND receipt_id IS NOT NULL", asked)
        )

    await until(receipted, "nothing more is written about the erasure", 60)
    await line.projected()
    assert await live_digest(line) == await rebuilt_digest(line)

    # who comes back is somebody new, at once
    await line.publish([ben.turn("He has taken up the harp")])

    async def known_again() -> bool:
        return await ben.told_by_the_command_line("what has he taken up?") == ["He has taken up the harp"]

    await until(known_again, "what the owner says after the erasure is remembered")
    assert await ben.contents() == [], "under another reference"
