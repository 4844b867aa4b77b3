"""Python types of the records on the topics; field for field the Avro files in ``avro/``.

Times are aware UTC datetimes, ids are canonical UUID text, fingerprints hex.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ThermalPolicy:
    """How warmth behaves: degrees 0-100, half-life in days. Values that a decision used stand in its events."""

    initial: float = 75.0
    reheat: float = 5.0
    maximum: float = 100.0
    floor: float = 20.0
    half_life_days: float = 30.0


@dataclass(frozen=True, slots=True)
class Message:
    """One utterance; ``message_id`` is unique within its owner."""

    message_id: str
    role: str
    content: str
    name: str | None = None
    image_caption: str | None = None
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """One utterance as its producer sends it."""

    role: str
    content: str
    id: str | None = None
    name: str | None = None
    image_caption: str | None = None
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class InboxTurn:
    """One turn as an outside producer sends it: untrusted, plain. ``owner`` is ``tenant/kind/id``."""

    owner: str
    session_id: str
    messages: tuple[InboxMessage, ...]
    id: str | None = None
    agent_id: str | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ConversationTurn:
    """One admitted turn: one or more messages of one session."""

    turn_id: str
    owner: str
    user_id: str
    agent_id: str
    session_id: str
    occurred_at: datetime
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """One candidate fact with the ids of the messages that say so."""

    text: str
    fingerprint: str
    evidence: tuple[str, ...]
    salience: float


@dataclass(frozen=True, slots=True)
class FactsExtracted:
    """Command: what an extractor found in one turn."""

    turn_id: str
    owner: str
    user_id: str
    agent_id: str
    session_id: str
    occurred_at: datetime
    source_offset: int
    facts: tuple[Fact, ...]
    failed: int
    skipped_short: int
    extractor: str
    model: str
    prompt_version: str
    prompt_tokens: int
    completion_tokens: int
    rules: bool
    policy: ThermalPolicy


@dataclass(frozen=True, slots=True)
class Forget:
    """Command: forget single memories. Turns at or above ``conversation_end_offset`` may teach the fact anew."""

    command_id: str
    owner: str
    memory_ids: tuple[str, ...]
    conversation_end_offset: int
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class SourceRef:
    """The turn and messages behind a decision, and the counts of that turn."""

    turn_id: str
    session_id: str
    agent_id: str
    message_ids: tuple[str, ...]
    source_offset: int
    facts_in_turn: int
    failed_in_turn: int


@dataclass(frozen=True, slots=True)
class EventMeta:
    """What every memory event carries: ``sequence`` is 1, 2, 3… per owner, ``cause`` the offset of its command."""

    owner: str
    sequence: int
    cause: int
    decider_version: int
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class MemoryAdded:
    """Event: a new memory."""

    meta: EventMeta
    memory_id: str
    user_id: str
    content: str
    fingerprint: str
    salience: float
    temperature: float
    policy: ThermalPolicy
    source: SourceRef
    extractor: str
    model: str
    rules: bool


@dataclass(frozen=True, slots=True)
class MemoryReheated:
    """Event: a known memory was mentioned again; it has ``temperature`` degrees at ``warmed_at``."""

    meta: EventMeta
    memory_id: str
    temperature_before: float
    temperature: float
    warmed_at: datetime
    access_count: int
    policy: ThermalPolicy
    source: SourceRef


@dataclass(frozen=True, slots=True)
class MemoryForgotten:
    """Event: a memory leaves every store."""

    meta: EventMeta
    memory_id: str
    conversation_end_offset: int
    kept_message_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommandNoted:
    """Event: a command changed nothing, and why."""

    meta: EventMeta
    command_type: str
    reason: str
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True)
class CommandRejected:
    """Event: a command could not be carried out, and why."""

    meta: EventMeta
    command_type: str
    reason: str


@dataclass(frozen=True, slots=True)
class MemoryEmbedding:
    """The vector of one memory under one model: float32, little endian, L2-normalised."""

    memory_id: str
    owner: str
    head: str
    model: str
    dimensions: int
    vector: bytes
    sequence: int


@dataclass(frozen=True, slots=True)
class WorkParked:
    """Work that could not be done, kept for a person; ``behind`` names the parked work it waits behind."""

    parked_id: str
    owner: str | None
    stage: str
    topic: str
    partition: int
    offset: int
    reason: str
    behind: str | None
    attempts: int
    parked_at: datetime
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParkedRetryRequested:
    """Somebody asks to try parked work again."""

    parked_id: str
    owner: str | None
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class ParkedResolved:
    """Parked work left the lot: ``outcome`` is done or dropped."""

    parked_id: str
    owner: str | None
    outcome: str
    resolved_at: datetime


Command = FactsExtracted | Forget
MemoryEvent = MemoryAdded | MemoryReheated | MemoryForgotten | CommandNoted | CommandRejected
ParkedRecord = WorkParked | ParkedRetryRequested | ParkedResolved
Record = InboxTurn | ConversationTurn | Command | MemoryEvent | MemoryEmbedding | ParkedRecord

COMMANDS: tuple[type[Command], ...] = (FactsExtracted, Forget)
EVENTS: tuple[type[MemoryEvent], ...] = (
    MemoryAdded,
    MemoryReheated,
    MemoryForgotten,
    CommandNoted,
    CommandRejected,
)
RECORDS: tuple[type[Record], ...] = (
    InboxTurn,
    ConversationTurn,
    *COMMANDS,
    *EVENTS,
    MemoryEmbedding,
    WorkParked,
    ParkedRetryRequested,
    ParkedResolved,
)
