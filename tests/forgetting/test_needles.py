"""Texts are found in the forms in which programs write them down, and told apart from what is only alike."""

from __future__ import annotations

import base64
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.forgetting.needles import SHORTEST, SHORTEST_BASE64, Hit, Needles, TooShort

TEXT = 'Señora Ünal says "the code/key is 7731"'
NOISE = bytes(range(256)) * 3
sought = st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=40).filter(
    lambda text: len(text.strip().encode()) >= SHORTEST_BASE64
)


def forms(data: bytes, text: str = TEXT) -> list[str]:
    return [hit.form for hit in Needles([text]).find(NOISE + data + NOISE)]


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (TEXT.encode(), "utf-8"),
        (TEXT.upper().encode(), "utf-8"),
        (TEXT.lower().encode(), "utf-8"),
        (unicodedata.normalize("NFD", TEXT).encode(), "utf-8"),
        (json.dumps(TEXT).encode(), "json"),
        (json.dumps(TEXT.upper()).encode(), "json"),
        (json.dumps(TEXT, ensure_ascii=False).encode(), "json"),
        (json.dumps(TEXT).replace("/", "\\/").replace("\\u00f1", "\\u00F1").encode(), "json"),
        (TEXT.encode("utf-16-le"), "utf-16"),
        (TEXT.upper().encode("utf-16-be"), "utf-16"),
        (base64.b64encode(TEXT.encode()), "base64"),
        (base64.b64encode(b"x" + TEXT.encode() + b"yz"), "base64"),
        (base64.urlsafe_b64encode(b"xy" + TEXT.encode()), "base64"),
    ],
)
def test_a_text_is_found_in_each_form(data: bytes, form: str) -> None:
    assert forms(data) == [form]


@pytest.mark.parametrize(
    "data",
    [
        TEXT[:-2].encode(),
        TEXT.replace("7731", "7732").encode(),
        TEXT.replace("ñ", "n").encode(),
        TEXT.encode().hex().encode(),
        b"",
    ],
)
def test_a_text_that_is_only_alike_is_not_found(data: bytes) -> None:
    assert forms(data) == []


@given(sought, st.binary(max_size=20), st.binary(max_size=20))
def test_any_text_is_found_between_any_bytes_in_each_form(text: str, before: bytes, after: bytes) -> None:
    needles, text = Needles([text]), text.strip()
    for encoded in (
        text.encode(),
        text.encode("utf-16-le"),
        text.encode("utf-16-be"),
        json.dumps(text).encode(),
        json.dumps(text, ensure_ascii=False).encode(),
    ):
        assert list(needles.find(before + encoded + after))
    assert list(needles.find(base64.b64encode(before + text.encode() + after)))


@given(sought, st.binary(max_size=60))
def test_no_match_is_longer_than_what_portions_overlap_by(text: str, data: bytes) -> None:
    needles = Needles([text])
    for hit in needles.find(data + text.upper().encode() + json.dumps(text).encode() + text.encode("utf-16-be")):
        assert hit.end - hit.start <= needles.longest


def test_each_place_is_told_once_with_the_number_of_its_text() -> None:
    found = list(Needles(["first text", "second text"]).find(b"--Second Text--FIRST TEXT"))
    assert sorted(found) == [Hit(2, 13, 2, "utf-8"), Hit(15, 25, 1, "utf-8")]


def test_what_would_be_found_everywhere_is_refused_and_nothing_shows_what_is_sought() -> None:
    with pytest.raises(TooShort) as refused:
        Needles(["abc"[:SHORTEST] + "  "])
    assert "abc" not in str(refused.value)
    assert "Ünal" not in repr(Needles([TEXT]))
