"""Statements that somebody asks to remember: checked, with their fingerprints; they are sealed when they are sent."""

from __future__ import annotations

from collections.abc import Sequence

from ops.cli.asking import Request
from ops.cli.errors import CliError, UsageError
from ops.cli.target import Target
from schemas.fingerprint import details_fingerprint, fingerprint, slug_fingerprint
from schemas.owner import Owner
from schemas.sealed import Sealed, maybe
from schemas.types import CommandMeta, Remember, Revise

SALIENCE = 1.0
"""What somebody asks for by name matters."""
MAX_CHARACTERS = 100_000


class Statements:
    """Makes the commands that carry words of one owner; ``key`` is that owner's."""

    def __init__(self, target: Target, owner: Owner, key: bytes) -> None:
        self._policy, self._owner, self._key = target.settings.policy, owner, key

    @classmethod
    async def of(cls, request: Request) -> Statements:
        """With the owner's fingerprint key. Raises CliError where the owner was erased in this moment."""
        key = await request.keys.fingerprint_key(request.reference)
        if key is None:
            raise CliError("the owner was erased", "ask again: a new memory begins")
        return cls(request.target, request.owner, key)

    def remember(
        self, meta: CommandMeta, text: str, *, slug: str | None = None, category: str | None = None, tags: Sequence[str] = ()
    ) -> Remember:
        """Keep this statement."""
        return Remember(
            meta=meta,
            user_id=Sealed.of(self._owner.id),
            content=Sealed.of(text),
            fingerprint=fingerprint(self._key, text),
            salience=SALIENCE,
            policy=self._policy,
            slug=maybe(slug),
            slug_fingerprint=None if slug is None else slug_fingerprint(self._key, slug),
            category=maybe(category),
            tags=tuple(map(Sealed.of, tags)),
            details_fingerprint=details_fingerprint(self._key, category, tags, None),
        )

    def revise(self, meta: CommandMeta, memory_id: str, text: str, expected_version: int | None) -> Revise:
        """Other words for a memory."""
        return Revise(
            meta=meta,
            memory_id=memory_id,
            content=Sealed.of(text),
            fingerprint=fingerprint(self._key, text),
            policy=self._policy,
            expected_version=expected_version,
        )


def checked(text: str, what: str = "the text") -> str:
    """``text`` without white space at its ends. Raises UsageError where it cannot be a statement, a slug or a tag."""
    text = text.strip()
    if not text:
        raise UsageError(f"{what} is empty")
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"{what} has more than {MAX_CHARACTERS} characters")
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        raise UsageError(f"{what} is no valid text: it holds a NUL character or bytes that are not UTF-8")
    return text
