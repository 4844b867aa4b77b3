"""Extraction: an admitted turn becomes ``FactsExtracted`` on the command topic, which is there before anything acts on it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaProducer

from schemas import codec, envelope
from schemas.errors import ContractError, SealedValue
from schemas.fingerprint import fingerprint
from schemas.sealed import Sealed, left_of
from schemas.sealing import open_all, seal
from schemas.types import CommandMeta, ConversationTurn, Fact, FactsExtracted, Message, MessageRef
from streams import kafka
from streams.config import WorkerConfig
from streams.extraction import ports
from streams.extraction.errors import ExtractionError, ModelUnavailable
from streams.failures import Away, Failed, Refused
from streams.recent import RecentMessages, as_said, label, what_is_left
from streams.stage import Work

log = structlog.get_logger(__name__)

SOURCE = "emberlog/extract"
MAX_FACTS = 200
MAX_FACT_BYTES = 300_000
"""Bounds on one command: its events must fit into one record batch. What exceeds them is counted as failed."""

NOTHING = ports.Extraction(
    (), (), 0, extractor="none", model="", prompt_version="", prompt_tokens=0, completion_tokens=0, rules=True
)


@dataclass(frozen=True, slots=True)
class Extract:
    """Handles one turn of conversation.events."""

    config: WorkerConfig
    producer: AIOKafkaProducer
    messages: RecentMessages

    async def __call__(self, work: Work) -> None:
        """Extract and publish. Raises Refused, Failed or Away."""
        turn = await self._opened(read_turn(work))
        try:
            before = self.messages.of(turn.owner, turn.session_id)
            said = to_extract(turn, before)
        except SealedValue as error:
            raise Refused(str(error)) from None
        # what was destroyed before it was extracted taught nothing, which the log is to say as well
        extraction = await self._extract(said) if said.messages else NOTHING
        command = await self._command(turn, before, work.offset, extraction)
        cause = await self._send(await seal(self.config.keys, command))
        if self.config.recent is not None:
            vectors = [f.vector for f in extraction.facts[: len(command.facts)]]
            self.config.recent.remember(command, cause, vectors)
        self.messages.add(turn)

    async def _opened(self, turn: ConversationTurn) -> ConversationTurn:
        """The turn in plain, without the messages that were destroyed. Raises Refused."""
        try:
            [opened] = await open_all(self.config.keys, [turn])
        except SealedValue as error:
            raise Refused(str(error)) from None
        return what_is_left(opened)

    async def _extract(self, turn: ports.TurnToExtract) -> ports.Extraction:
        try:
            async with asyncio.timeout(self.config.call_timeout_s):
                return await self.config.extractor.extract(turn)
        except ModelUnavailable as error:
            raise Away(error.reason) from None
        except ExtractionError as error:
            raise Failed(error.reason) from None
        except TimeoutError:
            raise Failed("the extractor did not answer in time") from None

    async def _command(
        self, turn: ConversationTurn, before: tuple[Message, ...], offset: int, extraction: ports.Extraction
    ) -> FactsExtracted:
        facts = await self._facts(turn, before, extraction)
        left_out = len(extraction.facts) - len(facts)
        if left_out:
            log.warning("facts beyond the limit of one turn were left out", turn=turn.turn_id, left_out=left_out)
        return FactsExtracted(
            # the turn's id: a turn that is extracted twice is decided once
            meta=CommandMeta(command_id=turn.turn_id, owner=turn.owner, occurred_at=turn.occurred_at, actor=SOURCE),
            user_id=turn.user_id,
            agent_id=turn.agent_id,
            session_id=turn.session_id,
            source_offset=offset,
            facts=facts,
            failed=len(extraction.failures) + left_out,
            skipped_short=extraction.skipped_short,
            extractor=extraction.extractor,
            model=extraction.model,
            prompt_version=extraction.prompt_version,
            prompt_tokens=extraction.prompt_tokens,
            completion_tokens=extraction.completion_tokens,
            rules=extraction.rules,
            policy=self.config.policy,
        )

    async def _facts(self, turn: ConversationTurn, before: tuple[Message, ...], extraction: ports.Extraction) -> tuple[Fact, ...]:
        """The extractor's facts in the contract's form, up to the limits of one command; none of an owner who was erased."""
        key = await self.config.keys.fingerprint_key(turn.owner)
        if key is None:
            return ()
        shown = {label(m): MessageRef(m.message_id, m.producer_id) for m in (*before, *turn.messages)}
        facts: list[Fact] = []
        size = 0
        for found in extraction.facts:
            evidence = tuple(shown[name] for name in found.evidence if name in shown)
            size += len(found.text.encode()) + sum(map(_size, evidence))
            if len(facts) >= MAX_FACTS or size > MAX_FACT_BYTES:
                break
            facts.append(Fact(Sealed.of(found.text), fingerprint(key, found.text), evidence, found.salience))
        return tuple(facts)

    async def _send(self, command: FactsExtracted) -> int:
        meta, topics = command.meta, self.config.topics
        headers = envelope.headers_for(command, id=meta.command_id, source=SOURCE, subject=meta.owner, time=meta.occurred_at)
        return await kafka.send_to_owner(
            self.producer, topics.commands, topics.partitions, meta.owner, codec.encode(command), headers
        )


def read_turn(work: Work) -> ConversationTurn:
    """The turn in a record of conversation.events. Raises Refused."""
    try:
        return codec.decode_as(ConversationTurn, work.value or b"")
    except ContractError as error:
        raise Refused(str(error)) from None


def to_extract(turn: ConversationTurn, before: tuple[Message, ...]) -> ports.TurnToExtract:
    """The turn, opened, after the messages ``before`` it in its session. Raises SealedValue."""
    return ports.TurnToExtract(
        turn_id=turn.turn_id,
        owner_ref=turn.owner,
        user_id=left_of(turn.user_id),
        agent_id=turn.agent_id,
        session_id=left_of(turn.session_id),
        occurred_at=turn.occurred_at,
        messages=tuple(map(as_said, turn.messages)),
        recent_messages=tuple(map(as_said, before)),
    )


def _size(message: MessageRef) -> int:
    return len(message.message_id) + (len(message.producer_id.data) if message.producer_id else 0)
