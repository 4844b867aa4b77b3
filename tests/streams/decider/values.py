"""Statements and values that the decider's tests share."""

from __future__ import annotations

import math

from msgspec.structs import replace

from schemas.types import ThermalPolicy
from tests.streams.commands import POLICY

TEA = "User drinks green tea"
MATCHA = "User is fond of matcha"
COFFEE = "User drinks coffee now"
DOG = "User has a dog named Toby"
CHESS = "User plays chess"
NOWHERE = "00000000-0000-4000-8000-000000000000"
"""Id of no memory."""

IMPOSSIBLE: dict[str, ThermalPolicy] = {
    "a first temperature that is no number": replace(POLICY, initial=math.nan),
    "a first temperature above the highest": replace(POLICY, initial=100.5),
    "a first temperature below 0": replace(POLICY, initial=-1.0),
    "a mention that is no number": replace(POLICY, reheat=math.nan),
    "a mention without end": replace(POLICY, reheat=math.inf),
    "a highest temperature that is no number": replace(POLICY, maximum=math.nan),
    "a highest temperature without end": replace(POLICY, maximum=math.inf),
    "a floor that is no number": replace(POLICY, floor=math.nan),
    "a floor above the highest": replace(POLICY, floor=101.0),
    "a floor below 0": replace(POLICY, floor=-0.5),
    "a half-life that is no number": replace(POLICY, half_life_days=math.nan),
    "a half-life without end": replace(POLICY, half_life_days=math.inf),
}
