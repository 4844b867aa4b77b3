"""What a client should know of each topic, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic. ``send`` and ``receive`` say what a client does there; None where it has no business."""

    title: str
    holds: str
    key: str
    send: str | None = None
    receive: str | None = None


_OWNER = "Owner reference, UUID."

CHANNELS = {
    "inbox": Channel(
        "Inbox",
        "What producers send: untrusted, plain, JSON or Avro. A record that cannot be admitted is parked with the reason.",
        "Any. The owner as its producer writes it, default/user/u-1, keeps the turns of one owner in order.",
        send="Publish one turn of a conversation. Headers are not read.",
    ),
    "conversation": Channel("Conversations", "Admitted turns.", _OWNER, receive="Read the admitted turns."),
    "commands": Channel(
        "Commands",
        "What an extractor found in a turn, and every request to change memory. Each command leaves at least one event.",
        _OWNER,
        send="Ask for a change of memory.",
        receive="Read what was asked for.",
    ),
    "events": Channel(
        "Memory events",
        "The log of record: every change of memory. Events come in slices, and the headers of each say which. Per owner, take a "
        "slice if its first sequence is the one after your last, drop the whole slice if it is lower, and raise an alarm if it "
        "is higher, which never happens.",
        _OWNER,
        receive="Read every change of memory.",
    ),
    "embeddings": Channel(
        "Embeddings",
        "The vectors of memories and messages. A null value says that the memory is gone.",
        "Memory or message, head and model, joined by slashes.",
        receive="Read the vectors of memories and messages.",
    ),
    "current": Channel(
        "Current memories",
        "The newest state of each memory, for consumers that want no history. A null value says that the memory is gone.",
        "Memory, UUID.",
        receive="Read the newest state of each memory.",
    ),
    "parked": Channel(
        "Parked work",
        "Work that could not be done, with the reason; requests to try it again; its outcome.",
        "Owner reference, UUID; the parked id where the owner is not known.",
        receive="Read what was parked.",
    ),
}
"""By property of ``Topics``."""
