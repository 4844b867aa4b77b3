"""LoCoMo's file: conversations with dates, questions with evidence, and its observations as a recording.

LoCoMo is CC BY-NC 4.0: it is read from where it lies and never committed.

    data = load_locomo("../shared/data/locomo/locomo_dev5.json")
    save_recording(data.recorded_turns(), "recording.json")

Some evidence strings of the set do not name a turn. What can be read is mended ("D8:6; D9:17" names two turns,
"D30:05" is D30:5, "D:11:26" is D11:26); what cannot ("D", a turn that does not exist) is left out; both are
counted in `LocomoData.repairs`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from ops.standin.recording import RecordedFact, RecordedTurn

_TURN_ID = re.compile(r"^D:?0*(\d+):0*(\d+)$")
_DATE_FORMAT = "%I:%M %p on %d %B, %Y"


class LocomoError(ValueError):
    """A file that is not LoCoMo's, or a part of it that cannot be read; the message says which."""


@dataclass(frozen=True, slots=True)
class LocomoTurn:
    """One utterance. `at` is the session's time plus the turn's place in it in seconds, as UTC."""

    dia_id: str
    speaker: str
    text: str
    at: datetime
    image_caption: str | None = None


@dataclass(frozen=True, slots=True)
class LocomoSession:
    """One session of a conversation. `number` counts from 1."""

    number: int
    at: datetime
    turns: tuple[LocomoTurn, ...]


@dataclass(frozen=True, slots=True)
class LocomoQuestion:
    """A question. `evidence` holds existing turn ids only; a question without any is of no use to recall.

    `category`: 1 multi-hop, 2 temporal, 3 open-domain, 4 single-hop, 5 adversarial. `answer` is None where
    the set gives none (adversarial questions).
    """

    conversation: str
    question: str
    answer: str | None
    category: int
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LocomoObservation:
    """A fact that a large model extracted. `evidence` holds existing turn ids, in the conversation's order."""

    text: str
    speaker: str
    session: int
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LocomoConversation:
    """One conversation of two people over many sessions."""

    conversation: str
    speakers: tuple[str, str]
    sessions: tuple[LocomoSession, ...]
    questions: tuple[LocomoQuestion, ...]
    observations: tuple[LocomoObservation, ...]

    def turns(self) -> Iterator[LocomoTurn]:
        """All turns in order."""
        for session in self.sessions:
            yield from session.turns


@dataclass(slots=True)
class Repairs:
    """What was wrong with evidence strings: read after all, or left out. Strings as they stand in the file."""

    mended: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    questions_without_evidence: int = 0
    observations_without_evidence: int = 0


@dataclass(frozen=True, slots=True)
class LocomoData:
    """The whole file."""

    conversations: tuple[LocomoConversation, ...]
    repairs: Repairs

    def conversation(self, name: str) -> LocomoConversation:
        """One conversation by its id ("conv-26"). Raises `LocomoError` and names those there are."""
        for conversation in self.conversations:
            if conversation.conversation == name:
                return conversation
        names = ", ".join(c.conversation for c in self.conversations)
        raise LocomoError(f"there is no conversation {name!r}; the file holds {names}")

    def recorded_turns(self, conversations: Iterable[str] | None = None) -> list[RecordedTurn]:
        """Every turn as a recorded turn, with the facts whose last evidence it is.

        A fact with several evidence turns stands at the last of them, where the whole of it has been said, and
        keeps all their ids. Turn ids are "<conversation>/<dia_id>"; evidence ids are dia_ids.
        """
        chosen = self.conversations if conversations is None else [self.conversation(c) for c in conversations]
        return [turn for conversation in chosen for turn in _recorded(conversation)]


def load_locomo(path: Path | str) -> LocomoData:
    """Read LoCoMo's JSON file. Raises `LocomoError`, or OSError where it cannot be read."""
    try:
        document = orjson.loads(Path(path).read_bytes())
    except orjson.JSONDecodeError as error:
        raise LocomoError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(document, list):
        raise LocomoError(f"{path} is not LoCoMo's file: it must hold a list of conversations")
    repairs = Repairs()
    return LocomoData(tuple(_conversation(sample, repairs) for sample in document), repairs)


