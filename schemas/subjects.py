"""Which key protects which value of a record: its subject.

| value | subject |
|---|---|
| a message's words, their vector, its name, caption and producer's id, wherever it is named | the message |
| a turn's tool calls and model messages | the turn |
| a fact's words, entities and triples; what a request wants to be remembered, its slug, category, tags | the statement |
| a day's summary | the summary, as one command made it |
| who it is, sessions, aliases, settings, paths of exports | the owner |
| work in the parking lot | its entry there |

A statement is known by its fingerprint and by the command that brought it: a key of its own each time it is said. So a forget
destroys what was said below some offset of the conversation, or requested before it, and leaves what is said later. So does a
day's summary that is made anew. Values of
events are copies of their commands' and stay sealed as they are.
"""

from __future__ import annotations

import operator
import typing
from collections.abc import Callable, Hashable, Iterator
from functools import cache
from typing import Any, Literal, TypeVar, cast

from msgspec.structs import replace

from schemas import types
from schemas.ids import summary_id
from schemas.sealed import DESTROYED, PLAIN, Sealed
from schemas.value import Value, is_value_type

R = TypeVar("R", bound=Value)
SubjectKind = Literal["owner", "turn", "message", "statement", "summary", "parked"]
BY_REQUEST = 2**63 - 1
"""The offset of what was not said in a conversation: no forget reaches it before it is decided."""


class Subject(Value, frozen=True):
    """What one key protects.

    ``owner`` is a reference, empty for parked work that names none; ``name`` a message's reference, a turn's, summary's or parked
    work's id, a statement's fingerprint. A statement and a summary have ``cause``, the id of the command that brought it; a
    statement has ``offset``, that of the turn in the conversation.
    """

    owner: str
    kind: SubjectKind
    name: str = ""
    cause: str = ""
    offset: int = 0


Visit = Callable[[Sealed, Subject], Sealed]
_OF_THE_OWNER = frozenset({"user_id", "session_id", "alias", "path", "instruction"})


def subjects_of(record: Value) -> set[Subject]:
    """Subjects of the values of ``record`` that are in plain."""
    found: set[Subject] = set()

    def visit(value: Sealed, subject: Subject) -> Sealed:
        found.add(subject)
        return value

    sealed_with(record, visit)
    return found


def sealed_with(record: R, change: Visit) -> R:
    """``record`` with ``change`` made to every value that is in plain."""

    def visit(value: Sealed, subject: Subject) -> Sealed:
        return change(value, subject) if value.cipher == PLAIN else value

    return cast(R, _walk(record, visit, _outermost(record)))


def key_ids_of(record: Value) -> Iterator[str]:
    """Ids of the keys that the values of ``record`` are sealed under."""
    return (value.key_id for value in _values(record) if _is_closed(value) and value.key_id is not None)


def holds_destroyed(record: Value) -> bool:
    """Whether any value of ``record`` is gone for good."""
    return any(value.is_destroyed for value in _values(record))


def opened_with(record: R, change: Callable[[Sealed], Sealed]) -> R:
    """``record`` with ``change`` made to every value that is sealed."""

    def visit(value: Sealed, _: Subject) -> Sealed:
        return change(value) if _is_closed(value) else value

    return cast(R, _walk(record, visit, _NOBODY))


def _is_closed(value: Sealed) -> bool:
    return value.cipher not in (PLAIN, DESTROYED)


def _values(record: Value) -> list[Sealed]:
    found: list[Sealed] = []

    def visit(value: Sealed, _: Subject) -> Sealed:
        found.append(value)
        return value

    _walk(record, visit, _NOBODY)
    return found


# -- walking: one function per type, None for a type without such values

Walk = Callable[[Any, Visit, Subject], Any]
_NOBODY = Subject("", "owner")


def _walk(record: Any, visit: Visit, subject: Subject) -> Any:
    walk = _walk_of(cast(Hashable, type(record)))
    return record if walk is None else walk(record, visit, subject)


@cache
def _walk_of(hint: Hashable) -> Walk | None:
    if hint is Sealed:
        return lambda value, visit, subject: visit(value, subject)
    if is_value_type(hint):
        return _walk_of_fields(hint)
    origin, inner = typing.get_origin(hint), [_walk_of(h) for h in typing.get_args(hint) if h is not type(None)]
    walk = next((w for w in inner if w is not None), None)
    if walk is None:
        return None
    if origin is tuple:
        return lambda value, visit, subject: _changed(value, tuple([walk(item, visit, subject) for item in value]))
    if origin is dict:
        return lambda value, visit, subject: {name: walk(item, visit, subject) for name, item in value.items()}
    return lambda value, visit, subject: None if value is None else walk(value, visit, subject)


def _changed(before: tuple[Any, ...], after: tuple[Any, ...]) -> tuple[Any, ...]:
    """``after``, or ``before`` itself where nothing differs: what holds it need not be made anew then."""
    return before if all(map(operator.is_, before, after)) else after


def _walk_of_fields(kind: type[Value]) -> Walk | None:
    hints = typing.get_type_hints(kind)
    walks = [(name, walk) for name in kind.__struct_fields__ if (walk := _walk_of(hints[name])) is not None]
    if not walks:
        return None
    choose = _CHOICES.get(kind, _inherit)
    names_owner = any(name in _OF_THE_OWNER for name, _ in walks)

    def walked(value: Any, visit: Visit, subject: Subject) -> Any:
        own = subject if subject is _NOBODY else choose(value, subject)
        of_owner = Subject(own.owner, "owner") if names_owner and own is not _NOBODY else own
        changes = {}
        for name, walk in walks:
            part = getattr(value, name)
            if part is not None:
                made = walk(part, visit, of_owner if name in _OF_THE_OWNER else own)
                if made is not part:
                    changes[name] = made
        return replace(value, **changes) if changes else value

    return walked


def _inherit(_: Any, around: Subject) -> Subject:
    return around


def _outermost(record: Any) -> Subject:
    meta = getattr(record, "meta", None)
    owner = meta.owner if meta is not None else getattr(record, "owner", None)
    return Subject(owner or "", "owner")


def _fact(fact: types.Fact, around: Subject) -> Subject:
    return Subject(around.owner, "statement", fact.fingerprint, around.cause, around.offset)


def _request(command: types.Remember | types.Revise, around: Subject) -> Subject:
    return Subject(around.owner, "statement", command.fingerprint, command.meta.command_id, BY_REQUEST)


def _summary(day: types.ConsolidateDay, around: Subject) -> Subject:
    # one that is made anew must not go with the one before, whose forgetting is decided and not carried out yet
    return Subject(around.owner, "summary", summary_id(around.owner, day.day.isoformat()), day.meta.command_id)


_CHOICES: dict[type[Any], Callable[[Any, Subject], Subject]] = {
    types.ConversationTurn: lambda turn, around: Subject(around.owner, "turn", turn.turn_id),
    types.Message: lambda message, around: Subject(around.owner, "message", message.message_id),
    types.MessageEmbedding: lambda it, around: Subject(around.owner, "message", it.message_id),
    types.MessageRef: lambda message, around: Subject(around.owner, "message", message.message_id),
    # for the facts in it
    types.FactsExtracted: lambda it, around: Subject(around.owner, "statement", "", it.meta.command_id, it.source_offset),
    types.Fact: _fact,
    types.Remember: _request,
    types.Revise: _request,
    types.ConsolidateDay: _summary,
    types.WorkParked: lambda work, around: Subject(around.owner, "parked", work.parked_id),
}
