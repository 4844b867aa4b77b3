"""Faults on demand: which requests go wrong, and how.

Rates are drawn from a hash of the seed, the request's text and how often this text has been asked, so that
they do not depend on the order in which parallel requests arrive. Overrides hit every request whose text
contains their marker, before any rate.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator

Kind = Literal["truncated", "prose", "empty", "strings", "wrong_types", "no_memory", "one_bad_item"]
KINDS: tuple[str, ...] = ("truncated", "prose", "empty", "strings", "wrong_types", "no_memory", "one_bad_item")

STUCK_POLL_S = 0.05
"""How often a stuck request looks whether its client has gone or its override was lifted."""


class Options(BaseModel):
    """What the stand-in does; also the body of POST /control, where fields left out stay as they are.

    `overrides` maps a text that stands in a turn to "stuck" (no answer until the override is lifted or the
    client leaves, then the normal answer), "timeout" (HTTP 504 after `hold_s`), "error" (500), "error:STATUS",
    "malformed" or "malformed:KIND", "disconnect" (half an answer, then the connection ends). `embedding_overrides`
    does the same for texts to embed ("stuck", "timeout", "error").
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    latency_s: float = Field(default=0.0, ge=0.0)
    embedding_latency_s: float = Field(default=0.0, ge=0.0)
    error_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    timeout_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    malformed_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    malformed_kind: Kind = "truncated"
    hold_s: float = Field(default=120.0, ge=0.0)
    seed: int = 0
    embedding_dimensions: int = Field(default=256, ge=1, le=8192)
    overrides: dict[str, str] = Field(default_factory=dict)
    embedding_overrides: dict[str, str] = Field(default_factory=dict)

    @field_validator("overrides", "embedding_overrides")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        for marker, fault in value.items():
            name, _, detail = fault.partition(":")
            known = (
                fault in ("stuck", "timeout", "error", "malformed", "disconnect")
                or (name == "error" and detail.isdigit() and 400 <= int(detail) <= 599)
                or (name == "malformed" and detail in KINDS)
            )
            if not marker or not known:
                raise ValueError(
                    "an override is a text and one of stuck, timeout, error, error:STATUS, disconnect, malformed, "
                    f"malformed:{{{'|'.join(KINDS)}}}"
                )
        return value


class Faults:
    """Decides for each request. Holds counts only, no texts."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._asked: Counter[bytes] = Counter()

    def for_chat(self, text: str) -> str | None:
        """The fault of a chat request about `text`, or None."""
        override = self._override(self.options.overrides, text)
        if override is not None:
            return override
        key = blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
        self._asked[key] += 1
        draw = blake2b(key + b"%d/%d" % (self.options.seed, self._asked[key]), digest_size=8).digest()
        chance = int.from_bytes(draw) / 2**64
        for fault, rate in (
            ("error", self.options.error_rate),
            ("timeout", self.options.timeout_rate),
            ("malformed", self.options.malformed_rate),
        ):
            if chance < rate:
                return fault
            chance -= rate
        return None

    def for_embeddings(self, texts: list[str]) -> str | None:
        """The fault of an embedding request, or None."""
        return next((f for text in texts if (f := self._override(self.options.embedding_overrides, text))), None)

    async def stuck(self, still: Callable[[], bool], left: Callable[[], Awaitable[bool]]) -> bool:
        """Wait until the override is lifted (True) or the client has gone (False)."""
        while still():
            if await left():
                return False
            await asyncio.sleep(STUCK_POLL_S)
        return True

    @staticmethod
    def _override(overrides: dict[str, str], text: str) -> str | None:
        return next((fault for marker, fault in overrides.items() if marker in text), None)


def malformed(kind: str, items: list[dict[str, Any]]) -> str:
    """A broken answer made from a good one, of a kind that models are known to give."""
    good = orjson.dumps({"memory": items or [{"id": "0", "text": "A fact that is cut off in the middle"}]}).decode()
    strings = [str(item["text"]) for item in items] or ["A fact without an object around it"]
    answers: dict[str, str] = {
        "truncated": good[: max(12, len(good) * 2 // 3)],
        "prose": "I read the conversation carefully and found several things worth remembering.",
        "empty": "",
        "strings": orjson.dumps({"memory": strings}).decode(),
        "wrong_types": orjson.dumps({"memory": {"text": strings[0]}}).decode(),
        "no_memory": orjson.dumps({"facts": strings}).decode(),
        "one_bad_item": orjson.dumps({"memory": [*items, {"id": "x", "text": 17}, "loose"]}).decode(),
    }
    return answers[kind]
