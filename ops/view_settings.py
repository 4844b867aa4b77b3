"""What the views need to know of the settings: one answer for projector, setup, rebuild and verify, so that they agree."""

from __future__ import annotations

from ops.keys import audit_key
from ops.settings import Settings
from projections.view import ViewSettings
from schemas.topics import Topics
from streams.extraction.embedders import WordLlamaEmbedder


def view_settings(settings: Settings, topics: Topics | None = None) -> ViewSettings:
    """The views' settings; ``topics`` are those of the settings where none are given."""
    built_in = settings.embedding_base_url is None
    return ViewSettings(
        topics=topics or settings.topics,
        audit_key=audit_key(settings.data_dir),
        embedding_precision=settings.embedding_precision,
        embedding_dim=WordLlamaEmbedder.dimensions if built_in else settings.embedding_dim,
        salience_threshold=settings.memory_salience_write_threshold,
        hot_days=settings.memory_hot_days,
        index_memory_mb=settings.index_memory_mb,
    )
