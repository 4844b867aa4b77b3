"""Headers of the records as JSON Schema: CloudEvents 1.0 in binary mode, and what the decider's protocol adds.

On the wire every header is UTF-8 text, numbers in decimal digits.
"""

from __future__ import annotations

from typing import Any

from schemas.asyncapi.forms import Json
from schemas.slices import SLICE_FIRST, SLICE_ID, SLICE_SIZE
from schemas.versions import FILES


def _text(description: str, **more: Any) -> Json:
    return {"type": "string", "description": description} | more


def _number(description: str) -> Json:
    return _text(description, pattern="^[0-9]+$")


def _of(required: Json, optional: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": required | optional}


def _always() -> Json:
    return {
        "ce_specversion": _text("Version of CloudEvents.", const="1.0"),
        "ce_id": _text("Id of the record; the same record written again has the same."),
        "ce_type": _text("Type of the record."),
        "ce_source": _text("Component that wrote it."),
        "ce_time": _text("Time of what it tells, ISO 8601 with offset.", format="date-time"),
        "ce_dataschema": _text("Fingerprint of the writer's schema.", pattern="^urn:emberlog:avro:[0-9a-f]{16}$"),
        "content-type": _text("Media type of the value.", const="application/avro"),
    }


def _subject() -> Json:
    return {"ce_subject": _text("Owner reference, UUID.")}


def _trace() -> Json:
    return {"traceparent": _text("W3C trace context, where the work is traced.")}


def record_headers() -> Json:
    """Headers of any record but a memory event."""
    return _of(_always(), _subject() | _trace())


def event_headers() -> Json:
    """Headers of a memory event."""
    own = {
        "sequence": _number("1, 2, 3... per owner."),
        "causationid": _number("Offset of the command in its memory.commands partition."),
        "deciderversion": _number("Version of the decision rules that wrote it."),
        SLICE_ID: _text("Id of the append that wrote the slice."),
        SLICE_FIRST: _number("First sequence of the slice."),
        SLICE_SIZE: _number("Events in the slice."),
    }
    return _of(_always() | _subject() | own, _trace())


def message_headers(name: str) -> Json:
    """What record type ``name`` adds to the headers of its kind."""
    return {"type": "object", "properties": {"ce_type": {"const": f"emberlog.{name}.v{FILES.newest(name)}"}}}


def tombstone_headers() -> Json:
    """Headers of a null value."""
    return _of({"ce_time": _always()["ce_time"]} | _subject(), {})
