"""The state of one extraction. Everything that Mem0 would keep between calls lives and dies here."""

from __future__ import annotations

from dataclasses import dataclass, field

from streams.extraction.answer import Answer
from streams.extraction.bridge import Bridge
from streams.extraction.errors import ExtractionError
from streams.extraction.ports import Message, NearestMemories, TurnToExtract

HEARD_ROLES = ("user", "assistant", "system")
"""Roles that Mem0 puts into its prompt; messages of other roles (tool results) are not for extraction."""


@dataclass(slots=True)
class Call:
    """One call's inputs, wires and findings. Never shared between calls.

    `error` is the first error that must not be lost: Mem0 logs and drops several kinds of errors.
    """

    turn: TurnToExtract
    nearest: NearestMemories
    bridge: Bridge
    answer: Answer = field(default_factory=Answer)
    vectors: dict[str, tuple[float, ...]] = field(default_factory=dict)
    error: Exception | None = None
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut_off: bool = False

    def fail(self, error: Exception) -> Exception:
        """Remember the first error, and return the one to raise."""
        if self.error is None:
            self.error = error
        return self.error

    def fail_if_failed(self) -> None:
        """Raise the error of an earlier step again, so that Mem0's fallbacks do not hammer an endpoint."""
        if self.error is not None:
            raise self.error


def heard(messages: tuple[Message, ...]) -> list[Message]:
    """Messages with something to extract from."""
    return [m for m in messages if m.role in HEARD_ROLES and (m.content.strip() or m.image_caption)]


def as_mem0(message: Message) -> dict[str, str]:
    """A message as Mem0 takes it: role and content.

    Mem0's prompt knows speakers only as "Name: …" in front of the content (its Example 12), and pictures
    not at all, so both are written into the content.
    """
    content = message.content
    if message.image_caption:
        content = f"{content} [image: {message.image_caption}]".strip()
    if message.name:
        content = f"{message.name}: {content}"
    return {"role": message.role, "content": content}


def unexpected(error: BaseException) -> ExtractionError:
    """An error of a library in our words: its type only, since its text may quote the conversation."""
    return ExtractionError(f"the extractor failed ({type(error).__name__})")
