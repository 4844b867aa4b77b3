"""Extraction: from a conversation turn to candidate facts, through Mem0.

Usage:

    from streams.extraction.build import ModelConfig, build_extractor
    from streams.extraction.embedders import build_embedder

    embedder = build_embedder()                           # the embedded default, 256 dimensions
    extractor = build_extractor(None, embedder, nearest)  # None: the offline rules, not a model
    extraction = await extractor.extract(turn)

This package module imports nothing, so that shapes (`ports`), errors and embedders stay cheap to import;
Mem0 itself takes about two seconds and comes in with `build`.
"""
