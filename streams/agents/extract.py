"""Extraction: an admitted turn becomes ``FactsExtracted`` on the command topic, which is there before anything acts on it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaProducer

from schemas import codec, envelope
from schemas.errors import ContractError
from schemas.fingerprint import fingerprint, owner_key
from schemas.topics import partition_of
from schemas.types import ConversationTurn, Fact, FactsExtracted
from streams import kafka
from streams.config import WorkerConfig
from streams.extraction import ports
from streams.extraction.errors import ExtractionError, ModelUnavailable
from streams.recent import RecentMessages, as_said
from streams.stage import Away, Failed, Refused, Work

log = structlog.get_logger(__name__)

SOURCE = "emberlog/extract"
MAX_FACTS = 200
MAX_FACT_BYTES = 300_000
"""Bounds on one command: its events must fit into one record batch. What exceeds them is counted as failed."""


@dataclass(frozen=True, slots=True)
class Extract:
    """Handles one turn of conversation.events."""

    config: WorkerConfig
    producer: AIOKafkaProducer
    messages: RecentMessages

    async def __call__(self, work: Work) -> None:
        """Extract and publish. Raises Refused, Failed or Away."""
        turn = read_turn(work)
        extraction = await self._extract(turn)
        command = self._command(turn, work.offset, extraction)
        cause = await self._send(command)
        if self.config.recent is not None:
            vectors = [f.vector for f in extraction.facts[: len(command.facts)]]
            self.config.recent.remember(command, cause, vectors)
        self.messages.add(turn.owner, turn.session_id, map(as_said, turn.messages))

    async def _extract(self, turn: ConversationTurn) -> ports.Extraction:
        to_extract = ports.TurnToExtract(
            turn_id=turn.turn_id,
            owner_ref=turn.owner,
            user_id=turn.user_id,
            agent_id=turn.agent_id,
            session_id=turn.session_id,
            occurred_at=turn.occurred_at,
            messages=tuple(map(as_said, turn.messages)),
            recent_messages=self.messages.of(turn.owner, turn.session_id),
        )
        try:
            async with asyncio.timeout(self.config.call_timeout_s):
                return await self.config.extractor.extract(to_extract)
        except ModelUnavailable as error:
            raise Away(error.reason) from None
        except ExtractionError as error:
            raise Failed(error.reason) from None
        except TimeoutError:
            raise Failed("the extractor did not answer in time") from None

    def _command(self, turn: ConversationTurn, offset: int, extraction: ports.Extraction) -> FactsExtracted:
        key = owner_key(self.config.local_key, turn.owner)
        facts: list[Fact] = []
        size = 0
        for found in extraction.facts:
            size += len(found.text.encode()) + sum(len(m.encode()) for m in found.evidence)
            if len(facts) >= MAX_FACTS or size > MAX_FACT_BYTES:
                break
            facts.append(Fact(found.text, fingerprint(key, found.text), found.evidence, found.salience))
        left_out = len(extraction.facts) - len(facts)
        if left_out:
            log.warning("facts beyond the limit of one turn were left out", turn=turn.turn_id, left_out=left_out)
        return FactsExtracted(
            turn_id=turn.turn_id,
            owner=turn.owner,
            user_id=turn.user_id,
            agent_id=turn.agent_id,
            session_id=turn.session_id,
            occurred_at=turn.occurred_at,
            source_offset=offset,
            facts=tuple(facts),
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

    async def _send(self, command: FactsExtracted) -> int:
        topics = self.config.topics
        headers = envelope.headers_for(
            command, id=command.turn_id, source=SOURCE, subject=command.owner, time=command.occurred_at
        )
        try:
            sent = await self.producer.send_and_wait(
                topics.commands,
                codec.encode(command),
                key=command.owner.encode(),
                partition=partition_of(command.owner, topics.partitions),
                headers=headers,
            )
        except kafka.OUTAGE_ERRORS as error:
            raise Away(f"the broker is away ({type(error).__name__})") from None
        return int(sent.offset)


def read_turn(work: Work) -> ConversationTurn:
    """The turn in a record of conversation.events. Raises Refused."""
    try:
        return codec.decode_as(ConversationTurn, work.value or b"")
    except ContractError as error:
        raise Refused(str(error)) from None
