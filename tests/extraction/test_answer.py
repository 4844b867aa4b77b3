from __future__ import annotations

import json

import pytest

from streams.extraction.answer import LONGEST_FACT, known_evidence, read_answer
from streams.extraction.errors import MalformedAnswer

GOOD = {"id": "0", "text": "User lives in Valparaíso", "attributed_to": "user"}


def answer(*items: object) -> str:
    return json.dumps({"memory": list(items)})


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "empty"),
        ("  \n", "empty"),
        ("I found nothing worth remembering.", "prose"),
        ('{"memory": [{"id": "0", "text": "User lives in Val', "not valid JSON"),
        ('{"memory": [{"id": "0", "text": "User lives"}, {"id": "1", "te', "not valid JSON"),
        ('["User lives in Valparaíso"]', "JSON of type list"),
        ('"User lives in Valparaíso"', "JSON of type string"),
        ("null", "JSON of type null"),
        ('{"facts": []}', 'no "memory"'),
        ('{"memory": {"text": "User lives in Valparaíso"}}', "of type object and not a list"),
        ('{"memory": null}', "of type null and not a list"),
        ('{"memory": ["User lives in Valparaíso", "User has a dog"]}', "no object with a text"),
        ('{"memory": [{"id": "0", "text": 17}]}', "no object with a text"),
        ("[" * 100_000, "not valid JSON|prose"),
    ],
)
def test_an_answer_of_another_shape_is_malformed_and_never_an_empty_list(raw: str | None, reason: str) -> None:
    with pytest.raises(MalformedAnswer, match=reason) as caught:
        read_answer(raw)
    assert "Valpara" not in caught.value.reason


@pytest.mark.parametrize(
    "raw",
    [
        answer(GOOD),
        f"```json\n{answer(GOOD)}\n```",
        f"```\n{answer(GOOD)}\n```",
        f"<think>hmm {{}}</think>{answer(GOOD)}",
        f"Here is the JSON:\n{answer(GOOD)}\nAnything else?",
    ],
)
def test_fences_thinking_and_words_around_the_object_are_taken_off_as_mem0_does(raw: str) -> None:
    assert [item.text for item in read_answer(raw).items] == ["User lives in Valparaíso"]


def test_no_facts_is_a_legal_answer() -> None:
    found = read_answer('{"memory": []}')
    assert (found.items, found.failures, found.skipped_short) == ([], [], 0)


def test_one_bad_item_among_good_ones_is_a_failure_and_the_others_survive() -> None:
    found = read_answer(answer(GOOD, "loose", {"id": "2"}, {"text": 17}, None, {**GOOD, "text": "User has a dog named Luna"}))
    assert [item.text for item in found.items] == ["User lives in Valparaíso", "User has a dog named Luna"]
    assert len(found.failures) == 4
    assert not any("loose" in failure.reason for failure in found.failures)


@pytest.mark.parametrize("text", ["a NUL\x00 inside a fact", "x" * (LONGEST_FACT + 1), "half a pair \ud83d of text"])
def test_a_text_that_stores_refuse_is_a_failure(text: str) -> None:
    found = read_answer(answer({"text": text}, GOOD))
    assert len(found.items) == len(found.failures) == 1
    assert found.items[0].text == GOOD["text"]


def test_facts_under_ten_characters_are_skipped_and_counted() -> None:
    found = read_answer(answer({"text": "Has a cat"}, {"text": "   short    "}, {"text": "Has a cat!"}, {"text": ""}))
    assert [item.text for item in found.items] == ["Has a cat!"]
    assert found.skipped_short == 3
    assert found.failures == []


@pytest.mark.parametrize(
    ("given", "salience"),
    [
        ({"salience": 0.25}, 0.25),
        ({"importance": 1}, 1.0),
        ({"salience": 0}, 0.0),
        ({"salience": 7}, None),
        ({"salience": True}, None),
        ({"salience": "high"}, None),
        ({"salience": float("nan")}, None),
        ({"salience": 10**400}, None),
        ({}, None),
    ],
)
def test_a_given_salience_counts_within_its_scale_and_a_rule_stands_in_otherwise(
    given: dict[str, object], salience: float | None
) -> None:
    item = read_answer(answer({**GOOD, **given})).items[0]
    assert item.salience == (0.6 if salience is None else salience)


def test_the_rule_ranks_what_users_say_of_themselves_over_what_assistants_say() -> None:
    text = "User was recommended the 14 March concert in Berlin"
    by_user, by_assistant = (read_answer(answer({"text": text, "attributed_to": who})).items[0] for who in ("user", "assistant"))
    assert 0.35 < by_assistant.salience < by_user.salience <= 1.0


def test_the_same_text_twice_is_one_fact_with_both_evidences() -> None:
    found = read_answer(answer({**GOOD, "evidence": ["m-1"]}, {**GOOD, "evidence": ["m-1", "m-2", 3], "salience": 0.9}))
    assert [(item.evidence, item.salience) for item in found.items] == [(("m-1", "m-2"), 0.9)]


def test_evidence_is_kept_where_it_names_messages_of_the_session() -> None:
    known, own = ("m-1", "m-2", "m-3"), ("m-3",)
    assert known_evidence(("m-2", "m-9", "m-2", "m-3"), known, own) == ("m-2", "m-3")
    assert known_evidence(("m-9",), known, own) == own
    assert known_evidence((), known, own) == own


def test_what_mem0_gets_to_parse_survives_its_own_cleaning() -> None:
    text = "User types <think> and </think> in forums"
    cleaned = read_answer(answer({"text": text})).for_mem0()
    assert "<" not in cleaned
    assert json.loads(cleaned)["memory"][0]["text"] == text
