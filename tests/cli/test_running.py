"""The commands on a running set: real Kafka, real PostgreSQL, worker and projector as `emberlog up` runs them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer

from ops.local.services import LocalServices
from projections.views import REGISTRY
from tests.cli.conftest import LATER, SICK
from tests.cli.support import EMBERLOG, Cli, Inside, reference, until
from tests.standin.live import LiveStandin

TEMPERATURE = 75.0


def _bootstrap(running: Cli) -> str:
    services = LocalServices(running.cwd / ".emberlog")
    assert services.status() == {"kafka": "healthy", "postgres": "healthy", "redis": "healthy"}
    return services.addresses.kafka_bootstrap


def _put(bootstrap: str, *values: bytes) -> None:
    async def put() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        await producer.start()
        for value in values:
            await producer.send_and_wait("conversation.inbox.v1", value)
        await producer.stop()

    asyncio.run(put())


def test_a_statement_becomes_a_memory_that_can_be_recalled_with_its_reasons(running: Cli) -> None:
    said = running.ok("publish", "--owner", "ana", "--text", "I moved to Lima in spring.", "--wait", "--json").json
    assert (said["published"], said["extracted"], said["new"], said["updated"], said["errors"]) == (1, 1, 1, 0, 0)
    assert said["missing"] == []

    answer = running.ok("recall", "where did she move?", "--owner", "default/user/ana", "-k", "1", "--json").json["answers"][0]
    memory, [source] = answer["memory"], answer["sources"]
    assert memory["content"] == "User moved to Lima in spring"
    assert TEMPERATURE - 0.1 < memory["temperature"] <= TEMPERATURE
    assert memory["provenance"]["topic"] == "memory.events.v1"
    assert source["messages"][0]["content"] == "I moved to Lima in spring."

    text = running.ok("recall", "where did she move?", "--owner", "ana").out
    for part in ("75.0° now", f"memory {memory['memory_id']}", "└ event 1 of its owner", "└ turn", "user: “I moved to Lima"):
        assert part in text


def test_a_statement_said_again_warms_the_memory_it_made(inside: Inside) -> None:
    at = datetime.now(UTC).isoformat()
    for _ in range(2):
        last = inside.ok("publish", "--owner", "bo", "--text", "I am afraid of heights.", "--at", at, "--wait", "--json").json
    assert (last["extracted"], last["new"], last["updated"]) == (1, 0, 1)
    [answer] = inside.ok("recall", "what is bo afraid of", "--owner", "bo", "--json").json["answers"]
    assert answer["memory"]["temperature_at_last_access"] == TEMPERATURE + 5
    assert answer["memory"]["access_count"] == 2
    assert len(answer["sources"]) == 2


def test_a_turn_published_twice_by_its_id_changes_nothing(inside: Inside) -> None:
    line = {
        "id": "t-1",
        "owner": "cy",
        "session_id": "s",
        "messages": [{"role": "user", "content": "Canto en un coro los lunes."}],
    }
    for _ in range(2):
        inside.ok("publish", "-", "--wait", input=json.dumps(line).encode())
    [answer] = inside.ok("recall", "¿cuándo canta?", "--owner", "cy", "--json").json["answers"]
    assert answer["memory"]["access_count"] == 1


def test_every_topic_is_shown_readable_and_as_json(inside: Inside) -> None:
    inside.ok("publish", "--owner", "di", "--text", "I sing in a choir on Mondays.", "--wait")
    kinds = {
        "conversation": "ConversationTurn",
        "memory.commands.v1": "FactsExtracted",
        "events": "MemoryAdded",
    }
    for topic, kind in kinds.items():
        [record] = inside.ok("tail", topic, "--owner", "default/user/di", "--json").lines
        assert (record["type"], record["problem"]) == (kind, None)
        assert "choir" in json.dumps(record["record"])
    assert record["key"] == reference(inside, "di")
    assert record["headers"]["ce_type"] == "emberlog.MemoryAdded.v1"
    line = inside.ok("tail", "--owner", "di").out
    assert "MemoryAdded" in line
    assert "75.0°  “User sings in a choir on Mondays”" in line
    until(lambda: len(inside.ok("tail", "embeddings", "--owner", "di", "--json").lines) == 2, 20)
    vectors = inside.ok("tail", "memory.embeddings.v1", "--owner", "di", "--json").lines
    assert {v["type"] for v in vectors} == {"MemoryEmbedding", "MessageEmbedding"}
    assert all(len(v["record"]["vector"]) == v["record"]["dimensions"] == 256 for v in vectors)
    assert "no topic" in inside.fails("tail", "nonsense", code=2)


@contextmanager
def following(running: Cli, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """``emberlog tail … --follow``, and the lines that it has shown so far; it is ended with the block."""
    command = [str(EMBERLOG), "tail", *arguments, "--follow", "--json"]
    process = subprocess.Popen(command, cwd=running.cwd, env=running.variables(), stdout=subprocess.PIPE, text=True)
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda shown=process.stdout: lines.extend(iter(shown.readline, "")))
    reader.start()
    try:
        yield process, lines
    finally:
        process.kill()
        reader.join()
        process.communicate()


@pytest.mark.slow
def test_tail_follows_an_owner_who_is_not_known_yet_until_it_is_stopped(running: Cli) -> None:
    with following(running, "events", "--owner", "flo") as (process, lines):
        running.ok("publish", "--owner", "flo", "--text", "I am afraid of heights.", "--wait")
        until(lambda: lines, 30)
        assert json.loads(lines[0])["record"]["content"] == "User is afraid of heights"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_tail_shows_the_inbox_while_it_is_written_since_admitted_records_are_deleted_from_it(running: Cli) -> None:
    with following(running, "inbox", "--owner", "gus", "-n", "0") as (_, lines):

        def shown() -> bool:
            # again until it follows: what came before that is not shown
            running.ok("publish", "--owner", "gus", "--text", "I sing in a choir on Mondays.")
            return bool(lines)

        until(shown, 30)
        assert json.loads(lines[0])["type"] == "InboxTurn"
        assert "choir" in lines[0]


def test_what_somebody_wrote_neither_steers_the_terminal_nor_counts_as_markup(inside: Inside) -> None:
    text = "\x1b[2J[red]I paint small boats [in oil]."
    inside.ok("publish", "--owner", "eva", "--text", text, "--wait")
    assert "·[2J[red]I paint small boats [in oil]." in inside.ok("tail", "conversation", "--owner", "eva").out
    [record] = inside.ok("tail", "conversation", "--owner", "eva", "--json").lines
    assert record["record"]["messages"][0]["content"] == text


def test_a_memory_is_forgotten_everywhere_and_the_answer_says_so(inside: Inside) -> None:
    inside.ok("publish", "--owner", "gil", "--text", "My badge number is 7731.", "--wait")
    [answer] = inside.ok("recall", "badge number", "--owner", "gil", "--json").json["answers"]
    memory_id = answer["memory"]["memory_id"]
    assert "fits no live memory of this owner" in inside.fails("forget", memory_id[:8], "--owner", "di", code=2)

    told = inside.ok("forget", memory_id[:8], "--owner", "gil").out
    assert f"forgotten  {memory_id}" in told
    assert "1 source message stay" in told
    assert inside.ok("recall", "badge number", "--owner", "gil", "--json").json["answers"] == []
    assert "nothing is remembered" in inside.ok("recall", "badge number", "--owner", "gil").out
    assert "forgotten before" in inside.ok("forget", memory_id, "--owner", "gil").out
    unknown = inside.fails("forget", "00000000-0000-5000-8000-000000000000", "--owner", "gil", code=1)
    assert "1 of 1 memories are unknown" in unknown


def test_what_a_failing_model_leaves_is_parked_and_a_retry_heals_it_in_order(inside: Inside, standin: LiveStandin) -> None:
    standin.control(overrides={SICK: "error"})
    try:
        said = inside.run("publish", "--owner", "hal", "--text", SICK, "--wait", "--json")
        assert said.code == 1
        [reason] = said.json["parked"].values()
        assert "HTTP 500" in reason
        inside.run("publish", "--owner", "hal", "--text", LATER, "--wait", "--json")
        first, second = inside.ok("parked", "list", "--owner", "hal", "--json").json
        assert second["behind"] == first["parked_id"]
        assert first["parked_id"] in inside.ok("parked", "list").out
        shown = inside.ok("parked", "show", first["parked_id"][:8]).out
        assert SICK in shown
        assert "HTTP 500" in shown

        again = inside.run("parked", "retry", first["parked_id"], "--json")
        assert again.code == 1
        assert list(again.json["failed"]) == [first["parked_id"]]
    finally:
        standin.control(overrides={})
    healed = inside.ok("parked", "retry", "--owner", "hal", "--json").json
    assert set(healed["healed"]) == {first["parked_id"], second["parked_id"]}
    assert inside.ok("parked", "list", "--owner", "hal", "--json").json == []
    events = inside.ok("tail", "events", "--owner", "hal", "--json").lines
    assert [e["record"]["content"] for e in events] == ["User keeps bees on the roof", "User's hives hold forty thousand bees"]


def test_what_cannot_be_admitted_is_parked_alone_and_can_be_dropped(inside: Inside) -> None:
    _put(_bootstrap(inside), b"{ not json", b'{"owner": "ida"}')
    until(lambda: len(inside.ok("parked", "list", "--json").json) == 2, 30)
    entries = inside.ok("parked", "list", "--json").json
    assert {(e["stage"], e["owner"]) for e in entries} == {("admit", None)}
    [missing] = [e for e in entries if "session_id" in e["reason"]]
    assert '"owner": "ida"' in inside.ok("parked", "show", missing["parked_id"]).out
    assert "failed" in inside.run("parked", "retry", missing["parked_id"]).out
    assert "say which" in inside.fails("parked", "drop", code=2)
    assert "Aborted" in inside.run("parked", "drop", "--all", input=b"n\n").err
    assert inside.ok("parked", "drop", "--all", "--yes", "--json").json["dropped"]
    assert "nothing is parked" in inside.ok("parked", "list").out


def test_views_are_what_the_log_says_and_a_rebuilt_one_takes_over(inside: Inside) -> None:
    inside.ok("publish", "--owner", "jo", "--text", "I am afraid of heights.", "--wait")
    reports = inside.ok("verify", "--json").json
    assert {r["view"] for r in reports} == set(REGISTRY)
    assert all(r["equal"] and not r["promoted"] for r in reports)
    rebuilt = inside.ok("rebuild", "thermal", "--promote", "--json").json
    assert rebuilt["promoted"]
    assert rebuilt["digest_live"] == rebuilt["digest_rebuilt"]
    assert rebuilt["new_generation"] == rebuilt["live_generation"] + 1
    inside.ok("publish", "--owner", "jo", "--text", "I moved to Lima in spring.", "--wait")
    assert len(inside.ok("recall", "heights Lima", "--owner", "jo", "--json").json["answers"]) == 2
    assert "equal" in inside.ok("verify", "thermal").out


def test_status_and_counts_add_up(inside: Inside) -> None:
    inside.ok("publish", "--owner", "kim", "--text", "I am afraid of heights.", "--wait")

    def caught_up() -> bool:
        status = inside.ok("status", "--json").json
        return bool(
            status["kafka"] == status["postgres"] == status["key_store"] == "ok"
            and set(status["views"]) == {*REGISTRY, "keys"}
            and all(lag == 0 for lag in status["agents"].values())
            and status["working_set"] == {"state": "ok", "lag": 0}
            and all(v["lag"] == v["alarms"] == v["problems"] == 0 for v in status["views"].values())
        )

    until(caught_up, 30)
    status = inside.ok("status", "--json").json
    counts = inside.ok("counts", "--json", "-n", "3").json
    assert status["topics"]["memory.events.v1"]["partitions"] == 4
    assert status["topics"]["memory.embeddings.v1"]["records"] >= counts["totals"]["new"]
    assert counts["totals"]["extracted"] == counts["totals"]["new"] + counts["totals"]["updated"]
    assert len(counts["last"]) == 3
    assert "memory.events.v1" in inside.ok("status").out
    assert "working set  ok, 0 records to do" in inside.ok("status").out
    assert f"{counts['turns']} turns" in inside.ok("counts").out


def test_setup_can_be_repeated(inside: Inside) -> None:
    assert "none, all are there" in inside.ok("setup").out


def test_a_second_set_on_the_same_folder_is_refused(running: Cli) -> None:
    assert "Emberlog already runs on .emberlog" in running.fails("up", code=1)


def test_other_partitions_than_the_topics_have_are_refused(inside: Inside) -> None:
    other = Inside(inside.cwd, {**inside.environment, "EMBERLOG_PARTITIONS": "8"})
    assert "set EMBERLOG_PARTITIONS=4" in other.fails("remember", "anything", "--owner", "u", code=2)
    assert "has 4 partitions, the settings say 8" in other.fails("setup", code=1)


@pytest.mark.slow
def test_a_second_projector_is_refused_and_the_first_stays_healthy(running: Cli) -> None:
    error = running.fails("project", "thermal", "--partitions", "0,1", code=1)
    assert "another projector keeps partition 0, 1 of view thermal" in error
    assert "emberlog project thermal --partitions" in error
    assert "there is no partition 4" in running.fails("project", "--partitions", "2-4", code=2)
    assert "healthy" in running.ok("health").out
    seen = running.ok("status", "--json").json
    assert seen["stalled"] == {}
    for view in seen["views"].values():
        assert [place["running"] for place in view["partitions"]] == [True] * len(view["partitions"]) != []
    text = running.ok("status", "--partitions").out
    assert "seconds behind" in text
    assert "moved s ago" in text
