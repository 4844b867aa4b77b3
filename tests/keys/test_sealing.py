"""Sealing whole records: every personal value and nothing else, for every type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.sealed import DESTROYED, PLAIN, Sealed
from schemas.sealing import open_all, seal
from schemas.subjects import subjects_of
from schemas.types import RECORDS, Record
from tests.keys.memory import MemoryKeys
from tests.schemas.records import any_record, strategy


def sealed_in(value: Any) -> Iterator[Sealed]:
    """Every sealed value in ``value``, found by looking at each part, not by what the types say."""
    if isinstance(value, Sealed):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from sealed_in(getattr(value, name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from sealed_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from sealed_in(item)


def with_each(value: Any, changed: Iterator[Sealed]) -> Any:
    """``value`` with its sealed values put in from ``changed``, in the order of ``sealed_in``."""
    if isinstance(value, Sealed):
        return next(changed)
    if isinstance(value, msgspec.Struct):
        parts = {name: with_each(getattr(value, name), changed) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **parts)
    if isinstance(value, tuple | list):
        return type(value)(with_each(item, changed) for item in value)
    if isinstance(value, dict):
        return {key: with_each(item, changed) for key, item in value.items()}
    return value


def in_plain(record: Any) -> Any:
    """``record`` as a producer has it before it seals."""
    return with_each(record, (Sealed(value.data) for value in sealed_in(record)))


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
async def test_sealing_changes_every_personal_value_and_nothing_else(kind: type[Any], data: st.DataObject) -> None:
    record, keys = in_plain(data.draw(strategy(kind))), MemoryKeys()
    sealed = await seal(keys, record)
    before, after = list(sealed_in(record)), list(sealed_in(sealed))
    assert all(value.cipher not in (PLAIN, DESTROYED) and value.key_id for value in after)
    assert all(new.data != old.data for new, old in zip(after, before, strict=True))
    assert with_each(sealed, iter(before)) == record, "something else was changed"
    assert subjects_of(sealed) == set()
    assert await seal(keys, sealed) == sealed, "what is sealed stays as it is"
    assert await open_all(keys, [sealed]) == [record]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(any_record())
async def test_of_an_erased_owner_a_record_keeps_its_form_and_no_word(drawn: Record) -> None:
    record, keys = in_plain(drawn), MemoryKeys()
    owners = {subject.owner for subject in subjects_of(record)} - {""}
    sealed = await seal(keys, record)
    for owner in owners:
        await keys.destroy_owner(owner)
    if not owners:
        return
    [opened] = await open_all(keys, [sealed])
    for value, old in zip(sealed_in(opened), sealed_in(sealed), strict=True):
        assert value == Sealed(b"", DESTROYED, old.key_id)
    late = await seal(keys, record)
    assert set(sealed_in(late)) <= {Sealed(b"", DESTROYED)}
    assert await open_all(keys, [late]) == [late]
