"""The stand-in's HTTP application."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from ops.standin.faults import Faults, Options, malformed
from ops.standin.recording import Asked, Recording, asked_by
from streams.extraction.embedders import WordLlamaEmbedder, normalise

MODEL = "emberlog-standin (recorded facts, not a model)"
EMBEDDING_MODEL = "emberlog-standin (wordllama vectors)"

COUNTERS = (
    *("chat_requests", "answered", "unknown", "facts", "errors", "timeouts", "malformed", "stuck", "left"),
    *("prompt_tokens", "completion_tokens", "embedding_requests", "embedding_texts"),
)


class Standin:
    """The state behind the routes: recording, faults, counters. `stats` holds counts, never texts."""

    def __init__(self, recording: Recording, options: Options) -> None:
        self.recording = recording
        self.faults = Faults(options)
        self.stats: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self.embedder = WordLlamaEmbedder()

    @property
    def options(self) -> Options:
        """The options as they stand now."""
        return self.faults.options

    def enter(self) -> None:
        """Count a chat request in."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        self.stats["chat_requests"] += 1
        body = _json(await request.body())
        messages = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            return _error(400, "messages must be a list of objects")
        prompt = next((str(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")
        asked = asked_by(prompt)
        self.enter()
        try:
            return await self._answer(request, messages, asked or Asked((prompt,), None), known=asked is not None)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: Request, messages: list[Any], asked: Asked, *, known: bool) -> Response:
        fault = self.faults.for_chat(asked.text)
        if fault == "stuck":
            self.stats["stuck"] += 1
            lifted = await self.faults.stuck(lambda: self._still_stuck(asked.text), request.is_disconnected)
            if not lifted:
                self.stats["left"] += 1
                return Response(status_code=499)
            fault = None
        failed = await self._failed(fault)
        if failed is not None:
            return failed
        await asyncio.sleep(self.options.latency_s)
        turns = self.recording.find(asked) if known else []
        self.stats["unknown"] += not turns
        facts = [fact for turn in turns for fact in turn.facts]
        items = [fact.as_item(number) for number, fact in enumerate(facts)]
        answer = orjson.dumps({"memory": items}).decode()
        if fault is not None and fault.startswith("malformed"):
            self.stats["malformed"] += 1
            answer = malformed(fault.partition(":")[2] or self.options.malformed_kind, items)
        else:
            self.stats["answered"] += 1
            self.stats["facts"] += len(items)
        completion = self._completion(messages, answer)
        return _broken_off(completion) if fault == "disconnect" else _response(completion)

    def _still_stuck(self, text: str) -> bool:
        return any(fault == "stuck" and marker in text for marker, fault in self.options.overrides.items())

    async def _failed(self, fault: str | None) -> Response | None:
        if fault == "timeout":
            self.stats["timeouts"] += 1
            await asyncio.sleep(self.options.hold_s)
            return _error(504, "the stand-in was told to time out")
        if fault is not None and fault.startswith("error"):
            self.stats["errors"] += 1
            return _error(int(fault.partition(":")[2] or 500), "the stand-in was told to fail")
        return None

    def _completion(self, messages: list[Any], answer: str) -> dict[str, Any]:
        prompt_tokens = sum(len(str(m.get("content", "")).split()) for m in messages)
        completion_tokens = len(answer.split())
        self.stats["prompt_tokens"] += prompt_tokens
        self.stats["completion_tokens"] += completion_tokens
        return {
            "id": f"chatcmpl-standin-{self.stats['chat_requests']}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": MODEL,
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }

    async def embeddings(self, request: Request) -> Response:
        """POST /v1/embeddings: wordllama's 256 dimensions, cut or padded with zeros to the asked length."""
        self.stats["embedding_requests"] += 1
        body = _json(await request.body())
        wanted = body.get("input") if isinstance(body, dict) else None
        texts = [wanted] if isinstance(wanted, str) else wanted
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t for t in texts):
            return _error(400, "input must be a non-empty text or a list of non-empty texts")
        dimensions = body.get("dimensions", self.options.embedding_dimensions)
        if not isinstance(dimensions, int) or not 1 <= dimensions <= 8192:
            return _error(400, "dimensions must be a whole number from 1 to 8192")
        fault = self.faults.for_embeddings(texts)
        if fault == "stuck":
            self.stats["stuck"] += 1
            await self.faults.stuck(lambda: self.faults.for_embeddings(texts) == "stuck", request.is_disconnected)
            fault = None
        failed = await self._failed(fault)
        if failed is not None:
            return failed
        await asyncio.sleep(self.options.embedding_latency_s)
        self.stats["embedding_texts"] += len(texts)
        rows = np.zeros((len(texts), dimensions), dtype=np.float32)
        native = np.asarray(await self.embedder.embed(texts), dtype=np.float32)[:, :dimensions]
        rows[:, : native.shape[1]] = native
        words = sum(len(text.split()) for text in texts)
        return _response(
            {
                "object": "list",
                "model": EMBEDDING_MODEL,
                "data": _vectors(normalise(rows), as_base64=body.get("encoding_format") == "base64"),
                "usage": {"prompt_tokens": words, "total_tokens": words},
            }
        )

    def report(self) -> dict[str, int]:
        """The counters."""
        return {name: self.stats[name] for name in COUNTERS} | {
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
        }

    def control(self, body: Any) -> Response:
        """Change options; fields left out stay. `{"reset_stats": true}` also sets the counters to zero."""
        if not isinstance(body, dict):
            return _error(400, "send a JSON object of options")
        if body.pop("reset_stats", False):
            self.stats.clear()
            self.most_in_flight = self.in_flight
        try:
            self.faults.options = Options(**(self.options.model_dump() | body))
        except ValidationError as error:
            return _error(422, "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
        return _response(self.options.model_dump())


def create_app(recording: Recording | None = None, options: Options | None = None) -> FastAPI:
    """The application. Without a recording every turn is unknown and has no facts."""
    standin = Standin(recording or Recording(), options or Options())
    app = FastAPI(title="Emberlog's stand-in model endpoint", openapi_url=None)
    app.state.standin = standin

    async def models() -> Response:
        names = (MODEL, EMBEDDING_MODEL)
        return _response(
            {"object": "list", "data": [{"id": n, "object": "model", "created": 0, "owned_by": "emberlog"} for n in names]}
        )

    async def stats() -> Response:
        return _response(standin.report())

    async def control(request: Request) -> Response:
        return standin.control(_json(await request.body()))

    # Plain routes: validation by models would cost more than the answer on 33,000-character prompts.
    app.add_route("/v1/chat/completions", standin.chat, methods=["POST"])
    app.add_route("/v1/embeddings", standin.embeddings, methods=["POST"])
    app.add_api_route("/v1/models", models, methods=["GET"])
    app.add_api_route("/stats", stats, methods=["GET"])
    app.add_route("/control", control, methods=["POST"])
    return app


def _vectors(rows: np.ndarray[Any, np.dtype[np.float32]], *, as_base64: bool) -> list[dict[str, Any]]:
    def encoded(row: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
        return base64.b64encode(row.astype("<f4").tobytes()).decode() if as_base64 else row.tolist()

    return [{"object": "embedding", "index": at, "embedding": encoded(row)} for at, row in enumerate(rows)]


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _response(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status_code=status, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return _response({"error": {"message": message, "type": "standin_error", "code": status}}, status)


def _broken_off(document: Any) -> Response:
    """Half of the body under the whole one's length: the server then drops the connection."""
    body = orjson.dumps(document)

    async def half() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]

    return StreamingResponse(half(), media_type="application/json", headers={"content-length": str(len(body))})
