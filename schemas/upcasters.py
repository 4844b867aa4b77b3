"""Upcasters: what an old version of a record says, in the words of the next one.

Most new versions need none: a field with a default, a wider number or a new symbol is Avro's own schema resolution. An upcaster
is for the rest: a field that was split, renamed, or given another unit.

    @UPCASTERS.register("MemoryAdded", from_version=1)
    def _seconds_to_days(old: dict[str, Any]) -> dict[str, Any]:
        return {**old, "half_life_days": old["half_life_s"] / 86_400}

It gets the record as version 1 wrote it (plain values, times as datetimes) and returns exactly the fields of version 2. It is a
pure function: no clock, no random, no I/O, no settings, because every replay must read the same. Once version 2 is released it
never changes; `schemas/golden` keeps what it made of a stored record.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

import fastavro
from fastavro.validation import validate

from schemas.versions import SchemaFiles

Values = dict[str, Any]
Upcaster = Callable[[Values], Values]
Read = Callable[[BinaryIO], Values]


class Upcasters:
    """Upcasters by type and the version that they start from."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[int, Upcaster]] = {}

    def register(self, name: str, *, from_version: int) -> Callable[[Upcaster], Upcaster]:
        """Decorator for the upcaster of type ``name`` from ``from_version`` to the next. Raises ValueError for a second one."""

        def keep(upcaster: Upcaster) -> Upcaster:
            if from_version in self._by_name.setdefault(name, {}):
                raise ValueError(f"{name} version {from_version} has an upcaster already")
            self._by_name[name][from_version] = upcaster
            return upcaster

        return keep

    def of(self, name: str) -> Mapping[int, Upcaster]:
        """The upcasters of a type by the version that they start from."""
        return self._by_name.get(name, {})

    def names(self) -> Sequence[str]:
        """Types that have upcasters."""
        return sorted(self._by_name)


UPCASTERS = Upcasters()


@dataclass(frozen=True, slots=True)
class Hop:
    """One step from a version to a later one: by ``upcaster``, or by Avro's schema resolution where that is None."""

    start: int
    end: int
    upcaster: Upcaster | None = None


def route(versions: Sequence[int], start: int, end: int, upcasters: Mapping[int, Upcaster]) -> tuple[Hop, ...]:
    """The hops from version ``start`` to ``end``; versions without an upcaster are passed in one resolution."""
    hops: list[Hop] = []
    here = start
    for version, following in itertools.pairwise(versions):
        if version < start or version >= end or version not in upcasters:
            continue
        if here < version:
            hops.append(Hop(here, version))
        hops.append(Hop(version, following, upcasters[version]))
        here = following
    if here < end:
        hops.append(Hop(here, end))
    return tuple(hops)


def reader_of(files: SchemaFiles, upcasters: Upcasters, name: str, version: int, target: int | None = None) -> Read:
    """A function that reads a body written by ``version`` and gives the values of ``target`` (the current one, if none is named).

    The function raises what fastavro and the upcasters raise, and ValueError where an upcaster's result does not fit.
    """
    end = target or files.newest(name)
    hops = route(files.versions(name), version, end, upcasters.of(name))
    writer = files.parsed(name, version)
    if not hops:
        return lambda body: fastavro.schemaless_reader(body, writer, None)
    schemas = {number: files.parsed(name, number) for hop in hops for number in (hop.start, hop.end)}

    def read(body: BinaryIO) -> Values:
        first, *rest = hops
        if first.upcaster is None:
            values = fastavro.schemaless_reader(body, writer, schemas[first.end])
        else:
            values = _upcast(first, fastavro.schemaless_reader(body, writer, None), schemas)
        for hop in rest:
            if hop.upcaster is None:
                values = fastavro.schemaless_reader(_written(values, schemas[hop.start]), schemas[hop.start], schemas[hop.end])
            else:
                values = _upcast(hop, values, schemas)
        return _values(values)

    return read


def _upcast(hop: Hop, values: Values, schemas: Mapping[int, Any]) -> Values:
    assert hop.upcaster is not None
    # written and read back: what an upcaster forgot, or left over, is found here and not in a view
    schema = schemas[hop.end]
    return _values(fastavro.schemaless_reader(_written(hop.upcaster(values), schema), schema, None))


def _written(values: Values, schema: Any) -> io.BytesIO:
    _refuse_local_times(values)
    if not validate(values, schema, raise_errors=False, strict=True, disable_tuple_notation=True):
        raise ValueError("what an upcaster made does not fit its version")
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema, values, strict=True, disable_tuple_notation=True)
    body.seek(0)
    return body


def _refuse_local_times(value: Any) -> None:
    # fastavro takes a time without a zone for the local time of this machine
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("an upcaster made a time without a zone")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_local_times(part)


def _values(read: Any) -> Values:
    assert isinstance(read, dict)
    return read
