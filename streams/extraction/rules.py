"""The offline extractor's answer to Mem0's prompt: rules, not a model.

Sentences (syntok) of the user's messages that state something in the first person, by a possessive or by a
copula become third-person facts; questions, requests and small talk give nothing. In conversations of named
people every speaker is heard; an unnamed assistant, or one named like the turn's agent, is not.

The same statement gives the same text each time, whatever greeting, courtesy, smiley or punctuation stands
around it, so that exact dedup on the log reheats it. English and, passably, Spanish.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import orjson
from syntok import segmenter

from streams.extraction import rules_english, rules_spanish
from streams.extraction.ports import Message, TurnToExtract
from streams.extraction.rules_english import words

RULES_MODEL = "emberlog-rules"
RULES_VERSION = "rules-1"

LONGEST_SENTENCE = 600
"""Characters; longer "sentences" are pasted text, code or tables, not statements."""

_SPANISH = words(
    "yo mi mis me nos soy estoy tengo vivo trabajo el la los las de del que en un una y con para por pero "
    "como muy ya no le les su sus es son fue gusta encanta se este esta hoy ayer también porque cuando"
)
_ENGLISH = words(
    "i i'm i've i'd i'll my me we our the a an and of to in is are was were have has had that this it with "
    "for on at but so because when not don't do like am been"
)
_SMILEYS = re.compile(r"(?:(?<=\s)|(?<=[.!?,;])|^)[:;]-?[)(DPp/|]+(?=\s|$)|<3")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "…": "..."})
_syntok_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence in the third person. `salience` in 0..1 by the kind of statement."""

    text: str
    salience: float


def answer_by_rules(turn: TurnToExtract) -> str:
    """The answer in the JSON that Mem0's prompt asks for, with salience and evidence beside each text."""
    memory: list[dict[str, object]] = []
    seen: set[str] = set()
    for message in turn.messages:
        if not _heard(message, turn):
            continue
        for statement in statements(message.content, message.name, turn.occurred_at.date()):
            if statement.text not in seen:
                seen.add(statement.text)
                memory.append(
                    {
                        "id": str(len(memory)),
                        "text": statement.text,
                        "attributed_to": message.role,
                        "salience": statement.salience,
                        "evidence": [message.message_id],
                    }
                )
    return orjson.dumps({"memory": memory}).decode()


def statements(content: str, speaker: str | None, day: date) -> Iterator[Statement]:
    """The facts of one message's text. `speaker` replaces "User" (or "El usuario") as their subject."""
    for sentence in sentences(content):
        spanish = is_spanish(sentence)
        rules = rules_spanish if spanish else rules_english
        core = rules.trimmed(sentence)
        if core is None or not core.strip():
            continue
        dated = _with_dates(core, day, spanish)
        found = rules.third_person(dated, speaker)
        if found is not None:
            yield Statement(_finished(found[0]), found[1])


def sentences(content: str) -> Iterator[str]:
    """Sentences of a text, whitespace and typography normalised; a line break ends a sentence."""
    clean = content.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")
    clean = unicodedata.normalize("NFC", clean).translate(_QUOTES)
    clean = _SMILEYS.sub(" ", "".join(c if unicodedata.category(c) not in ("So", "Cs", "Cf") else " " for c in clean))
    for line in clean.splitlines():
        if not line.strip():
            continue
        with _syntok_lock:
            parts = [s for paragraph in segmenter.analyze(line) for s in paragraph]
        for tokens in parts:
            sentence = " ".join("".join(t.spacing + t.value for t in tokens).split())
            if 3 < len(sentence) <= LONGEST_SENTENCE:
                yield sentence


def is_spanish(sentence: str) -> bool:
    """Guess by the frequent words of both languages; English where it is a draw."""
    if re.search(r"[¿¡ñ]", sentence):
        return True
    spoken = re.findall(r"[\w']+", sentence.lower())
    return sum(w in _SPANISH for w in spoken) > sum(w in _ENGLISH for w in spoken)


def _heard(message: Message, turn: TurnToExtract) -> bool:
    if message.role == "user":
        return True
    if message.role != "assistant" or not message.name:
        return False
    return message.name.casefold() not in {turn.agent_id.casefold(), "assistant", "ai", "bot", "agent"}


def _with_dates(sentence: str, day: date, spanish: bool) -> str:
    """Relative days resolved against the turn's date: "yesterday" is useless months later."""
    monday = day - timedelta(days=day.weekday())
    month = date(day.year, day.month, 1)
    last_month = month - timedelta(days=1)
    next_month = month + timedelta(days=32)
    if spanish:
        table = {
            r"anoche|ayer": f"el {day - timedelta(days=1)}",
            r"hoy": f"el {day}",
            r"(?:el )?año pasado": f"en {day.year - 1}",
            r"(?:el )?próximo año": f"en {day.year + 1}",
            r"(?:el )?mes pasado": f"en {last_month:%Y-%m}",
            r"la semana pasada": f"en la semana del {monday - timedelta(days=7)}",
        }
    else:
        table = {
            r"yesterday|last night": f"on {day - timedelta(days=1)}",
            r"today|tonight": f"on {day}",
            r"tomorrow": f"on {day + timedelta(days=1)}",
            r"last year": f"in {day.year - 1}",
            r"next year": f"in {day.year + 1}",
            r"last month": f"in {last_month:%Y-%m}",
            r"next month": f"in {next_month:%Y-%m}",
            r"last week": f"in the week of {monday - timedelta(days=7)}",
            r"next week": f"in the week of {monday + timedelta(days=7)}",
        }
    for phrase, replacement in table.items():
        sentence = re.sub(rf"\b(?:{phrase})\b(?!'s)", replacement, sentence, flags=re.IGNORECASE)
    return sentence


def _finished(text: str) -> str:
    text = " ".join(text.split()).strip(" ,;:-.!")
    return text[:1].upper() + text[1:]
