"""Forgetting twice, what is unknown, and very much at once, with SIGKILLs at each step: the same end, one receipt."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from secrets import token_hex
from uuid import uuid4

import pytest

from ops.local.addresses import ServiceAddresses
from schemas import ids
from schemas.types import CommandMeta, CommandNoted, CommandRejected, Fact, FactsExtracted, MessageRef, Sealed
from tests.line.conftest import MakeLine
from tests.line.support.forgetting import (
    Forgetting,
    both,
    events_of,
    fingerprints,
    forget,
    key_store_rows,
    memory_that_says,
    receipted,
    send,
)
from tests.line.support.forgotten import End
from tests.line.support.held import Held
from tests.line.support.line import Line
from tests.line.support.speaker import Speaker
from tests.line.support.waiting import until

OTHER = "Her brother mends nets in Quellón"
THIRD = "She takes the ferry on Fridays"


@pytest.fixture(scope="module")
async def broken(services: ServiceAddresses, make_line: MakeLine) -> AsyncIterator[Line]:
    """A line of this file's own, without processes."""
    line = make_line(services, settings={"EMBERLOG_SESSION_TIMEOUT_S": "4"})
    await line.prepare()
    yield line
    await line.close()


@pytest.fixture
def secret() -> str:
    """Words that no other test says."""
    return f"Her locker code at the harbour is {token_hex(4)}"


async def answers(speaker: Speaker, *command_ids: str) -> list[list[str]]:
    """By command, why nothing changed; waited for until each has such an event."""
    found: dict[str, list[str]] = {}

    async def there() -> bool:
        found.clear()
        for event in await events_of(speaker):
            if isinstance(event, CommandNoted | CommandRejected) and event.meta.command_id in command_ids:
                found.setdefault(event.meta.command_id, []).append(f"{type(event).__name__}: {event.reason}")
        return len(found) == len(set(command_ids))

    await until(there, "the commands are decided", 60)
    return [found[command_id] for command_id in command_ids]


async def ask_twice_and_again(speaker: Speaker, memory: str) -> Forgetting:
    """One command sent twice, and another for the same memory."""
    async with speaker.line.commands() as producer:
        [command] = await producer.forget(speaker.reference, [memory])
        await producer.send(command)
    again = await forget(speaker, memory)
    assert await answers(speaker, command.meta.command_id, again.id) == [
        ["CommandNoted: it was decided before"],
        ["CommandNoted: 1 memories were forgotten before"],
    ]
    return Forgetting(command.meta.command_id, 1)


async def test_a_forget_that_is_sent_twice_and_asked_for_again_forgets_once_with_one_receipt(line: Line, secret: str) -> None:
    eva = Speaker(line, "default/user/eva")
    await eva.say(secret, OTHER)
    forgetting = await ask_twice_and_again(eva, await memory_that_says(eva, secret))
    await End(eva, [forgetting], gone=[secret], kept=[OTHER]).prove(alone=False)


@pytest.mark.slow
async def test_a_forget_of_what_is_unknown_is_rejected_with_a_reason_and_without_a_receipt(line: Line, secret: str) -> None:
    eva, mara = Speaker(line, "default/user/eva"), Speaker(line, "default/user/mara")
    await eva.say(secret, OTHER)
    await mara.say(THIRD)
    of_mara = await memory_that_says(mara, THIRD)
    nobodys, anothers = await forget(eva, str(uuid4()), str(uuid4())), await forget(eva, of_mara)
    assert await answers(eva, nobodys.id, anothers.id) == [
        ["CommandRejected: 2 of 2 memories are unknown"],
        ["CommandRejected: 1 of 1 memories are unknown"],
    ]
    await End(eva, [], gone=[], kept=[secret, OTHER]).prove(alone=False)

    partly = await forget(eva, await memory_that_says(eva, secret), of_mara)
    assert await answers(eva, partly.id) == [["CommandRejected: 1 of 2 memories are unknown"]]
    await End(eva, [Forgetting(partly.id, 1)], gone=[secret], kept=[OTHER]).prove(alone=False)
    await End(mara, [], gone=[], kept=[THIRD]).prove(alone=False)


# -- a kill at each step

STEPS = {
    "decided, not written": ("worker", "before 1 streams.protocol.batch:append"),
    "written, not read back": ("worker", "after 1 streams.protocol.batch:append"),
    "without a tombstone of the vector": ("worker", "before 1 streams.agents.embed:Embed._forgotten"),
    "before the keys are destroyed": ("project", "before 1 ops.keys.destroying:Destroyer.destroy_statements"),
    "keys destroyed, not noted": ("project", "after 1 ops.keys.destroying:Destroyer.destroy_statements"),
    "the archive not changed": ("project", "before 1 projections.views.thermal:ThermalView.apply"),
    "the vectors not changed": ("project", "before 1 projections.views.graph:GraphView.apply"),
    "one store confirmed": ("project", "before 2 streams.producers:CommandProducer.send"),
    "confirmed, no receipt": ("project", "before 4 streams.producers:CommandProducer.send"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "place"), STEPS.values(), ids=STEPS)
