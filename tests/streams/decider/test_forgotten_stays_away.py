"""No forgotten fact comes back: random histories against a model of the rule that knows nothing of the decider's code.

The rule: a turn from before a forget teaches no statement that was forgotten, in the words that it had or once had, and no
message that taught it teaches anything more; a turn from before an erasure teaches nothing. Everything else is learnt.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.types import Command, FactAction
from streams.decider import EMPTY, MemoryState, OwnerState, decide, fold
from tests.streams.commands import erase, extracted, fact, forget, prints, remember
from tests.streams.decider.partial import part_of

TEXTS = ("User drinks tea", "User has a dog", "User plays chess")
MESSAGES = ("m-1", "m-2", "m-3", "m-4", "m-5", "m-6")


class Said(NamedTuple):
    text: str
    message: str
    action: FactAction
    target: str
    """What the target says when its turn is decided."""


class Turn(NamedTuple):
    id: int
    offset: int
    facts: list[Said]


class Request(NamedTuple):
    kind: Literal["forget", "remember", "erase"]
    text: str
    end_offset: int


@dataclass(eq=False)
class Kept:
    """A memory: what it says, the messages that taught it, and what it said before it was revised."""

    text: str
    messages: set[str]
    former: set[str] = field(default_factory=set)


@dataclass
class Rule:
    """What an owner's memory says, by the rule alone."""

    live: list[Kept] = field(default_factory=list)
    held_below: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    held_messages: set[str] = field(default_factory=set)
    erased_below: int = 0
    forgot_below: int = 0
    turns: set[int] = field(default_factory=set)

    def saying(self, text: str) -> Kept | None:
        return next((kept for kept in self.live if kept.text == text), None)

    def turn(self, turn: Turn) -> None:
        if turn.id in self.turns:
            return
        self.turns.add(turn.id)
        if turn.offset < self.erased_below:
            return
        for said, target in [(said, self.saying(said.target)) for said in turn.facts]:
            self._fact(said, target if target in self.live else None, turn.offset)

    def _fact(self, said: Said, target: Kept | None, offset: int) -> None:
        if said.action == "forget":
            if target is not None:
                self.forget(target, offset + 1)
            return
        if offset < self.held_below[said.text] or said.message in self.held_messages:
            return
        known = target if said.action == "reheat" and target is not None else self.saying(said.text)
        if known is None and said.action == "revise" and target is not None:
            target.former.add(target.text)
            target.text, known = said.text, target
        if known is None:
            self.live.append(Kept(said.text, {said.message}))
        else:
            known.messages.add(said.message)

    def forget(self, kept: Kept, end_offset: int) -> None:
        self.live.remove(kept)
        self.held_messages |= kept.messages
        for text in {kept.text, *kept.former}:
            self.held_below[text] = max(self.held_below[text], end_offset)
        self.forgot_below = max(self.forgot_below, end_offset)

    def request(self, request: Request) -> None:
        known = self.saying(request.text)
        if request.kind == "erase":
            # it reaches no less far than any forget before it, though it may have been asked for earlier
            self.erased_below = max(self.erased_below, request.end_offset, self.forgot_below)
            self.live.clear()
            self.held_messages.clear()
        elif request.kind == "forget" and known is not None:
            self.forget(known, request.end_offset)
        elif request.kind == "remember" and known is None:
            self.live.append(Kept(request.text, set()))


ACTIONS: tuple[FactAction, ...] = ("add", "add", "add", "reheat", "revise", "forget")
TEXT, OFFSET = st.sampled_from(TEXTS), st.integers(0, 12)
SAID = st.builds(Said, TEXT, st.sampled_from(MESSAGES), st.sampled_from(ACTIONS), TEXT)
TURNS = st.builds(Turn, st.integers(0, 40), OFFSET, st.lists(SAID, max_size=3, unique_by=lambda said: said.text))
REQUESTS = st.builds(Request, st.sampled_from(["forget"] * 4 + ["remember", "erase"]), TEXT, OFFSET)
# turns come first: a forget of what was never taught says little
HISTORIES = st.builds(lambda a, b: [*a, *b], st.lists(TURNS, min_size=2, max_size=6), st.lists(TURNS | REQUESTS, max_size=20))


@settings(max_examples=300, deadline=None)
@given(HISTORIES)
def test_exactly_what_the_rule_allows_is_remembered(history: list[Turn | Request]) -> None:
    rule, state = Rule(), EMPTY
    for cause, item in enumerate(history):
        if isinstance(item, Turn):
            rule.turn(item)
            command = _extracted(item, _live(state))
        else:
            rule.request(item)
            command = _requested(item, _live(state))
        events = decide(state, command, cause)
        assert decide(part_of(state, command), command, cause) == events, "what the command touches is enough to decide it"
        state = fold(state, events)
        assert sorted(_live(state)) == sorted(prints(kept.text) for kept in rule.live)


def _live(state: OwnerState) -> dict[str, str]:
    """Ids of the live memories by fingerprint."""
    return {entry.fingerprint: key[2:] for key, entry in state.entries.items() if isinstance(entry, MemoryState)}


def _extracted(turn: Turn, live: dict[str, str]) -> Command:
    targets = [live.get(prints(said.target), "unknown") for said in turn.facts]
    facts = (
        fact(said.text, said.message, action=said.action, target=target) for said, target in zip(turn.facts, targets, strict=True)
    )
    return extracted(f"t-{turn.id}", *facts, offset=turn.offset)


def _requested(request: Request, live: dict[str, str]) -> Command:
    if request.kind == "forget":
        return forget(live.get(prints(request.text), "unknown"), end_offset=request.end_offset)
    return remember(request.text) if request.kind == "remember" else erase(request.end_offset)
