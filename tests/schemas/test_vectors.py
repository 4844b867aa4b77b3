"""Vectors on topics: two precisions, told apart by the length of their bytes."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.errors import BrokenRecord
from schemas.vectors import Precision, pack, unpack

HALF = [0.5, -0.5, 0.5, 0.5]


@pytest.mark.parametrize(("precision", "data"), [("fp16", b"\x00\x38\x00\xb8\x00\x38\x00\x38"), ("fp32", None)])
def test_a_vector_has_2_or_4_bytes_for_each_number_little_endian(precision: Precision, data: bytes | None) -> None:
    packed = pack(HALF, precision)
    assert packed == (data or b"\0\0\0\x3f\0\0\0\xbf\0\0\0\x3f\0\0\0\x3f")
    read = unpack(packed, 4)
    assert read.tolist() == HALF
    assert read.dtype == np.dtype("float32")


def test_float16_keeps_a_vectors_length_to_less_than_1_in_2000_and_its_direction() -> None:
    rng = np.random.default_rng(7)
    for dimensions in (8, 256, 4096, 16_000):
        vector = rng.normal(size=dimensions)
        vector /= np.linalg.norm(vector)
        read = unpack(pack(vector.tolist(), "fp16"), dimensions).astype(np.float64)
        assert abs(np.linalg.norm(read) - 1) < 1 / 2000
        assert read @ vector / np.linalg.norm(read) > 1 - 1e-6
        assert not np.array_equal(read, vector)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_numbers_that_the_precision_cannot_hold_are_never_written(precision: Precision) -> None:
    for number in (float("nan"), float("inf"), 1e39):
        with pytest.raises(ValueError, match=f"not finite in {precision}"):
            pack([0.5, number], precision)


@pytest.mark.parametrize("data", [b"", b"\0" * 7, b"\0" * 12, b"\x00\x7c\0\0", b"\0\0\x80\x7f\0\0\0\0"])
def test_bytes_that_are_no_vector_of_so_many_finite_numbers_are_broken(data: bytes) -> None:
    with pytest.raises(BrokenRecord):
        unpack(data, 2)
    with pytest.raises(BrokenRecord):
        unpack(b"", 0)
