"""The schema registry's client and Confluent's framing, against a small registry over real HTTP."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import fastavro
import pytest

from schemas import codec
from schemas import registry as registry_module
from schemas.errors import BrokenRecord, ContractError, UnknownSchema
from schemas.registry import RegistryRefused, RegistryUnavailable, SchemaRegistry
from schemas.types import RECORDS, CommandMeta, Forget
from schemas.versions import FILES, SchemaFiles
from schemas.wire import confluent_prefix, schema_id_in
from tests.schemas.live_registry import LiveRegistry, serving

FORGET = Forget(CommandMeta("c", "o", datetime(2024, 5, 1, tzinfo=UTC), "cli"), ("m",), 7)
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def live() -> Iterator[LiveRegistry]:
    with serving() as registry:
        yield registry


@pytest.fixture
def client(live: LiveRegistry) -> Iterator[SchemaRegistry]:
    with SchemaRegistry(live.url, start_patience_s=1.0, fetch_patience_s=0.5) as registry:
        yield registry


@pytest.fixture
def in_use(client: SchemaRegistry) -> Iterator[SchemaRegistry]:
    """The registry as this process's own, for one test."""
    codec.use_registry(client)
    yield client
    codec.use_registry(None)


def test_every_type_is_registered_under_its_full_name(live: LiveRegistry, client: SchemaRegistry) -> None:
    ids = client.register_all()
    assert set(ids) == set(FILES.all_versions())
    assert set(live.subjects) == {f"emberlog.v1.{kind.__name__}" for kind in RECORDS}
    held = json.loads(live.schemas[ids["Forget", 1]]["schema"])
    assert held == FILES.raw("Forget", 1), "docs and tags are registered too"
    asked = len(live.requests)
    assert client.register_all() == ids
    assert len(live.requests) == asked, "what is registered is not registered again"


def test_another_process_gets_the_same_ids(live: LiveRegistry, client: SchemaRegistry) -> None:
    with SchemaRegistry(live.url) as other:
        assert other.register_all() == client.register_all()


def test_a_record_is_written_in_confluent_s_framing_and_read_again(live: LiveRegistry, in_use: SchemaRegistry) -> None:
    wire = codec.encode(FORGET)
    assert wire[:1] == b"\0"
    schema_id = int.from_bytes(wire[1:5], "big")
    assert schema_id == live.subjects["emberlog.v1.Forget"][0]
    # as any client of a registry reads it
    schema = json.loads(live.schemas[schema_id]["schema"])
    assert fastavro.schemaless_reader(io.BytesIO(wire[5:]), schema, None)["memory_ids"] == ["m"]
    assert codec.decode(wire) == FORGET
    assert live.asked("/schemas/ids/") == 0, "our own ids are known"


def test_both_framings_are_read_where_a_registry_is_configured(in_use: SchemaRegistry) -> None:
    framed = codec.encode(FORGET)
    codec.use_registry(None)
    single = codec.encode(FORGET)
    assert single[:2] == codec.MARKER
    assert single[codec.HEADER_BYTES :] == framed[5:]
    codec.use_registry(in_use)
    assert codec.decode(single) == codec.decode(framed) == FORGET


def test_without_a_registry_its_framing_is_refused_with_what_to_set(in_use: SchemaRegistry) -> None:
    framed = codec.encode(FORGET)
    codec.use_registry(None)
    with pytest.raises(UnknownSchema, match="EMBERLOG_SCHEMA_REGISTRY_URL"):
        codec.decode(framed)
    assert codec.is_avro(framed)
    assert codec.is_avro(codec.encode(FORGET))
    assert not codec.is_avro(b'{"owner": "u"}')
    assert not codec.is_avro(b"\0\0\0")


