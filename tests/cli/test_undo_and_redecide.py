"""Undoing events of a running set, and deciding its whole log again."""

from __future__ import annotations

from typing import Any

from tests.cli.support import Inside

UNKNOWN = "00000000-0000-5000-8000-000000000000"
OWNER = ("--owner", "undo-1")


def changed(inside: Inside, *arguments: str) -> dict[str, Any]:
    """A request's change, as JSON."""
    found: dict[str, Any] = inside.ok(*arguments, "--json").json
    return found


def recalled(inside: Inside, question: str) -> dict[str, Any]:
    [answer, *_] = inside.ok("recall", question, *OWNER, "--json").json["answers"]
    memory: dict[str, Any] = answer["memory"]
    return memory


def test_events_are_undone_where_that_is_possible_and_the_log_agrees_with_todays_rules_all_the_same(inside: Inside) -> None:
    added = changed(inside, "remember", "The spare key lies under the blue pot", *OWNER)
    [memory_id] = added["memory_ids"]
    pinned = changed(inside, "pin", memory_id, *OWNER)
    assert inside.ok("undo", pinned["event_id"], "--dry-run").out == "MemoryPinned would be undone by Unpin; nothing was done\n"
    assert recalled(inside, "where is the spare key?")["sacred"] is True
    assert changed(inside, "undo", pinned["event_id"])["outcome"] == "unpinned"
    assert recalled(inside, "where is the spare key?")["sacred"] is False

    revised = changed(inside, "revise", memory_id, "The spare key lies behind the third brick", *OWNER)
    assert changed(inside, "undo", revised["event_id"], *OWNER)["version"] == 3
    assert recalled(inside, "where is the spare key?")["content"] == "The spare key lies under the blue pot"
    again = inside.fails("undo", revised["event_id"], code=1)
    assert "at version 3, not at 2" in again

    told = inside.fails("undo", added["event_id"], code=1)
    assert "MemoryAdded cannot be undone" in told
    assert "emberlog forget" in told
    inside.ok("forget", memory_id, *OWNER)
    lines = inside.ok("tail", "events", *OWNER, "--json", "-n", "10").lines
    last = [line for line in lines if line["type"] == "MemoryForgotten"][-1]  # a receipt may stand behind it
    place = f"{last['partition']}@{last['offset']}"
    told = inside.fails("undo", place, code=1)
    assert "MemoryForgotten cannot be undone" in told
    assert "key is destroyed" in told
    assert "there is no event" in inside.fails("undo", UNKNOWN, code=2)

    found = inside.ok("redecide", "--verify", "--json").json
    assert found["differing"] == 0
    assert found["same"] == found["decided"] > 5
    people = inside.ok("redecide", "--verify").out
    assert "every one of" in people
    assert "only verifies" in inside.fails("redecide", code=2)
    assert "no partition 99" in inside.fails("redecide", "--verify", "--partition", "99", code=2)
