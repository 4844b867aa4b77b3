"""Fingerprints: equal for what differs only in dress, different for all else, useless without the key."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.fingerprint import details_fingerprint, fingerprint, normalise, slug_fingerprint

KEY = bytes(range(32))


@pytest.mark.parametrize(
    "other",
    [
        "The cat is called Miso",
        "the cat is called miso.",
        "  The cat\tis  called\nMiso! ",
        "“The cat is called Miso”",
        "The cat is called Ｍｉｓｏ",
        "THE CAT IS CALLED MISO…",
    ],
)
def test_dress_does_not_count(other: str) -> None:
    assert fingerprint(KEY, other) == fingerprint(KEY, "The cat is called Miso")


def test_composed_and_decomposed_letters_are_one() -> None:
    assert normalise("Valparai\u0301so") == normalise("VALPARAÍSO") == "valparaíso"


@pytest.mark.parametrize(
    "other",
    ["The cat is called Mise", "The cat is not called Miso", "The cats is called Miso", "The cat is called Miso 2", "Valparaiso"],
)
def test_words_count(other: str) -> None:
    assert fingerprint(KEY, other) != fingerprint(KEY, "The cat is called Miso")


def test_accents_and_inner_punctuation_count() -> None:
    assert normalise("año") != normalise("ano")
    assert normalise("1.5 kg") != normalise("15 kg")
    assert normalise("well-known") != normalise("well known")


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(), st.sampled_from([" ", ".", "!", "\n", "…", "”"]))
def test_what_stands_at_the_edges_does_not_count(text: str, edge: str) -> None:
    assume(normalise(text + "x") == normalise(text) + "x")  # not where the edge would fuse with a combining mark
    assert normalise(edge + text + edge) == normalise(text)


@given(st.text())
def test_a_fingerprint_is_64_hex_digits_and_depends_on_the_key(text: str) -> None:
    mark = fingerprint(KEY, text)
    assert len(mark) == 64
    assert int(mark, 16) >= 0
    assert mark != fingerprint(bytes(32), text)


def test_a_lone_surrogate_from_a_model_s_json_does_not_stop_an_extractor() -> None:
    assert len(fingerprint(KEY, "caf\ud800")) == 64


def test_a_slug_has_another_fingerprint_than_the_same_words_as_a_statement() -> None:
    key = KEY
    assert slug_fingerprint(key, "company_activity") == slug_fingerprint(key, " Company_Activity ")
    prints = {slug_fingerprint(key, "company_activity"), slug_fingerprint(key, "company_regime")}
    prints |= {fingerprint(key, "company_activity"), slug_fingerprint(bytes(32), "company_activity")}
    assert len(prints) == 4


def test_details_are_told_apart_to_the_letter_and_none_have_no_fingerprint() -> None:
    key = KEY
    details: list[tuple[str | None, tuple[str, ...], str | None]] = [
        ("a", (), None), (None, ("a",), None), (None, (), "a"), ("A", (), None), ("", (), None), (None, ("a", "b"), None),
        (None, ("b", "a"), None), (None, ("a,b",), None), (None, ("",), None), (None, (), ""),
    ]  # fmt: skip
    prints = {details_fingerprint(key, *each) for each in details}
    assert None not in prints
    assert len(prints) == len(details)
    assert details_fingerprint(key, None, (), None) is None