def test_an_id_that_another_wrote_is_fetched_once(live: LiveRegistry, in_use: SchemaRegistry) -> None:
    # the same schema as a foreign client registers it: with attributes of its own, under another subject
    text = FILES.text("Forget").replace('"type": "string"', '"type": {"type": "string", "avro.java.string": "String"}')
    foreign = live.register("topic-value", {"schema": text})
    body = codec.encode(FORGET)[5:]
    for _ in range(3):
        assert codec.decode(confluent_prefix(foreign) + body) == FORGET
    assert live.asked(f"/schemas/ids/{foreign}") == 1


def test_an_id_of_a_schema_that_we_lack_is_told_from_broken_bytes(live: LiveRegistry, in_use: SchemaRegistry) -> None:
    foreign = live.register("other", {"schema": '{"type": "record", "name": "Other", "fields": []}'})
    for _ in range(2):
        with pytest.raises(UnknownSchema, match="this version lacks"):
            codec.decode(confluent_prefix(foreign) + b"x")
    assert live.asked(f"/schemas/ids/{foreign}") == 1


@pytest.mark.parametrize(
    "content",
    [
        {"schema": "{}", "schemaType": "JSON"},
        {"schema": "no JSON"},
        {"schema": '"missing.Name"'},
        {"schema": '"string"', "references": [{"name": "a", "subject": "a", "version": 1}]},
    ],
)
def test_an_id_of_something_else_than_avro_is_unknown(
    live: LiveRegistry, client: SchemaRegistry, content: dict[str, str]
) -> None:
    foreign = live.register("other", content)
    for _ in range(2):
        with pytest.raises(UnknownSchema, match=f"schema {foreign} is none of Avro's"):
            client.fingerprint_of(foreign)
    assert live.asked(f"/schemas/ids/{foreign}") == 1


def test_an_id_that_the_registry_lacks_is_asked_for_again_only_after_a_while(
    live: LiveRegistry,
) -> None:
    now = [100.0]
    with SchemaRegistry(live.url, clock=lambda: now[0]) as client:
        for _ in range(3):
            with pytest.raises(UnknownSchema, match="no schema 1"):
                client.fingerprint_of(1)
        assert live.asked("/schemas/ids/1") == 1
        assert live.register("late", {"schema": '"string"'}) == 1
        now[0] += registry_module.MISSING_FOR_S + 1
        assert len(client.fingerprint_of(1)) == 16
        assert live.asked("/schemas/ids/1") == 2


def test_what_is_kept_is_bounded(live: LiveRegistry, client: SchemaRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "KEPT_IDS", 3)
    for number in range(6):
        foreign = live.register(f"s{number}", {"schema": f'{{"type": "fixed", "name": "F", "size": {number + 1}}}'})
        client.fingerprint_of(foreign)
    for missing in range(100, 106):
        with pytest.raises(UnknownSchema):
            client.fingerprint_of(missing)
    asked = live.asked("/schemas/ids/")
    client.fingerprint_of(6)
    assert live.asked("/schemas/ids/") == asked, "the newest are kept"
    client.fingerprint_of(1)
    assert live.asked("/schemas/ids/") == asked + 1, "the oldest had to go"
    assert len(client._fingerprints) == len(client._missing) == 3


def test_a_passing_failure_is_tried_again(live: LiveRegistry, client: SchemaRegistry) -> None:
    live.fail_with = [503, 500, 429]
    assert client.id_of("Forget", 1) == 1
    live.register("other", {"schema": '"string"'})
    live.fail_with = [503]
    assert len(client.fingerprint_of(2)) == 16


def test_a_registry_that_is_away_at_the_start_is_named_without_its_password() -> None:
    with (
        SchemaRegistry("http://me:correct-horse@127.0.0.1:9/x", start_patience_s=0.3) as registry,
        pytest.raises(RegistryUnavailable, match=r"the schema registry at http://127\.0\.0\.1:9/x does not answer") as away,
    ):
        registry.register_all()
    assert "correct-horse" not in str(away.value) + repr(registry.address)


