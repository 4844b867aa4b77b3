"""Vectors of messages on the whole line: there once a message was said, and shut for good with it."""

from __future__ import annotations

import numpy as np
import pytest

from ops.keyring import open_keys
from ops.wiring import worker_config
from schemas import ids
from schemas.sealing import open_all
from schemas.types import InboxTurn, MessageEmbedding
from schemas.vectors import unpack
from streams.extraction.embedders import WordLlamaEmbedder
from tests.line.support.line import Line
from tests.line.support.reading import read_all
from tests.line.support.rebuilt import live_digest, rebuilt_digest
from tests.line.support.speaker import Speaker
from tests.line.support.waiting import until

FACT, OTHER = "Her lemon tree stands by the well", "Her quince tree stands by the gate"


def _message_of(speaker: Speaker, turn: InboxTurn) -> str:
    [message] = turn.messages
    assert message.id is not None
    return ids.message_reference(speaker.reference, message.id)


async def _vectors(line: Line, reference: str) -> dict[str, MessageEmbedding]:
    """Vectors of the owner's messages by message, opened as far as their keys are there."""
    found = await read_all(line.bootstrap, line.topics.embeddings, line.topics.partitions)
    records = [record for _, record in found if isinstance(record, MessageEmbedding) and record.owner == reference]
    assert all(record.vector.key_id for record in records), "sealed on the topic"
    async with open_keys(line.as_settings, line.dsn) as ring:
        return {record.message_id: record for record in await open_all(ring.keys, records)}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["forgotten", "erased"])
async def test_the_vector_of_a_message_is_destroyed_with_its_message(line: Line, how: str) -> None:
    speaker = Speaker(line, "default/user/lea")
    reference = speaker.reference
    told, kept = await speaker.say(FACT), await speaker.say(OTHER)
    gone, other = _message_of(speaker, told), _message_of(speaker, kept)

    async def there() -> bool:
        return set(await _vectors(line, reference)) == {gone, other}

    await until(there, "both messages have their vectors", 30)
    vectors = await _vectors(line, reference)
    [expected] = WordLlamaEmbedder().embed_sync([told.messages[0].content])
    read = unpack(vectors[gone].vector.raw, vectors[gone].dimensions)
    assert np.abs(read - np.asarray(expected)).max() < 2**-11
    assert len(vectors[gone].vector.raw) == 2 * vectors[gone].dimensions
    await line.projected()
    query = (
        "SELECT t.content FROM memory_trace t JOIN memory_embedding e ON e.trace_id = t.id WHERE t.id = %s AND t.role = 'user'"
    )
    assert await line.rows(query, (gone,)) == [(told.messages[0].content,)], "what taught something is a trace"

    if how == "forgotten":
        memory = next(m["id"] for m in await speaker.archive() if m["original_content"] == FACT)
        answer = await line.cli("forget", memory, "--include-source", "--owner", str(speaker.owner), "--json")
    else:
        answer = await line.cli("erase", str(speaker.owner), "--yes", "--json")
    assert answer.code == 0, answer.err
    destroyed = {m: record.vector.is_destroyed for m, record in (await _vectors(line, reference)).items()}
    assert destroyed == {gone: True, other: how == "erased"}

    # the graph follows: nothing is skipped, nothing differs after a rebuild
    await line.projected()
    left = [] if how == "erased" else [(other,)]
    for table, column in (("memory_trace", "id"), ("memory_embedding", "trace_id")):
        query = f"SELECT {column}::text FROM {table} WHERE owner = %s AND kind = 'message'"
        assert await line.rows(query, (reference,)) == left
    for table in ("waiting_message", "waiting_embedding"):
        assert await line.rows(f"SELECT 1 FROM {table} WHERE owner = %s", (reference,)) == []
    assert await line.rows("SELECT * FROM emberlog_graph_view_problem") == []
    assert await live_digest(line) == await rebuilt_digest(line)


async def test_a_worker_embeds_as_it_is_set(line: Line) -> None:
    settings = line.as_settings.model_copy(update={"embedding_precision": "fp32", "embed_messages": False})
    for given, expected in ((line.as_settings, ("fp16", True)), (settings, ("fp32", False))):
        async with worker_config(given, line.bootstrap, line.dsn, frozenset({"embed"})) as config:
            assert (config.precision, config.embed_messages) == expected
