"""How work can fail to be done. Every ``reason`` is free of content."""

from __future__ import annotations


class _WithReason(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refused(_WithReason):
    """The work cannot be done, and trying again would not help."""


class Failed(_WithReason):
    """An attempt failed; another may succeed."""


class Away(_WithReason):
    """Something that the work needs is away; the work itself is not at fault."""
