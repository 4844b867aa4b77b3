"""The demo on a conversation of LoCoMo: a large model's recorded facts by the stand-in endpoint, every turn at its own date."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.cli.errors import CliError
from ops.cli.outcomes import Outcomes
from ops.cli.owners import known
from ops.cli.target import Target
from ops.demo.play import Claim, publish, settle
from ops.demo.steps import Steps
from ops.standin.app import MODEL
from ops.standin.locomo import LocomoConversation, LocomoData, LocomoQuestion, load_locomo
from ops.standin.recording import RecordedTurn, save_recording
from ops.wiring import make_embedder, open_recall
from projections.recall import Recalled
from schemas.owner import Owner
from schemas.types import InboxMessage, InboxTurn

QUESTIONS_SHOWN = 5
K = 10
TURNS_S = 540.0
ADVERSARIAL = 5
SHORTEST_FACT = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with the best answers; ``hit`` where one of them rests on a message that holds the evidence."""

    question: LocomoQuestion
    answers: tuple[Recalled, ...]
    hit: bool


@dataclass(slots=True)
class PlayedLocomo:
    """What happened: counts, every question that can be asked of the turns played, and the claims."""

    conversation: str
    turns: int
    outcomes: Outcomes
    asked: list[Asked]
    claims: list[Claim]

    @property
    def holds(self) -> bool:
        return all(claim.holds for claim in self.claims)

    @property
    def hits(self) -> int:
        return sum(asked.hit for asked in self.asked)


@dataclass(frozen=True, slots=True)
class LocomoScript:
    """Turns to publish, the facts recorded for them, and the questions whose evidence is among them."""

    conversation: str
    owner: Owner
    turns: tuple[InboxTurn, ...]
    recorded: tuple[RecordedTurn, ...]
    questions: tuple[LocomoQuestion, ...]


def load(path: Path, name: str, limit: int | None) -> LocomoScript:
    """The first ``limit`` turns (all, if None) of conversation ``name``. Raises CliError for a file that is not LoCoMo's."""
    try:
        data: LocomoData = load_locomo(path)
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}") from None
    conversation = data.conversation(name)
    owner = Owner.of("default", "shared", name)
    turns = tuple(_inbox_turns(conversation, owner))[:limit]
    played = {turn.id for turn in turns}
    recorded = tuple(turn for turn in data.recorded_turns([name]) if turn.turn.removeprefix(f"{name}/") in played)
    questions = tuple(
        q for q in conversation.questions if q.evidence and q.category != ADVERSARIAL and played.issuperset(q.evidence)
    )
    return LocomoScript(name, owner, turns, recorded, questions)


def _inbox_turns(conversation: LocomoConversation, owner: Owner) -> Iterable[InboxTurn]:
    for session in conversation.sessions:
        for turn in session.turns:
            message = InboxMessage(
                role="user", content=turn.text, id=turn.dia_id, name=turn.speaker, image_caption=turn.image_caption
            )
            yield InboxTurn(
                owner=str(owner),
                session_id=f"session-{session.number}",
                messages=(message,),
                id=turn.dia_id,
                agent_id="locomo",
                occurred_at=turn.at,
            )


def write_recording(script: LocomoScript, folder: Path) -> Path:
    """The recorded facts as the stand-in's file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recording.json"
    save_recording(script.recorded, path)
    return path


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def model_settings(port: int) -> dict[str, Any]:
    """Settings that make the stand-in on ``port`` the model."""
    return {"vllm_base_url": f"http://127.0.0.1:{port}/v1", "vllm_model": MODEL, "vllm_api_key": None}


async def play(target: Target, script: LocomoScript, steps: Steps) -> PlayedLocomo:
    """Publish the conversation, wait, ask its questions."""
    steps.say(f"publishing {len(script.turns)} turns of {script.conversation}")
    turn_ids = await publish(target, script.turns)
    steps.say("reading turns, making memories")
    outcomes = await settle(target, turn_ids, steps, TURNS_S)
    steps.say(f"asking {len(script.questions)} questions")
    asked = await _ask_all(target, script)
    recorded = sum(len(fact.text) >= SHORTEST_FACT for turn in script.recorded for fact in turn.facts)
    totals = outcomes.totals
    claims = [
        Claim(f"all {len(turn_ids)} turns were read", len(outcomes.turns) == len(turn_ids)),
        Claim(f"each of the {recorded} recorded facts was extracted", totals["extracted"] + totals["errors"] == recorded),
        Claim("no turn had an error", totals["errors"] == 0),
    ]
    return PlayedLocomo(script.conversation, len(turn_ids), outcomes, asked, claims)


async def _ask_all(target: Target, script: LocomoScript) -> list[Asked]:
    embedder = make_embedder(target.settings)
    asked = []
    now = datetime.now(UTC)
    owner = await known(target, script.owner)
    async with open_recall(target.settings, target.dsn, embedder, connections=1) as recall:
        for question in script.questions:
            [vector] = await embedder.embed([question.question])
            found = await recall.search(owner, question.question, vector, K, now)
            said = {m for memory in found for mention in memory.provenance.mentions for m in mention.producer_message_ids}
            asked.append(Asked(question, tuple(found), not said.isdisjoint(question.evidence)))
    await embedder.close()
    return asked


def chosen(asked: list[Asked]) -> list[Asked]:
    """A few to show, spread over the conversation: hits and misses as they come."""
    step = max(1, len(asked) // QUESTIONS_SHOWN)
    return asked[::step][:QUESTIONS_SHOWN]
