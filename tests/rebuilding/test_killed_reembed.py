"""``emberlog reembed`` killed again and again: in the end the vectors are those of one that nobody killed."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ops.keyring import open_keys
from ops.local.addresses import ServiceAddresses
from schemas.sealing import open_all
from schemas.types import MemoryEmbedding, MessageEmbedding
from tests.line.conftest import MakeLine
from tests.line.support.line import Line
from tests.line.support.reading import read_all
from tests.line.support.seeds import chosen_seed, say
from tests.line.support.waiting import until
from tests.rebuilding.forking import Forge, forge
from tests.rebuilding.history import History
from tests.rebuilding.stores import level

DIMENSIONS = 32
VECTORS = "SELECT trace_id::text, head, dimensions, vec::text FROM {} WHERE model = %s ORDER BY 1, 2"


@pytest.fixture
async def alone(services: ServiceAddresses, make_line: MakeLine) -> AsyncIterator[Line]:
    """A line of the test's own, whose embedder can be told to be slow."""
    line = make_line(services, settings={"EMBERLOG_SESSION_TIMEOUT_S": "3"})
    await line.prepare()
    yield line
    line.standin.control(embedding_latency_s=0.0)
    await line.close()


async def vectors_of(line: Line, model: str) -> dict[tuple[str, str], tuple[Any, ...]]:
    """By memory or message, and head: the newest vector on the topic, opened, and what of it is not the model's name."""
    newest: dict[bytes, Any] = {}
    for message, record in await read_all(line.bootstrap, line.topics.embeddings, line.topics.partitions):
        newest[message.key] = record
    ours = [r for r in newest.values() if isinstance(r, MemoryEmbedding | MessageEmbedding) and r.model == model]
    async with open_keys(line.as_settings, line.dsn) as ring:
        opened = await open_all(ring.keys, ours)
    found = {}
    for record in opened:
        if not record.vector.is_destroyed:
            item = record.memory_id if isinstance(record, MemoryEmbedding) else record.message_id
            sequence = record.sequence if isinstance(record, MemoryEmbedding) else None
            found[item, record.head] = (record.owner, record.dimensions, record.vector.raw, sequence)
    return found


def reembed(line: Line, model: str) -> tuple[str, ...]:
    return ("reembed", "--model", model, "--dim", str(DIMENSIONS), "--base-url", line.standin.base_url, "--json")


async def kill_in_the_middle(line: Line, forged: Forge, model: str, texts: int) -> bool:
    """Start it, and kill it once it has asked for so many texts; whether it still ran then."""
    line.standin.control(reset_stats=True)
    child = await forged.start(line, *reembed(line, model))
    await until(lambda: line.standin.count("embedding_texts") >= texts or not child.runs, f"{texts} texts are embedded", 60)
    ran = child.runs
    await child.kill()
    return ran


@pytest.mark.slow
async def test_a_reembed_that_is_killed_ends_with_the_vectors_of_one_that_was_not(alone: Line) -> None:
    seed = chosen_seed()
    chance, history = random.Random(seed), History(alone, 400, seed)
    await alone.start("project")
    await history.write(400)
    await level(alone)
    async with forge() as forged:
        alone.standin.control(embedding_latency_s=0.2)
        kills = [chance.randint(1, 150) for _ in range(3)]
        ran = [await kill_in_the_middle(alone, forged, "killed", texts) for texts in kills]
        alone.standin.control(embedding_latency_s=0.0)
        assert any(ran), "none was killed in the middle"
        assert await vectors_of(alone, "killed"), "nothing was done before the kills"
        for model in ("killed", "calm"):
            done = await (await forged.start(alone, *reembed(alone, model))).ended()
            assert done.code == 0, done.err
    counts = json.loads(done.out)["models"]
    assert counts["killed"] == counts["calm"]
    calm = await vectors_of(alone, "calm")
    assert await vectors_of(alone, "killed") == calm
    assert {owner for owner, *_ in calm.values()} <= {person.reference for person in history.life.people}
    await level(alone)
    for table in ("memory_embedding", "waiting_embedding"):
        rows = {model: await alone.rows(VECTORS.format(table), (model,)) for model in ("killed", "calm")}
        assert rows["killed"] == rows["calm"], table
    assert len(rows["calm"])
    say(f"seed {seed}: killed after {kills} texts, {ran.count(True)} times in the middle; {len(calm)} vectors")
