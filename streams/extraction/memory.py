"""Mem0's AsyncMemory with every store replaced: it extracts and keeps nothing.

`ExtractingMemory` is made anew for each call and is light: assigning its parts is all that its `__init__`
does. Mem0's own `add` runs unmodified.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from types import SimpleNamespace
from typing import Any

from streams.extraction.answer import read_answer
from streams.extraction.call import Call, as_mem0, heard, unexpected
from streams.extraction.errors import ExtractionError, MalformedAnswer
from streams.extraction.guards import mem0
from streams.extraction.ports import Embedder

OBSERVATION_DATE = "\n\n## Observation Date\n"

_CONFIG = SimpleNamespace(
    llm=SimpleNamespace(config={}),
    embedder=SimpleNamespace(config={}),
    vector_store=SimpleNamespace(provider="emberlog", config=SimpleNamespace(collection_name="emberlog")),
)

Generate = Callable[[list[dict[str, str]], dict[str, str] | None], str | None]
"""A chat call: messages and response format in, the raw answer out."""


class ExtractingMemory(mem0.AsyncMemory):  # type: ignore[misc]
    """AsyncMemory over one call's stores. `add` fills `call.answer` and `call.vectors`."""

    def __init__(self, call: Call, generate: Generate, embedder: Embedder) -> None:
        self.config = _CONFIG
        self.llm = CheckedLLM(call, generate)
        self.embedding_model = CallEmbeddings(call, embedder)
        self.vector_store = CaptureStore(call)
        self._entity_store = NullEntityStore()
        self.db = SessionMessages(call)
        self.reranker = None
        self.collection_name = "emberlog"
        self.api_version = "v1.1"
        self.custom_instructions = None


class CheckedLLM:
    """Stands before the model: corrects the observation date, and validates the answer for Mem0."""

    def __init__(self, call: Call, generate: Generate) -> None:
        self._call = call
        self._generate = generate
        self.config = SimpleNamespace(model="emberlog")

    def generate_response(
        self,
        messages: list[dict[str, str]],
        response_format: dict[str, str] | None = None,
        tools: Any = None,
        tool_choice: str = "auto",
        **_: Any,
    ) -> str:
        """Mem0's interface. Every error is remembered in the call: Mem0 wraps it and quotes it."""
        call = self._call
        try:
            day = call.turn.occurred_at.date().isoformat()
            # The system prompt explains the heading under the same words: only the user prompt carries a date.
            dated = [{**m, "content": with_observation_date(m["content"], day)} if m["role"] == "user" else m for m in messages]
            raw = self._generate(dated, response_format)
            try:
                call.answer = read_answer(raw)
            except MalformedAnswer as error:
                if not call.cut_off:
                    raise
                raise MalformedAnswer(f"{error.reason}; it was cut off at max_tokens, raise it") from None
        except ExtractionError as error:
            raise call.fail(error) from None
        except Exception as error:
            raise call.fail(unexpected(error)) from None
        return call.answer.for_mem0()


def with_observation_date(prompt: str, day: str) -> str:
    """Mem0's prompt with the turn's own date.

    Mem0 always writes today's date, so that "yesterday" in an imported conversation would get a wrong one.
    The last such heading is Mem0's: messages stand before it and may quote the same words.
    """
    head, heading, tail = prompt.rpartition(OBSERVATION_DATE)
    if not heading:
        return prompt
    _, _, rest = tail.partition("\n")
    return f"{head}{heading}{day}\n{rest}"


class CallEmbeddings:
    """Mem0's embedding interface over an `Embedder`.

    Mem0 drops facts whose embedding failed, with a log line. Here the first failure is remembered, later
    requests of the call fail at once, and the extractor raises it.
    """

    def __init__(self, call: Call, embedder: Embedder) -> None:
        self._call = call
        self._embedder = embedder
        self.config = SimpleNamespace(embedding_dims=embedder.dimensions)

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        """One vector of `Embedder.dimensions` floats."""
        return self.embed_batch([text])[0]

    def embed_batch(self, texts: list[str], memory_action: str | None = "add") -> list[list[float]]:
        """One vector per text, in order."""
        self._call.fail_if_failed()
        try:
            if self._embedder.local:
                return self._embedder.embed_sync(texts)
            return self._call.bridge.run(self._embedder.embed(texts))
        except ExtractionError as error:
            raise self._call.fail(error) from None
        except Exception as error:
            raise self._call.fail(unexpected(error)) from None


class CaptureStore:
    """Mem0's vector store: searches come from our projection, inserts become candidate facts."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def search(
        self, query: str, vectors: Sequence[float], top_k: int = 5, filters: dict[str, Any] | None = None
    ) -> list[SimpleNamespace]:
        """The owner's nearest memories. Errors of the projection are raised as they are.

        No payload holds a `hash`: Mem0 would drop a repeated fact by its MD5, and nothing would be reheated.
        """
        call = self._call
        try:
            found = call.bridge.run(call.nearest.nearest(call.turn.owner_ref, vectors, top_k))
        except CancelledError as error:
            raise call.fail(unexpected(error)) from None
        except Exception as error:
            raise call.fail(error) from None
        return [SimpleNamespace(id=m.memory_id, score=m.score, payload={"data": m.text}) for m in found]

    def insert(
        self,
        vectors: Sequence[Sequence[float]],
        payloads: Sequence[dict[str, Any]],
        ids: Sequence[str] | None = None,
    ) -> None:
        """Take the facts' vectors."""
        for vector, payload in zip(vectors, payloads, strict=True):
            self._call.vectors[payload["data"]] = tuple(vector)

    def list(self, filters: dict[str, Any] | None = None, top_k: int | None = None) -> list[list[Any]]:
        """Nothing is kept."""
        return [[]]


class NullEntityStore:
    """Mem0's entity index, which Emberlog does not use: graph edges are a projection of the log."""

    def search_batch(self, queries: Sequence[str], **_: Any) -> list[list[Any]]:
        """No entity is known."""
        return [[] for _ in queries]

    def list(self, **_: Any) -> list[list[Any]]:
        """No entity is known."""
        return [[]]

    def insert(self, **_: Any) -> None:
        """Not kept."""

    def update(self, **_: Any) -> None:
        """Not kept."""


class SessionMessages:
    """Mem0's message history without hidden state: the turn brings its own context, nothing is kept.

    Mem0's SQLite history feeds the prompt and keeps deleted text.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def get_last_messages(self, session_scope: str, limit: int = 10) -> list[dict[str, str]]:
        """The session's messages before this turn, oldest first."""
        recent = heard(self._call.turn.recent_messages)[-limit:] if limit > 0 else []
        return [as_mem0(message) for message in recent]

    def save_messages(self, messages: Any, session_scope: str) -> None:
        """Not kept."""

    def add_history(self, *_: Any, **__: Any) -> None:
        """Not kept."""

    def batch_add_history(self, records: Any) -> None:
        """Not kept."""

    def get_history(self, memory_id: str) -> list[dict[str, Any]]:
        """The log is the history."""
        return []

    def reset(self) -> None:
        """Nothing to reset."""

    def close(self) -> None:
        """Nothing to close."""
