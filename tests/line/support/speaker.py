"""An owner who says things, and what is known of that owner afterwards."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from benchmarks.owners import fixed_reference
from ops.standin.recording import RecordedFact, RecordedTurn
from ops.wiring import make_embedder, open_recall
from schemas import ids
from schemas.owner import Owner
from schemas.types import InboxMessage, InboxTurn
from tests.line.support.line import Line

AT = datetime(2026, 2, 3, 9, 30, tzinfo=UTC)


class Speaker:
    """Every turn has an id and a text of its own; ``teach`` makes the stand-in find the turn's facts."""

    def __init__(self, line: Line, name: str) -> None:
        self.line, self.owner = line, Owner.parse(f"{name}-{uuid4().hex[:8]}")
        self.said = 0

    @property
    def reference(self) -> str:
        return fixed_reference(self.owner)

    def turn(self, *facts: str, at: datetime = AT, word: str = "") -> InboxTurn:
        """A turn that the stand-in finds ``facts`` in; ``word`` stands in its text."""
        self.said += 1
        text = f"[{self.owner.id}.{self.said}] said something {word}".strip()
        self.line.standin.teach([RecordedTurn(text, text, None, tuple(RecordedFact(f) for f in facts))])
        message = InboxMessage("user", text, id=f"m-{self.owner.id}-{self.said}")
        return InboxTurn(str(self.owner), "s-1", (message,), id=f"{self.owner.id}-{self.said}", occurred_at=at)

    async def say(self, *facts: str, at: datetime = AT, again: InboxTurn | None = None) -> InboxTurn:
        """Publish a turn that holds ``facts``, or one that was published before, and wait for its outcome in the views."""
        turn = again or self.turn(*facts, at=at)
        await self.line.publish([turn])
        await self.line.settled([self.id_of(turn)])
        return turn

    def id_of(self, turn: InboxTurn) -> str:
        """Turn id of one of the owner's turns."""
        assert turn.id is not None
        return ids.turn_id(self.reference, turn.id)

    async def archive(self) -> list[dict[str, Any]]:
        """The owner's rows of the archive, in the order of their events."""
        names = ("id", "original_content", "temperature_score", "access_count", "turn_id", "session_id", "last_access")
        rows = await self.line.rows(
            f"SELECT id::text, {', '.join(names[1:])} FROM thermal_memory_archive WHERE owner = %s ORDER BY added_sequence",
            (self.reference,),
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def contents(self) -> list[str]:
        """What the archive holds of the owner, in the order of its events."""
        return [m["original_content"] for m in await self.archive()]

    async def counts(self, turn: InboxTurn) -> tuple[int, ...]:
        """The turn's extracted, new, updated, errors."""
        rows = await self.line.rows(
            "SELECT extracted, new, updated, errors FROM turn_outcome WHERE turn_id = %s", (self.id_of(turn),)
        )
        assert len(rows) == 1
        return tuple(rows[0])

    async def recalled(self, question: str) -> list[str]:
        """Contents that recall finds."""
        settings = self.line.as_settings
        embedder = make_embedder(settings)
        [vector] = await embedder.embed([question])
        async with open_recall(settings, self.line.dsn, embedder, connections=1) as recall:
            return [a.content for a in await recall.search(self.reference, question, vector, 5, datetime.now(UTC))]

    async def told_by_the_command_line(self, question: str) -> list[str]:
        """The same, as ``emberlog recall`` answers."""
        answers = (await self.line.cli("recall", question, "--owner", str(self.owner), "--json")).json()["answers"]
        return [a["memory"]["content"] for a in answers]
