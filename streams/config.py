"""What a worker needs to know; ``ops`` fills it from the settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from schemas.sealing import Directory, Keys
from schemas.topics import Topics
from schemas.types import ThermalPolicy
from schemas.vectors import Precision
from streams.extraction.ports import Embedder, Extractor
from streams.recent import RecentFacts

AGENTS = ("admit", "extract", "decide", "embed")
EMBED_MESSAGES = "embed-messages"
"""The part of the agent ``embed`` that reads conversations: its consumer group, and its stage in the parking lot."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Addresses, policy and parts of one worker process.

    ``state_dsn`` is the database of the decider's materialised state; ``keys`` seal and open values and key the fingerprints,
    ``directory`` knows owners by their references; ``recent`` must be the object that ``extractor`` asks for nearest memories,
    where there is one; ``precision`` is that of vectors on memory.embeddings,
    and ``embed_messages`` whether messages get some. ``apart`` stands behind the names of consumer groups and stages of a worker
    that does its work beside the regular ones, from the first record on.
    """

    bootstrap: str
    topics: Topics
    state_dsn: str
    data_dir: Path
    keys: Keys = field(repr=False)
    directory: Directory = field(repr=False)
    extractor: Extractor
    embedder: Embedder
    recent: RecentFacts | None = None
    precision: Precision = "fp16"
    embed_messages: bool = True
    policy: ThermalPolicy = ThermalPolicy()  # noqa: RUF009 - frozen
    agents: frozenset[str] = frozenset(AGENTS)
    group_prefix: str = "emberlog"
    apart: str = ""
    max_in_flight: int = 32
    call_timeout_s: float = 60.0
    attempts: int = 4
    session_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        unknown = self.agents - set(AGENTS)
        if unknown or not self.agents:
            raise ValueError(f"agents are {', '.join(AGENTS)}")

    def group(self, agent: str) -> str:
        """Consumer group of one agent: each has its own, so that workers may run any subset."""
        return f"{self.topics.prefix}{self.group_prefix}-{agent}{self.apart}"