async def test_wherever_a_kill_hits_a_forget_that_is_asked_for_twice_the_end_is_the_same(
    broken: Line, secret: str, kind: str, place: str, tmp_path: Path
) -> None:
    line, eva = broken, Speaker(broken, "default/user/eva")
    worker, projector = await both(line)
    await eva.say(secret, OTHER)
    memory = await memory_that_says(eva, secret)
    (worker if kind == "worker" else projector).kill()
    held = Held(place, tmp_path)
    victim = await held.start(line, kind)
    async with line.commands() as producer:
        [command] = await producer.forget(eva.reference, [memory])
    await until(lambda: held.reached, "it stands there")
    victim.kill()
    async with line.commands() as producer:
        await producer.send(command)
    again, unknown = await forget(eva, memory), await forget(eva, str(uuid4()))
    await both(line)
    assert await answers(eva, command.meta.command_id, again.id, unknown.id) == [
        ["CommandNoted: it was decided before"],
        ["CommandNoted: 1 memories were forgotten before"],
        ["CommandRejected: 1 of 1 memories are unknown"],
    ]
    await End(eva, [Forgetting(command.meta.command_id, 1)], gone=[secret], kept=[OTHER]).prove()


@pytest.mark.slow
async def test_confirmations_that_are_sent_again_after_a_kill_bring_one_receipt(
    broken: Line, secret: str, tmp_path: Path
) -> None:
    line, eva = broken, Speaker(broken, "default/user/eva")
    worker, projector = await both(line)
    await eva.say(secret, OTHER)
    projector.kill()
    held = Held("before 1 streams.producers:CommandProducer.send", tmp_path)
    victim = await held.start(line, "project")
    forgetting = await forget(eva, await memory_that_says(eva, secret))
    await until(lambda: held.reached, "the stores are about to confirm")
    worker.kill()  # nobody decides what they send
    sent = await commands_on(line)
    held.go()
    await until(partial(_more_commands, line, sent + 4), "the stores confirmed and asked for the receipt")
    victim.kill()
    await line.start("project")
    await until(partial(_more_commands, line, sent + 8), "the next ones did so again")
    await both(line)
    await End(eva, [forgetting], gone=[secret], kept=[OTHER]).prove()


async def commands_on(line: Line) -> int:
    """Commands on their topic."""
    return sum((await line.ends(line.topics.commands)).values())


async def _more_commands(line: Line, number: int) -> bool:
    return await commands_on(line) >= number


# -- very much at once

FACTS_IN_A_TURN = 200


def turns_that_say(speaker: Speaker, texts: Sequence[str], prints: Sequence[str]) -> Iterator[FactsExtracted]:
    """What an extractor would make of turns that say all this: cheaper than to let it."""
    policy = speaker.line.as_settings.policy
    said = iter(zip(texts, prints, strict=True))
    while facts := list(islice(said, FACTS_IN_A_TURN)):
        turn = str(uuid4())
        evidence = (MessageRef(ids.message_id(turn, 0), Sealed.of(f"m-{turn}")),)
        yield FactsExtracted(
            meta=CommandMeta(turn, speaker.reference, datetime(2026, 2, 3, tzinfo=UTC), "test"),
            user_id=Sealed.of(speaker.owner.id),
            agent_id="assistant",
            session_id=Sealed.of("s-1"),
            source_offset=0,
            facts=tuple(Fact(Sealed.of(text), print_, evidence, 0.5) for text, print_ in facts),
            failed=0,
            skipped_short=0,
            extractor="mem0",
            model="recorded",
            prompt_version="1",
            prompt_tokens=0,
            completion_tokens=0,
            rules=False,
            policy=policy,
        )


async def forget_through_kills(line: Line, number: int) -> None:
    """Worker and projector are killed when the first part is carried out, and again after the second."""
    eva = Speaker(line, "default/user/eva")
    await both(line)
    await eva.say(OTHER)
    texts = [f"The drawer {n} of her desk opens with {n * 7919 % 100_003}" for n in range(number)]
    await send(eva, *turns_that_say(eva, texts, await fingerprints(eva, texts)))
    await until(lambda: _remembered(eva, number + 1), "all is remembered", 300)
    await line.projected(600)
    memories = [str(row["id"]) for row in await eva.archive() if row["original_content"] != OTHER]

    forgetting = await forget(eva, *memories)
    for begun in (
        "SELECT 1 FROM forgetting WHERE owner = %s",
        "SELECT 1 FROM forgetting WHERE owner = %s HAVING count(*) > 1",
    ):
        await until(partial(key_store_rows, line, begun, (eva.reference,)), "the forgetting is under way", 120)
        for process in await both(line):
            process.kill()
        await both(line)
    await receipted(eva, forgetting, deadline_s=300)
    await End(eva, [forgetting], gone=texts, kept=[OTHER]).prove(anew=True)


async def _remembered(speaker: Speaker, number: int) -> bool:
    query = "SELECT count(*) FROM thermal_memory_archive WHERE owner = %s"
    return bool((await speaker.line.rows(query, (speaker.reference,)))[0][0] == number)


@pytest.mark.slow
async def test_a_thousand_memories_at_once_are_forgotten_through_kills(broken: Line) -> None:
    await forget_through_kills(broken, 1_000)


@pytest.mark.prove
async def test_ten_thousand_memories_at_once_are_forgotten_through_kills(broken: Line) -> None:
    await forget_through_kills(broken, 10_000)
