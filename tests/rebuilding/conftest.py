"""Fixtures of the proofs of rebuilding: lines as those of ``tests.line``."""

from __future__ import annotations

from tests.line.conftest import keys, make_line, standin

__all__ = ["keys", "make_line", "standin"]
