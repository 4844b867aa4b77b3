"""The AsyncAPI document, part by part. Operations are written from the view of a client."""

from __future__ import annotations

import json

from schemas.asyncapi.channels import CHANNELS, Channel
from schemas.asyncapi.forms import Json, json_form, personal_fields
from schemas.asyncapi.headers import event_headers, message_headers, record_headers, tombstone_headers
from schemas.topic_records import TOPIC_RECORDS
from schemas.topics import Topics, TopicSpec
from schemas.types import EVENTS, InboxTurn, Record
from schemas.versions import FILES

AVRO = "application/vnd.apache.avro+json;version=1.9.0"
KAFKA_BINDING = "0.5.0"
HOUR_MS = 3_600_000

ABOUT = (
    "Memory of AI agents as an event-sourced stream on Kafka. Operations are written from the view of a client. Values are in "
    "Avro single-object encoding: two marker bytes C3 01, the CRC-64-AVRO fingerprint of the writer's schema as 8 bytes little "
    "endian (x-fingerprints of a message has those of all its versions, in this order), the body. Where a schema registry is "
    "configured they are in its framing instead: a byte 0, the registry's id of the schema as 4 bytes big endian, the body. A "
    "payload here is the newest version of its type; the folder schemas/avro holds every version. Fields about a person carry "
    "`pii` in their schema, and their paths stand in x-pii of the message. Every header is UTF-8 text. In every topic but the "
    "inbox an owner has the same partition: Kafka's murmur2 of the owner reference."
)

TURN: Json = {
    "id": "chat-7-turn-1",
    "owner": "default/user/u-1",
    "session_id": "chat-7",
    "occurred_at": "2024-05-01T12:00:00+00:00",
    "messages": [{"role": "user", "content": "I am allergic to walnuts."}],
}


def document(topics: Topics | None = None) -> Json:
    """The AsyncAPI 3.0 document of the contract on ``topics`` (default: no prefix): plain dicts, lists and scalars."""
    topics = topics or Topics()
    specs = {spec.name: spec for spec in topics.specs()}
    channels: Json = {}
    operations: Json = {}
    messages: Json = {}
    for topic, kinds in TOPIC_RECORDS.items():
        if (spec := specs.get(getattr(topics, topic, ""))) is None:
            continue  # its records are there, the topic is not made yet
        found = _messages(kinds, CHANNELS[topic], compacted=_compacted(spec))
        messages |= found
        channels[topic] = _channel(spec, CHANNELS[topic], list(found))
        operations |= _operations(topic, CHANNELS[topic], list(found))
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Emberlog", "version": "v1", "description": ABOUT, "license": {"name": "Apache-2.0"}},
        "defaultContentType": "application/avro",
        "servers": {"kafka": _server()},
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "messageTraits": {"record": {"headers": record_headers()}, "event": {"headers": event_headers()}},
        },
    }


def _server() -> Json:
    return {
        "host": "{bootstrap}",
        "protocol": "kafka",
        "description": "Your broker. An installation may put a prefix before the name of every topic (EMBERLOG_TOPIC_PREFIX).",
        "variables": {"bootstrap": {"default": "localhost:9092", "description": "Bootstrap server, host:port."}},
    }


def _compacted(spec: TopicSpec) -> bool:
    return "compact" in spec.config["cleanup.policy"].split(",")


def _retention(spec: TopicSpec) -> str:
    if _compacted(spec):
        return "Compacted: at least the newest record of each key is kept."
    kept_ms = int(spec.config["retention.ms"])
    return "Kept for ever." if kept_ms < 0 else f"Deleted after {kept_ms / HOUR_MS:g} hours."


def _channel(spec: TopicSpec, about: Channel, messages: list[str]) -> Json:
    config: Json = {name: int(value) if value.lstrip("-").isdigit() else value for name, value in spec.config.items()}
    config["cleanup.policy"] = spec.config["cleanup.policy"].split(",")
    partitions = "All topics have the same number of partitions, a setting; the one here is the default."
    return {
        "address": spec.name,
        "title": about.title,
        "description": f"{about.holds} Key: {about.key} {_retention(spec)} {partitions}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "kafka": {"partitions": spec.partitions, "topicConfiguration": config, "bindingVersion": KAFKA_BINDING},
        },
    }


def _messages(kinds: tuple[type[Record], ...], about: Channel, *, compacted: bool) -> Json:
    """Messages of one topic by name: one per type, the JSON form of a turn, the tombstones of a compacted topic."""
    found = {kind.__name__: _message(kind) for kind in kinds}
    if InboxTurn in kinds:
        found["InboxTurnJson"] = _turn_as_json()
    if compacted:
        found |= {f"{kind.__name__}Tombstone": _tombstone(kind) for kind in kinds}
    key = {"type": "string", "description": about.key}
    bindings = {"bindings": {"kafka": {"key": key, "bindingVersion": KAFKA_BINDING}}}
    return {name: message | bindings for name, message in found.items()}


def _message(kind: type[Record]) -> Json:
    name = kind.__name__
    avro: Json = json.loads(FILES.text(name))
    message: Json = {"name": FILES.full_name(name), "title": name, "description": avro["doc"]}
    if kind is not InboxTurn:  # its headers are not read, so a client may leave them out
        trait = "event" if kind in EVENTS else "record"
        message |= {"traits": [{"$ref": f"#/components/messageTraits/{trait}"}], "headers": message_headers(name)}
    return message | {
        "payload": {"schemaFormat": AVRO, "schema": avro},
        "x-fingerprints": {f"v{version}": FILES.fingerprint(name, version) for version in FILES.versions(name)},
        "x-pii": personal_fields(avro),
    }


def _turn_as_json() -> Json:
    name = InboxTurn.__name__
    avro: Json = json.loads(FILES.text(name))
    return {
        "name": f"{FILES.full_name(name)}.json",
        "title": f"{name} as JSON",
        "description": f"{avro['doc']} The same fields as JSON text; fields that are not known are ignored.",
        "contentType": "application/json",
        "payload": json_form(avro),
        "examples": [{"name": "turn", "payload": TURN}],
        "x-pii": personal_fields(avro),
    }


def _tombstone(kind: type[Record]) -> Json:
    return {
        "name": f"{FILES.full_name(kind.__name__)}.tombstone",
        "title": f"{kind.__name__}, gone",
        "description": "A null value: what stood under this key is gone, and should leave your store as well.",
        "headers": tombstone_headers(),
        "payload": {"type": "null"},
    }


def _operations(topic: str, about: Channel, messages: list[str]) -> Json:
    found: Json = {}
    for action, summary in (("send", about.send), ("receive", about.receive)):
        if summary:
            found[f"{action}{topic.title()}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{topic}"},
                "summary": summary,
                "messages": [{"$ref": f"#/channels/{topic}/messages/{name}"} for name in messages],
            }
    return found
