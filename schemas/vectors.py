"""Vectors as they stand on a topic: the numbers one after another, little endian, float16 or float32.

A record says how many numbers there are, so the length of its bytes says which of the two they are. Rounding to float16 moves a
vector's length of one by less than 1 in 2,000. It is not normalised again, as that would be rounded again: cosine distance does
not see it, and who takes inner products normalises after reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.errors import BrokenRecord

Precision = Literal["fp16", "fp32"]
_TYPES: dict[Precision, np.dtype[np.floating]] = {"fp16": np.dtype("<f2"), "fp32": np.dtype("<f4")}


def pack(vector: Sequence[float], precision: Precision) -> bytes:
    """The bytes of ``vector``, 2 or 4 for each number. Raises ValueError for what is not finite in that precision."""
    with np.errstate(over="ignore"):
        numbers = np.asarray(vector, dtype=_TYPES[precision])
    if not np.isfinite(numbers).all():
        raise ValueError(f"a vector holds a value that is not finite in {precision}")
    return numbers.tobytes()


@lru_cache(maxsize=8)
def unpack(data: bytes, dimensions: int) -> NDArray[np.float32]:
    """The numbers in ``data`` as float32, which holds every float16 exactly. They cannot be written to: several views share them.

    Raises BrokenRecord where the bytes are not ``dimensions`` finite numbers of either precision.
    """
    kind = next((kind for kind in _TYPES.values() if dimensions > 0 and len(data) == kind.itemsize * dimensions), None)
    if kind is None:
        raise BrokenRecord("the vector has another length than its dimensions say")
    numbers = np.frombuffer(data, dtype=kind).astype("<f4")
    if not np.isfinite(numbers).all():
        raise BrokenRecord("the vector holds a value that is not finite")
    numbers.flags.writeable = False
    return numbers
