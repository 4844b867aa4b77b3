"""Owners: the reference that stands for them on the log, other names for them, and lists, on a running set."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import Cli, Inside, reference

UNKNOWN = "00000000-0000-4000-8000-000000000001"


def remembered(inside: Inside, owner: str, text: str) -> str:
    """Id of a memory with this text."""
    [memory] = inside.ok("remember", text, "--owner", owner, "--json").json["memory_ids"]
    return str(memory)


def test_an_owner_is_shown_with_the_reference_that_the_log_carries_and_the_other_way_round(running: Cli, inside: Inside) -> None:
    remembered(inside, "ow-ann", "Ann mends nets")
    shown = inside.ok("owner", "show", "ow-ann", "--json").json
    assert shown == {"owner": "default/user/ow-ann", "reference": reference(running, "ow-ann"), "aliases": []}
    [event] = inside.ok("tail", "events", "--owner", "ow-ann", "--json").lines
    assert event["key"] == shown["reference"]
    assert inside.ok("owner", "show", "--reference", event["key"].upper(), "--json").json == shown
    text = inside.ok("owner", "show", "user/ow-ann").out
    assert text.splitlines() == ["owner      default/user/ow-ann", f"reference  {shown['reference']}", "aliases    none"]


def test_an_alias_stands_for_its_owner_in_everything_that_is_asked_or_published(running: Cli, inside: Inside) -> None:
    memory = remembered(inside, "ow-bo", "Bo tunes pianos")
    told = inside.ok("owner", "alias", "ow-bo", "company/ow-bo@example.org").out
    assert told == "aliased\n"
    assert inside.ok("owner", "show", "company/ow-bo@example.org", "--json").json == {
        "owner": "default/user/ow-bo",
        "reference": reference(running, "ow-bo"),
        "aliases": ["default/company/ow-bo@example.org"],
    }
    [answer] = inside.ok("recall", "pianos", "--owner", "company/ow-bo@example.org", "--json").json["answers"]
    assert answer["memory"]["memory_id"] == memory
    inside.ok("publish", "--owner", "company/ow-bo@example.org", "--text", "I am afraid of heights.", "--wait")
    events = inside.ok("tail", "events", "--owner", "ow-bo", "--json").lines
    assert [event["type"] for event in events] == ["MemoryAdded", "OwnerAliased", "MemoryAdded"]
    assert events[1]["record"]["alias"] == "default/company/ow-bo@example.org"


def test_an_alias_given_again_changes_nothing_and_anothers_name_is_refused(running: Cli, inside: Inside) -> None:
    remembered(inside, "ow-cy", "Cy keeps goats")
    remembered(inside, "ow-di", "Di keeps geese")
    assert inside.ok("owner", "alias", "ow-cy", "ow-cyrus", "--json").json["outcome"] == "aliased"
    again = inside.ok("owner", "alias", "ow-cy", "ow-cyrus", "--json").json
    assert (again["outcome"], again["reason"]) == ("noted", "the alias is known already")
    # names are compared to the letter
    assert inside.ok("owner", "alias", "ow-cy", "ow-Cyrus", "--json").json["outcome"] == "aliased"
    for alias in ("ow-cy", "ow-cyrus"):
        error = inside.fails("owner", "alias", "ow-di", alias, code=2)
        assert "the alias is another owner's name or alias already" in error
        assert "ow-cy" not in error
    assert inside.ok("owner", "show", "ow-di", "--json").json["aliases"] == []
    assert "nothing is known of this owner" in inside.fails("owner", "alias", "ow-nobody", "ow-none", code=2)
    assert "nothing is known of this owner" in inside.fails("owner", "show", "ow-none", code=2)


def test_owners_are_listed_in_their_order_and_in_portions(inside: Inside) -> None:
    names = ["default/user/ow-list-1", "default/user/ow-list-2", "default/user/ow-list-3"]
    for name in reversed(names):
        remembered(inside, name, "They sing")
    after = ("--after", "ow-list-0")
    rows = inside.ok("owner", "list", *after, "-n", "3", "--json").json
    assert [row["owner"] for row in rows] == names
    assert rows[0]["reference"] == inside.ok("owner", "show", names[0], "--json").json["reference"]
    text = inside.ok("owner", "list", *after, "-n", "2").out
    assert names[1] in text
    assert names[2] not in text
    assert "there are more: emberlog owner list --after default/user/ow-list-2" in text
    assert "no owner is known behind that one" in inside.ok("owner", "list", "--after", "zz/user/z").out


@pytest.mark.parametrize("unknown", [UNKNOWN, "00000000-0000-0000-0000-000000000000", "no uuid"])
def test_a_reference_that_nobody_goes_by_is_told(inside: Inside, unknown: str) -> None:
    assert "nobody goes by this reference" in inside.fails("owner", "show", "--reference", unknown, code=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("owner", "show"), "say which: an owner, or --reference"),
        (("owner", "show", "u-1", "--reference", UNKNOWN), "say which: an owner, or --reference"),
        (("owner", "show", "a/b/c"), "an owner's kind is one of"),
    ],
)
def test_what_cannot_be_shown_is_told_before_anything_is_asked(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    assert says in Inside(tmp_path).fails(*arguments, code=2)
