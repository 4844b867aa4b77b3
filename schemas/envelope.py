"""Kafka headers: CloudEvents 1.0 in binary mode, plus what the decider's protocol needs.

``ce_subject`` is the owner reference. Memory events also say their slice (see ``slices``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache

from schemas.codec import schema_fingerprint, schema_version
from schemas.errors import BadEnvelope
from schemas.types import Record

Headers = list[tuple[str, bytes]]
CONTENT_TYPE = b"application/avro"


def headers_for(
    record: Record,
    *,
    id: str,
    source: str,
    subject: str | None,
    time: datetime,
    traceparent: str | None = None,
    extra: Mapping[str, str | int] | None = None,
) -> Headers:
    """Headers of ``record``: ``source`` names the component that wrote it, ``extra`` holds extensions such as sequence."""
    of_type, of_schema = _of_kind(type(record))
    head: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id.encode()),
        of_type,
        ("ce_source", source.encode()),
        ("ce_time", time.isoformat().encode()),
        of_schema,
        ("content-type", CONTENT_TYPE),
    ]
    if subject is not None:
        head.append(("ce_subject", subject.encode()))
    if traceparent is not None:
        head.append(("traceparent", traceparent.encode()))
    for name, value in (extra or {}).items():
        head.append((name, str(value).encode()))
    return head


@cache
def _of_kind(kind: type[Record]) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    """The headers that name the type and schema of every record of ``kind``."""
    return (
        ("ce_type", f"emberlog.{kind.__name__}.v{schema_version(kind)}".encode()),
        ("ce_dataschema", f"urn:emberlog:avro:{schema_fingerprint(kind)}".encode()),
    )


def as_map(headers: Iterable[tuple[str, bytes | None]] | None) -> dict[str, bytes]:
    """Headers as a dict; of a repeated name the last counts, a null value is empty bytes."""
    return {name: value or b"" for name, value in headers or ()}


def text(headers: Mapping[str, bytes], name: str) -> str:
    """A header as text. Raises BadEnvelope where it is missing or not UTF-8."""
    try:
        return headers[name].decode()
    except KeyError:
        raise BadEnvelope(f"header {name} is missing") from None
    except UnicodeDecodeError:
        raise BadEnvelope(f"header {name} is not text") from None


def number(headers: Mapping[str, bytes], name: str) -> int:
    """A header as a whole number. Raises BadEnvelope where it is missing or no number."""
    try:
        return int(text(headers, name))
    except BadEnvelope:
        raise
    except ValueError:
        raise BadEnvelope(f"header {name} is not a number") from None
