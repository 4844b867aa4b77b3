"""Admission of inbox records: each is judged once, when it comes, since its lane is its owner's; then it is published."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

from schemas import codec, envelope
from schemas.sealing import seal
from schemas.subjects import holds_destroyed
from streams import kafka
from streams.agents.admit import Admissible, InboxPosition, admit
from streams.config import WorkerConfig
from streams.failures import Away, Refused
from streams.stage import Work

SOURCE = "emberlog/admit"
TIME_HEADER = "emberlog-inbox-time"


@dataclass(frozen=True, slots=True)
class JudgedWork(Work):
    """An inbox record with its turn, or with the reason why it is refused."""

    verdict: Admissible | str

    @property
    def lane(self) -> str:
        """The owner's; a refused record has its own, where it is parked. For this process only: it is the owner in clear."""
        return f"{self.partition}/{self.offset}" if isinstance(self.verdict, str) else str(self.verdict.owner)


def judge(work: Work, timestamp: float) -> JudgedWork:
    """``work`` with its verdict, and with its record's time (seconds) as a header: parked and tried again, it keeps it."""
    headers = work.headers if TIME_HEADER in work.headers else {**work.headers, TIME_HEADER: repr(timestamp).encode()}
    stamped = Work(work.topic, work.partition, work.offset, work.key, work.value, headers)
    verdict: Admissible | str
    try:
        verdict = _admissible(stamped)
    except Refused as error:
        verdict = error.reason
    return JudgedWork(work.topic, work.partition, work.offset, work.key, work.value, headers, verdict)


@dataclass(frozen=True, slots=True)
class Admission:
    """Handles one record of the inbox."""

    config: WorkerConfig
    producer: AIOKafkaProducer

    async def __call__(self, work: Work) -> None:
        """Publish the turn. Raises Refused or Away. Work that comes back from the parking lot is judged anew."""
        verdict = work.verdict if isinstance(work, JudgedWork) else _admissible(work)
        if isinstance(verdict, str):
            raise Refused(verdict)
        reference = await self.config.directory.reference_of(verdict.owner)
        turn, topics = await seal(self.config.keys, verdict.turn(reference)), self.config.topics
        if holds_destroyed(turn):
            # one of its messages was forgotten before; or the reference was kept from before an erasure: published under it, the
            # turn would be lost without a word
            self.config.directory.clear()
            if await self.config.directory.reference_of(verdict.owner) != reference:
                raise Away("the owner was erased in this moment")
        headers = envelope.headers_for(turn, id=turn.turn_id, source=SOURCE, subject=turn.owner, time=turn.occurred_at)
        await kafka.send_to_owner(self.producer, topics.conversation, topics.partitions, turn.owner, codec.encode(turn), headers)


def _admissible(work: Work) -> Admissible:
    try:
        timestamp = datetime.fromtimestamp(float(work.headers[TIME_HEADER]), UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        raise Refused("the record's own time cannot be read") from None
    return admit(work.value, InboxPosition(work.topic, work.partition, work.offset, timestamp), datetime.now(UTC))
