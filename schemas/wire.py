"""How a record's schema is named in front of its body: the two framings.

Avro single-object encoding (Avro 1.11 specification): two marker bytes C3 01, the CRC-64-AVRO fingerprint of the writer's
schema in canonical form as 8 bytes little endian, the body. The fingerprint says which schema wrote a record, so readers need
neither a registry nor a header.

Confluent's wire format, for installations with a schema registry: a zero byte, the schema's id there as 4 bytes big endian, the
body.
"""

from __future__ import annotations

MARKER = b"\xc3\x01"
HEADER_BYTES = 10
MAGIC = b"\x00"
CONFLUENT_HEADER_BYTES = 5
MAX_ID = 2**31 - 1


def single_object_prefix(fingerprint: str) -> bytes:
    """What stands before a body, for a fingerprint in hex (wire order)."""
    return MARKER + bytes.fromhex(fingerprint)


def confluent_prefix(schema_id: int) -> bytes:
    """What stands before a body, for an id of the registry. Raises ValueError for an id that is none."""
    if not 0 < schema_id <= MAX_ID:
        raise ValueError("a schema id is a positive number of 31 bits")
    return MAGIC + schema_id.to_bytes(4, "big")


def fingerprint_in(data: bytes) -> str | None:
    """The fingerprint (hex) of a record in single-object encoding; None for anything else."""
    return bytes(data[2:HEADER_BYTES]).hex() if len(data) >= HEADER_BYTES and data[:2] == MARKER else None


def schema_id_in(data: bytes) -> int | None:
    """The schema id of a record in Confluent's wire format; None for anything else."""
    if len(data) < CONFLUENT_HEADER_BYTES or data[:1] != MAGIC:
        return None
    return int.from_bytes(data[1:CONFLUENT_HEADER_BYTES], "big")


def is_avro(value: bytes) -> bool:
    """Whether ``value`` is framed as Avro. No JSON text begins with either framing's first byte."""
    return fingerprint_in(value) is not None or schema_id_in(value) is not None
