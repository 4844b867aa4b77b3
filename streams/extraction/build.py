"""The one constructor that `ops` calls."""

from __future__ import annotations

from streams.extraction.bridge import ensure_executor, make_executor
from streams.extraction.extractor import Mem0Extractor, ModelConfig, ModelExtractor, RulesExtractor
from streams.extraction.ports import Embedder, NearestMemories

__all__ = ["ModelConfig", "build_extractor", "ensure_executor", "make_executor"]

IN_FLIGHT = 64


def build_extractor(
    config: ModelConfig | None, embedder: Embedder, nearest: NearestMemories, *, in_flight: int = IN_FLIGHT
) -> Mem0Extractor:
    """The extractor for a model endpoint, or the offline rules where `config` is None.

    `in_flight` bounds parallel extractions and sizes the loop's default executor, which the first
    extraction replaces (see `ensure_executor`). The embedder stays the caller's to close.
    """
    if config is None:
        return RulesExtractor(embedder, nearest, in_flight=in_flight, call_timeout_s=60.0)
    return ModelExtractor(config, embedder, nearest, in_flight=in_flight)
