"""Records to bytes and back.

    wire = encode(record)           # single-object encoding, or Confluent's framing where a registry is configured
    record = decode(wire)           # either framing, any version that was ever released, as today's Python type

``use_registry`` is called once, when a process starts. See ``wire`` for the framings, ``upcasters`` for old versions.
"""

from __future__ import annotations

import io
import typing
from functools import cached_property
from typing import Any, Protocol, TypeVar

import fastavro

from schemas.contract import CONTRACT, Contract
from schemas.errors import BrokenRecord, UnknownSchema
from schemas.lifting import Lift, compile_lifting
from schemas.lowering import Misfit, compile_lowering
from schemas.types import Record
from schemas.upcasters import Read
from schemas.versions import FILES
from schemas.wire import (
    CONFLUENT_HEADER_BYTES,
    HEADER_BYTES,
    MARKER,
    confluent_prefix,
    fingerprint_in,
    is_avro,
    schema_id_in,
    single_object_prefix,
)

R = TypeVar("R", bound=Record)
Version = tuple[str, int]

_NO_FRAMING = "not in Avro single-object encoding nor in a registry's framing"
_NO_REGISTRY = "in the framing of a schema registry, and none is configured: set EMBERLOG_SCHEMA_REGISTRY_URL"


class SchemaIds(Protocol):
    """What the codec asks of a schema registry."""

    def id_of(self, name: str, version: int) -> int:
        """The id under which the registry knows a version; registers it where it does not yet."""
        ...

    def fingerprint_of(self, schema_id: int) -> str:
        """Fingerprint (hex, wire order) of the schema with this id. Raises UnknownSchema where there is none."""
        ...


class _Writer:
    """Writes one type in its current version."""

    def __init__(self, kind: type[Any], schema: Any, prefix: bytes) -> None:
        self.name = kind.__name__
        self.schema = schema
        self.prefix = prefix
        self.lower = compile_lowering(kind, schema)


class _Reader:
    """Reads one version of one type behind one framing; ``header`` is that framing's length."""

    def __init__(self, name: str, header: int, read: Read, lift: Lift) -> None:
        self.name = name
        self.header = header
        self.read = read
        self.lift = lift