def test_a_registry_that_is_away_is_an_outage_and_no_fault_of_the_record(in_use: SchemaRegistry, live: LiveRegistry) -> None:
    live.fail_with = [503] * 100
    began = time.monotonic()
    with pytest.raises(ConnectionError) as away:
        codec.decode(confluent_prefix(99) + b"x")
    assert not isinstance(away.value, ContractError), "it would be skipped or parked"
    assert time.monotonic() - began < 2
    live.fail_with = []
    with pytest.raises(UnknownSchema):
        codec.decode(confluent_prefix(99) + b"x")


def test_a_registry_that_does_not_answer_in_time_is_an_outage(live: LiveRegistry, client: SchemaRegistry) -> None:
    live.delay_s = 1.5
    with pytest.raises(RegistryUnavailable, match="ReadTimeout"):
        client.fingerprint_of(1)


@pytest.mark.parametrize("status", [400, 401, 403, 418])
def test_an_odd_answer_to_a_reader_is_an_outage_too(live: LiveRegistry, client: SchemaRegistry, status: int) -> None:
    live.fail_with = [status] * 100
    with pytest.raises(RegistryUnavailable, match=f"HTTP {status}"):
        client.fingerprint_of(1)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "refuses the user and password"),
        (403, "refuses the user and password"),
        (404, "no Confluent API"),
        (409, r"emberlog\.v1\.Forget \(version 1\) incompatible"),
        (422, r"does not take emberlog\.v1\.Forget \(version 1\): HTTP 422, error 99"),
    ],
)
def test_a_refusal_at_the_start_says_what_to_change(live: LiveRegistry, client: SchemaRegistry, status: int, says: str) -> None:
    live.fail_with = [status]
    with pytest.raises(RegistryRefused, match=says):
        client.register_all(["Forget"])
    assert len(live.requests) == 1, "a refusal is not tried again"


def test_user_and_password_come_from_the_address() -> None:
    with serving(credentials="me:p%40ss") as live:
        live.credentials = "me:p@ss"
        with SchemaRegistry(f"http://me:p%40ss@127.0.0.1:{live.port}/apis/ccompat/v7") as registry:
            assert registry.register_all(["Forget"]) == {("Forget", 1): 1}
        with (
            SchemaRegistry(f"http://127.0.0.1:{live.port}/apis/ccompat/v7") as stranger,
            pytest.raises(RegistryRefused, match="refuses the user and password"),
        ):
            stranger.register_all(["Forget"])


def test_all_versions_of_a_type_are_registered_oldest_first(live: LiveRegistry, tmp_path_factory: pytest.TempPathFactory) -> None:
    from tests.schemas.made_up import BASE, put, without

    folder = tmp_path_factory.mktemp("avro")
    put(folder, 1, without("length"))
    put(folder, 2, BASE)
    with SchemaRegistry(live.url, SchemaFiles(folder)) as registry:
        assert registry.register_all() == {("Note", 1): 1, ("Note", 2): 2}
    assert live.subjects == {"made.up.Note": [1, 2]}


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\0", b"\1\0\0\0\1", b"\xc3\x01\0\0"])
def test_what_has_neither_framing_is_broken(in_use: SchemaRegistry, data: bytes) -> None:
    with pytest.raises(BrokenRecord, match="framing"):
        codec.decode(data)


def test_a_broken_body_behind_a_known_id_is_broken(in_use: SchemaRegistry) -> None:
    wire = codec.encode(FORGET)
    with pytest.raises(BrokenRecord, match="broken body of a Forget"):
        codec.decode(wire[:-2])
    with pytest.raises(BrokenRecord, match="left over"):
        codec.decode(wire + b"\0")


@pytest.mark.parametrize("schema_id", [0, -1, 2**31])
def test_an_id_that_is_none_is_refused(schema_id: int) -> None:
    with pytest.raises(ValueError, match="31 bits"):
        confluent_prefix(schema_id)


def test_an_id_is_four_bytes_big_endian() -> None:
    assert confluent_prefix(258) == b"\0\0\0\1\2"
    assert schema_id_in(b"\0\0\0\1\2") == 258