def parse_session_time(text: str) -> datetime:
    """ "1:56 pm on 8 May, 2023" as an aware datetime; the set names no zone, so UTC. Raises `LocomoError`."""
    try:
        return datetime.strptime(" ".join(text.split()).upper(), _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise LocomoError(f'{text!r} is not a session time like "1:56 pm on 8 May, 2023"') from None


def turn_ids(evidence: Any) -> list[str | None]:
    """The turn ids that an evidence entry names: a string, a list, or ids joined by ";", "," or blanks.

    Leading zeros and a colon behind the D are mended. None stands for a part that names no turn.
    """
    if isinstance(evidence, list):
        return [turn for part in evidence for turn in turn_ids(part)]
    parts = re.split(r"[;,\s]+", str(evidence).strip())
    return [f"D{int(m[1])}:{int(m[2])}" if (m := _TURN_ID.match(part)) else None for part in parts if part]


def _conversation(sample: Any, repairs: Repairs) -> LocomoConversation:
    try:
        name, talk = str(sample["sample_id"]), sample["conversation"]
        speakers = (str(talk["speaker_a"]), str(talk["speaker_b"]))
        numbers = sorted(int(key[8:]) for key in talk if re.fullmatch(r"session_\d+", key) and talk[key])
        sessions = tuple(_session(number, talk) for number in numbers)
        order = {turn.dia_id: at for at, turn in enumerate(t for s in sessions for t in s.turns)}
        questions = tuple(_question(name, entry, order, repairs) for entry in sample["qa"])
        observations = tuple(_observations(sample["observation"], order, repairs))
    except (KeyError, TypeError) as error:
        raise LocomoError(f"a conversation is not in LoCoMo's form: {type(error).__name__} {error}") from None
    return LocomoConversation(name, speakers, sessions, questions, observations)


def _session(number: int, talk: Any) -> LocomoSession:
    at = parse_session_time(talk[f"session_{number}_date_time"])
    turns = tuple(
        LocomoTurn(
            dia_id=str(turn["dia_id"]),
            speaker=str(turn["speaker"]),
            text=str(turn["text"]),
            at=at + timedelta(seconds=place),
            image_caption=turn.get("blip_caption") or None,
        )
        for place, turn in enumerate(talk[f"session_{number}"])
    )
    return LocomoSession(number, at, turns)


def _question(name: str, entry: Any, order: dict[str, int], repairs: Repairs) -> LocomoQuestion:
    evidence = _valid(entry["evidence"], order, repairs)
    repairs.questions_without_evidence += not evidence
    answer = entry.get("answer")
    return LocomoQuestion(
        conversation=name,
        question=str(entry["question"]),
        answer=None if answer is None else str(answer),
        category=int(entry["category"]),
        evidence=evidence,
    )


def _observations(sessions: Any, order: dict[str, int], repairs: Repairs) -> Iterator[LocomoObservation]:
    for key in sorted(sessions, key=lambda k: int(k.split("_")[1])):
        number = int(key.split("_")[1])
        for speaker, facts in sessions[key].items():
            for text, evidence in facts:
                valid = tuple(sorted(_valid([evidence], order, repairs), key=order.__getitem__))
                if valid:
                    yield LocomoObservation(str(text), str(speaker), number, valid)
                else:
                    repairs.observations_without_evidence += 1


def _valid(entries: Iterable[Any], order: dict[str, int], repairs: Repairs) -> tuple[str, ...]:
    """Existing turn ids of evidence entries, each once; repairs are noted."""
    valid: dict[str, None] = {}
    for entry in entries:
        found = [turn for turn in turn_ids(entry) if turn is not None and turn in order]
        valid.update(dict.fromkeys(found))
        if isinstance(entry, list) or [entry] == found:
            continue
        (repairs.mended if found else repairs.left_out).append(str(entry))
    return tuple(valid)


def _recorded(conversation: LocomoConversation) -> Iterator[RecordedTurn]:
    facts: dict[str, list[RecordedFact]] = {}
    for observation in conversation.observations:
        fact = RecordedFact(observation.text, evidence=observation.evidence)
        facts.setdefault(observation.evidence[-1], []).append(fact)
    for turn in conversation.turns():
        yield RecordedTurn(
            turn=f"{conversation.conversation}/{turn.dia_id}",
            text=turn.text,
            date=turn.at.date().isoformat(),
            facts=tuple(facts.get(turn.dia_id, ())),
        )