class Codec:
    """Encoder and decoder of a contract's records. What a type needs is made at its first use."""

    def __init__(self, contract: Contract = CONTRACT, ids: SchemaIds | None = None) -> None:
        self._contract = contract
        self._files = contract.files
        self._kinds = contract.by_name
        self._ids = ids
        self._writers: dict[type[Any], _Writer] = {}
        self._readers: dict[bytes, _Reader] = {}
        self._lifts: dict[str, Lift] = {}

    @cached_property
    def _known(self) -> dict[str, Version]:
        """Types and versions by fingerprint."""
        known: dict[str, Version] = {}
        for name in self._kinds:
            for version in self._files.versions(name):
                # of two versions that are written alike the later one needs no upcaster of the earlier
                known[self._files.fingerprint(name, version)] = (name, version)
        return known

    def encode(self, record: Any) -> bytes:
        """``record`` in the configured framing. Raises BrokenRecord where a value does not fit its schema."""
        writer = self._writers.get(type(record)) or self._new_writer(type(record))
        out = io.BytesIO()
        out.write(writer.prefix)
        try:
            fastavro.schemaless_writer(out, writer.schema, writer.lower(record))
        except Misfit as error:
            raise BrokenRecord(f"a value does not fit the schema of {writer.name}: {error}") from None
        except (ValueError, TypeError, AttributeError, OverflowError, KeyError):
            # not chained: the cause's text quotes the value
            raise BrokenRecord(f"a value does not fit the schema of {writer.name}") from None
        return out.getvalue()

    def decode(self, data: bytes) -> Any:
        """The record in ``data``. Raises BrokenRecord and UnknownSchema, and what the registry raises when it is away."""
        reader = self._readers.get(bytes(data[:HEADER_BYTES])) or self._other_reader(data)
        body = io.BytesIO(data)
        body.seek(reader.header)
        try:
            record = reader.lift(reader.read(body))
        except Exception:
            # fastavro raises whatever the broken bytes lead to (EOFError, IndexError, struct.error…), and its text quotes them
            raise BrokenRecord(f"broken body of a {reader.name}") from None
        if body.read(1):
            raise BrokenRecord(f"bytes left over behind a {reader.name}")
        return record

    def fingerprint(self, kind: type[Any]) -> str:
        """Fingerprint (hex, wire order) of the type's current schema."""
        return self._files.fingerprint(kind.__name__)

    def version(self, kind: type[Any]) -> int:
        """The type's current version."""
        return self._files.newest(kind.__name__)

    def _other_reader(self, data: bytes) -> _Reader:
        schema_id = schema_id_in(data)
        if schema_id is None:
            fingerprint = fingerprint_in(data)
            if fingerprint is None:
                raise BrokenRecord(_NO_FRAMING)
            return self._new_reader(fingerprint, bytes(data[:HEADER_BYTES]))
        if self._ids is None:
            raise UnknownSchema(_NO_REGISTRY)
        prefix = bytes(data[:CONFLUENT_HEADER_BYTES])
        return self._readers.get(prefix) or self._new_reader(self._ids.fingerprint_of(schema_id), prefix)

    def _new_writer(self, kind: type[Any]) -> _Writer:
        name = kind.__name__
        if self._kinds.get(name) is not kind:
            raise TypeError(f"{name} is no type of the contract")
        if self._ids is None:
            prefix = single_object_prefix(self._files.fingerprint(name))
        else:
            prefix = confluent_prefix(self._ids.id_of(name, self._files.newest(name)))
        writer = self._writers[kind] = _Writer(kind, self._files.parsed(name), prefix)
        return writer

    def _new_reader(self, fingerprint: str, prefix: bytes) -> _Reader:
        if fingerprint not in self._known:
            raise UnknownSchema(f"written by a schema that this version lacks (fingerprint {fingerprint})")
        name, version = self._known[fingerprint]
        lift = self._lifts.get(name)
        if lift is None:
            lift = self._lifts[name] = compile_lifting(self._kinds[name])
        reader = self._readers[prefix] = _Reader(name, len(prefix), self._contract.reader(name, version), lift)
        return reader


_codec = Codec()


def use_registry(ids: SchemaIds | None) -> None:
    """From now on this process writes the framing of a schema registry and reads both; None goes back to single-object."""
    global _codec
    _codec = Codec(ids=ids)


def encode(record: Record) -> bytes:
    """``record`` in the configured framing. Raises BrokenRecord where a value does not fit its schema."""
    return _codec.encode(record)


def decode(data: bytes) -> Record:
    """The record in ``data``, whichever framing and version it was written in.

    Raises BrokenRecord for bytes that are not a record or are cut off, UnknownSchema for a writer's schema we lack. Where a
    registry is configured and does not answer, RegistryUnavailable, which is an outage and no fault of the record.
    """
    return typing.cast(Record, _codec.decode(data))


def decode_as(kind: type[R], data: bytes) -> R:
    """``decode`` that insists on one type; raises BrokenRecord for another."""
    record = decode(data)
    if not isinstance(record, kind):
        raise BrokenRecord(f"expected a {kind.__name__}, found a {type(record).__name__}")
    return record


def schema_text(name: str, version: int | None = None) -> str:
    """The Avro file of record type ``name``, as JSON text; its current version, if none is named. Raises UnknownSchema."""
    return FILES.text(name, version)


def schema_version(kind: type[Record]) -> int:
    """The type's current version."""
    return _codec.version(kind)


def schema_fingerprint(kind: type[Record]) -> str:
    """CRC-64-AVRO fingerprint (hex, wire order) of the type's current schema."""
    return _codec.fingerprint(kind)


__all__ = [
    "HEADER_BYTES",
    "MARKER",
    "Codec",
    "SchemaIds",
    "decode",
    "decode_as",
    "encode",
    "is_avro",
    "schema_fingerprint",
    "schema_text",
    "schema_version",
    "use_registry",
]
