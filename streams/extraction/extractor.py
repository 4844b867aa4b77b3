"""Extractors over Mem0: one that asks a model, one that applies rules, one path for both."""

from __future__ import annotations

import asyncio
import copy
from abc import ABC, abstractmethod
from concurrent.futures import CancelledError
from dataclasses import dataclass
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import openai

from streams.extraction.answer import known_evidence
from streams.extraction.bridge import Bridge, ensure_executor
from streams.extraction.call import Call, as_mem0, heard, unexpected
from streams.extraction.endpoint import NO_KEY, async_client
from streams.extraction.errors import ExtractionError, MalformedAnswer, ModelTimeout, from_client_error
from streams.extraction.guards import MEM0_VERSION, mem0
from streams.extraction.memory import ExtractingMemory
from streams.extraction.ports import CandidateFact, Embedder, Extraction, NearestMemories, TurnToExtract
from streams.extraction.rules import RULES_MODEL, RULES_VERSION, answer_by_rules

READING = "r1"
"""Goes up when prompts are corrected or answers read in another way."""

_PROMPT = mem0.memory.main.ADDITIVE_EXTRACTION_PROMPT
PROMPT_VERSION = f"mem0-{MEM0_VERSION}-{sha256(_PROMPT.encode()).hexdigest()[:8]}-{READING}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """An OpenAI-compatible chat endpoint. `timeout_s` bounds one request, `call_timeout_s` one extraction."""

    base_url: str
    model: str
    api_key: str | None = None
    temperature: float = 0.3
    max_tokens: int = 4000
    timeout_s: float = 60.0
    call_timeout_s: float = 120.0

    def __repr__(self) -> str:
        return f"ModelConfig(base_url={self.base_url!r}, model={self.model!r})"


class Mem0Extractor(ABC):
    """The path that both extractors share. Subclasses answer Mem0's prompt in `_generate`."""

    extractor = "mem0"
    prompt_version = PROMPT_VERSION
    rules = False

    def __init__(self, embedder: Embedder, nearest: NearestMemories, *, in_flight: int, call_timeout_s: float) -> None:
        self._embedder = embedder
        self._nearest = nearest
        self._in_flight = in_flight
        self._slots = asyncio.Semaphore(in_flight)
        self._call_timeout_s = call_timeout_s

    async def extract(self, turn: TurnToExtract) -> Extraction:
        """Extract one turn; at most `in_flight` run at once, others wait.

        Raises `ExtractionError`, or what `nearest` raised, unchanged: a database that is away is for the
        caller to recognise.
        """
        async with self._slots:
            ensure_executor(self._in_flight)
            call = Call(turn, self._nearest, Bridge(asyncio.get_running_loop()), model=self._model_name())
            messages = heard(turn.messages)
            if messages:
                await self._run(call, [as_mem0(message) for message in messages])
            return self._result(call)

    async def close(self) -> None:  # noqa: B027 - an extractor that asks nobody has nothing to close
        """Nothing of its own to close. The embedder belongs to whoever made it."""

    async def _run(self, call: Call, messages: list[dict[str, str]]) -> None:
        memory = ExtractingMemory(call, lambda *prompt: self._generate(call, *prompt), self._embedder)
        # Ids in clear have no business in Mem0, and an id with a blank would be refused: the reference will do.
        scope = "".join(call.turn.owner_ref.split()) or "owner"
        error: Exception | None = None
        try:
            async with asyncio.timeout(self._call_timeout_s) as limit:
                await memory.add(messages, user_id=scope)
        except Exception as raised:
            error = unexpected(raised)
        finally:
            call.bridge.close()
        if limit.expired():
            raise ModelTimeout(f"the extraction took longer than {self._call_timeout_s:g} s")
        if call.error is not None:
            raise call.error from None
        if error is not None:
            raise error from None
        missing = sum(item.text not in call.vectors for item in call.answer.items)
        if missing:
            # Not known to happen: Mem0 drops facts in several places, and each is closed. Never silently.
            raise ExtractionError(f"Mem0 dropped {missing} of {len(call.answer.items)} facts")

    def _result(self, call: Call) -> Extraction:
        turn = call.turn
        own = tuple(message.message_id for message in turn.messages)
        known = own + tuple(message.message_id for message in turn.recent_messages)
        return Extraction(
            facts=tuple(
                CandidateFact(
                    text=item.text,
                    evidence=known_evidence(item.evidence, known, own),
                    salience=item.salience,
                    vector=call.vectors[item.text],
                )
                for item in call.answer.items
            ),
            failures=tuple(call.answer.failures),
            skipped_short=call.answer.skipped_short,
            extractor=self.extractor,
            model=call.model,
            prompt_version=self.prompt_version,
            prompt_tokens=call.prompt_tokens,
            completion_tokens=call.completion_tokens,
            rules=self.rules,
        )

    @abstractmethod
    def _model_name(self) -> str:
        """The model's name as it is known before it answers."""

    @abstractmethod
    def _generate(self, call: Call, messages: list[dict[str, str]], response_format: dict[str, str] | None) -> str | None:
        """The raw answer to Mem0's prompt."""


