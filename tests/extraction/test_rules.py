from __future__ import annotations

import json
from datetime import date

import pytest

from streams.extraction.build import build_extractor
from streams.extraction.embedders import WordLlamaEmbedder
from streams.extraction.ports import Message
from streams.extraction.rules import RULES_MODEL, answer_by_rules, is_spanish, statements
from tests.extraction.parts import MemoriesInMemory, said, turn_of

DAY = date(2023, 5, 8)  # a Monday


def texts(content: str, speaker: str | None = None) -> list[str]:
    return [s.text for s in statements(content, speaker, DAY)]


@pytest.mark.parametrize(
    ("sentence", "fact"),
    [
        ("I live in Valparaíso", "User lives in Valparaíso"),
        ("I'm allergic to peanuts.", "User is allergic to peanuts"),
        ("My dog's name is Luna.", "User's dog's name is Luna"),
        ("I usually get up at six.", "User usually gets up at six"),
        ("I don't eat meat because I love animals.", "User doesn't eat meat because they love animals"),
        ("I've been learning Japanese.", "User has been learning Japanese"),
        ("I went to Paris yesterday with my brother.", "User went to Paris on 2023-05-07 with their brother"),
        ("I moved here last year.", "User moved here in 2022"),
        ("On Tuesdays I play tennis.", "On Tuesdays User plays tennis"),
        ("I study law and I work nights.", "User studies law and they work nights"),
        ("I was born in Lima and I was ill there.", "User was born in Lima and they were ill there"),
        ("I watch birds.", "User watches birds"),
        ("I can't eat gluten", "User can't eat gluten"),
        ("Call me Pepe.", "User is called Pepe"),
        ("Valparaíso is my favourite city.", "Valparaíso is User's favourite city"),
        ("The deadline for the Atlas project is 14 March.", "The deadline for the Atlas project is 14 March"),
        ("Please remember that the door code is 4411.", "The door code is 4411"),
        ("We adopted a cat last week.", "User says: we adopted a cat in the week of 2023-05-01"),
        ("i hate mondays", "User hates mondays"),
        ("Vivo en Valparaíso.", "El usuario vive en Valparaíso"),
        ("Me llamo Camila y tengo dos hijos.", "El usuario se llama Camila y tiene dos hijos"),
        ("No me gusta el cilantro.", "Al usuario no le gusta el cilantro"),
        ("Me gusta el vino tinto.", "Al usuario le gusta el vino tinto"),
        ("Ayer compré una bicicleta.", "El usuario compró una bicicleta el 2023-05-07"),
        ("Mi perro se llama Luna.", "El usuario cuenta: mi perro se llama Luna"),
        ("Nuestra empresa está en el régimen ProPyme.", "El usuario cuenta: nuestra empresa está en el régimen ProPyme"),
    ],
)
def test_a_statement_becomes_a_fact_in_the_third_person(sentence: str, fact: str) -> None:
    assert texts(sentence) == [fact]


@pytest.mark.parametrize(
    "said_again",
    [
        "I live in Valparaíso.",
        "i live in Valparaíso",
        "Hi! I live in Valparaíso, thanks!",
        "By the way, I live in Valparaíso :)",
        "Well, as I said, I live in Valparaíso, please!!",
        "Please remember that I live in Valparaíso.",
        "  I   live in\tValparaíso 🙂",
        "I live in Valparaíso",
        "I live in Valparai\u0301so",
    ],
)
def test_the_same_statement_said_again_gives_the_identical_text(said_again: str) -> None:
    assert texts(said_again) == ["User lives in Valparaíso"]


@pytest.mark.parametrize("said_again", ["Hola, vivo en Valparaíso, gracias!", "yo vivo en Valparaíso", "¡Vivo en Valparaíso!"])
def test_the_same_statement_in_spanish_said_again_gives_the_identical_text(said_again: str) -> None:
    assert texts(said_again) == ["El usuario vive en Valparaíso"]


@pytest.mark.parametrize(
    "content",
    [
        "What do you think I should do?",
        "How are you? I'm fine, thanks.",
        "That's great, thanks!",
        "Can you help me with my taxes?",
        "Let me know if I can help.",
        "Remind me to call my mom tomorrow",
        "I'd like to know the weather",
        "I see. I agree. I hope so!",
        "OK sounds good to me",
        "¿Dónde queda el banco?",
        "Gracias por la ayuda!",
        "¿Puedes ayudarme con mis impuestos?",
        "Tengo una pregunta sobre el banco.",
        "",
        "?!?",
        "\x00\ud83d",
        "I " + "very " * 300 + "long",
    ],
)
def test_questions_requests_and_small_talk_give_nothing(content: str) -> None:
    assert texts(content) == []


def test_named_speakers_are_the_subject_of_what_they_say() -> None:
    assert texts("I painted a sunrise. My kids loved it.", "Melanie") == ["Melanie painted a sunrise", "Melanie's kids loved it"]
    assert texts("Vivo en Chile", "Camila") == ["Camila vive en Chile"]


def test_people_are_heard_in_shared_conversations_and_assistants_are_not() -> None:
    statement = "I live in Valparaíso."
    messages = (
        Message("m-1", "user", None, statement),
        Message("m-2", "assistant", None, statement),
        Message("m-3", "assistant", "Helper", statement),
        Message("m-4", "assistant", "Maria", statement),
        Message("m-5", "system", "Policy", statement),
    )
    items = json.loads(answer_by_rules(turn_of(*messages, agent="helper")))["memory"]
    assert [(i["text"], i["evidence"]) for i in items] == [
        ("User lives in Valparaíso", ["m-1"]),
        ("Maria lives in Valparaíso", ["m-4"]),
    ]


def test_who_one_is_weighs_more_than_what_one_does() -> None:
    by_kind = [next(iter(statements(s, None, DAY))).salience for s in ("My name is Ana.", "I love jazz.", "I use a blue pen.")]
    assert by_kind == sorted(by_kind, reverse=True)
    assert len(set(by_kind)) == 3
    assert all(0.35 < salience <= 1 for salience in by_kind)


def test_english_and_spanish_are_told_apart_without_accents() -> None:
    assert is_spanish("me gusta el vino y tengo dos perros")
    assert not is_spanish("I live in Valparaíso and I work in Los Andes")


async def test_rules_run_through_mem0_and_say_that_they_are_rules() -> None:
    extractor = build_extractor(None, WordLlamaEmbedder(), MemoriesInMemory(**{"owner-1": ["User lives in Valparaíso"]}))
    found = await extractor.extract(turn_of(*said("I live in Valparaíso. I'm a vet.", "How are you?")))
    assert [(f.text, f.evidence) for f in found.facts] == [
        ("User lives in Valparaíso", ("msg-1",)),
        ("User is a vet", ("msg-1",)),
    ]
    assert all(f.vector is not None for f in found.facts)
    assert (found.extractor, found.model, found.rules) == ("rules", RULES_MODEL, True)
    assert (extractor.rules, found.prompt_version, found.prompt_tokens) == (True, "rules-1", 0)
    await extractor.close()
