"""Owners: how they are read, refused, and referred to."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.errors import BadOwner
from schemas.owner import KINDS, MAX_ID_CHARS, Owner


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("default/user/u-1", Owner("default", "user", "u-1")),
        ("user/u-1", Owner("default", "user", "u-1")),
        ("u-1", Owner("default", "user", "u-1")),
        ("default/shared/tribe", Owner("default", "shared", "tribe")),
        ("acme/company/12345678k", Owner("acme", "company", "12345678k")),
        (" acme / User / María José ", Owner("acme", "user", "María José")),
        ("someone@example.org", Owner("default", "user", "someone@example.org")),
    ],
)
def test_an_owner_is_read_with_its_defaults(text: str, owner: Owner) -> None:
    assert Owner.parse(text) == owner


def test_an_id_may_hold_slashes_where_tenant_and_kind_are_written_out() -> None:
    assert Owner.parse("default/user/team/7/u-1") == Owner("default", "user", "team/7/u-1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "id is empty"),
        ("   ", "id is empty"),
        ("user/", "id is empty"),
        ("default/user/", "id is empty"),
        ("/user/u-1", "tenant"),
        ("u/1", "kind is one of user, company, shared, system"),
        ("default/robot/r2", "kind is one of"),
        ("team/7/u-1", "kind is one of"),
        ("a\0b", "NUL"),
        ("a\0b/user/u-1", "NUL"),
        ("x" * (MAX_ID_CHARS + 1), "at most 256"),
        ("x" * (MAX_ID_CHARS + 1) + "/user/u-1", "at most 256"),
    ],
)
def test_a_bad_owner_is_refused_with_what_is_wrong_and_without_its_id(text: str, words: str) -> None:
    with pytest.raises(BadOwner, match=words) as caught:
        Owner.parse(text)
    assert "u-1" not in str(caught.value)


@pytest.mark.parametrize("text", ["\ud800", "default/user/\udfff", "\ud800/user/u-1"])
def test_an_owner_that_is_no_unicode_text_is_refused(text: str) -> None:
    with pytest.raises(BadOwner):
        Owner.parse(text)


@pytest.mark.parametrize("text", ["a\x1fuser\x1fb/user/c", "a/user/b\x1fuser\x1fc"])
def test_no_two_owners_can_be_written_so_that_they_share_a_reference(text: str) -> None:
    # the unit separator joins the parts from which a reference is made: inside a part it would forge another owner
    with pytest.raises(BadOwner):
        Owner.parse(text)


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)


@given(NAMES, st.sampled_from(KINDS), NAMES)
def test_an_owner_written_out_reads_back(tenant: str, kind: str, id: str) -> None:
    assume(tenant.strip() and id.strip() and "/" not in tenant)
    owner = Owner.of(tenant, kind, id)
    assert Owner.parse(str(owner)) == owner


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_an_owner_or_a_clear_refusal(text: str) -> None:
    try:
        owner = Owner.parse(text)
    except BadOwner:
        return
    assert owner.kind in KINDS
    assert Owner.parse(str(owner)) == owner