class ModelExtractor(Mem0Extractor):
    """Facts from a model, through Mem0's own `vllm` provider with an asynchronous client behind it."""

    def __init__(self, config: ModelConfig, embedder: Embedder, nearest: NearestMemories, *, in_flight: int) -> None:
        super().__init__(embedder, nearest, in_flight=in_flight, call_timeout_s=config.call_timeout_s)
        self._config = config
        self._client = async_client(config.base_url, config.api_key, config.timeout_s)
        self._provider = mem0.memory.main.LlmFactory.create(
            "vllm",
            {
                "model": config.model,
                "temperature": config.temperature,
                "max_tokens": config.max_tokens,
                "api_key": config.api_key or NO_KEY,
                "vllm_base_url": config.base_url,
            },
        )
        self._provider.client.close()

    async def close(self) -> None:
        """Close the connections to the model."""
        await self._client.close()

    def _model_name(self) -> str:
        return self._config.model

    def _generate(self, call: Call, messages: list[dict[str, str]], response_format: dict[str, str] | None) -> str | None:
        provider = copy.copy(self._provider)
        provider.client = _BridgedClient(call, self._client)
        answer: str | None = provider.generate_response(messages, response_format=response_format)
        return answer


class _BridgedClient:
    """What Mem0's provider takes for an OpenAI client: one call's requests, run on the event loop."""

    def __init__(self, call: Call, client: openai.AsyncOpenAI) -> None:
        self._call = call
        self._client = client
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self._create))

    def _create(self, **params: Any) -> Any:
        call = self._call
        try:
            answer = call.bridge.run(self._client.chat.completions.create(**params))
        except CancelledError:
            raise ModelTimeout("the call was given up while the model was still answering") from None
        except Exception as error:
            raise from_client_error(error, "language model") from None
        if not getattr(answer, "choices", None) or answer.choices[0].message is None:
            raise MalformedAnswer("the language model's response holds no answer")
        # An endpoint knows best what it is: a stand-in says so here.
        call.model = str(answer.model or call.model)[:200]
        call.cut_off = answer.choices[0].finish_reason == "length"
        if answer.usage is not None:
            call.prompt_tokens += answer.usage.prompt_tokens or 0
            call.completion_tokens += answer.usage.completion_tokens or 0
        return answer


class RulesExtractor(Mem0Extractor):
    """Facts by rules, not by a model: the default where no model is configured."""

    extractor = "rules"
    prompt_version = RULES_VERSION
    rules = True

    def _model_name(self) -> str:
        return RULES_MODEL

    def _generate(self, call: Call, messages: list[dict[str, str]], response_format: dict[str, str] | None) -> str | None:
        return answer_by_rules(call.turn)
