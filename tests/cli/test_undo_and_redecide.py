"""Undoing events of a running set, and deciding its whole log again."""

from __future__ import annotations

from typing import Any

from tests.cli.support import Cli

UNKNOWN = "00000000-0000-5000-8000-000000000000"
OWNER = ("--owner", "undo-1")


def changed(running: Cli, *arguments: str) -> dict[str, Any]:
    """A request's change, as JSON."""
    found: dict[str, Any] = running.ok(*arguments, "--json").json
    return found


def recalled(running: Cli, question: str) -> dict[str, Any]:
    [answer, *_] = running.ok("recall", question, *OWNER, "--json").json["answers"]
    memory: dict[str, Any] = answer["memory"]
    return memory


def test_events_are_undone_where_that_is_possible_and_the_log_agrees_with_todays_rules_all_the_same(running: Cli) -> None:
    added = changed(running, "remember", "The spare key lies under the blue pot", *OWNER)
    [memory_id] = added["memory_ids"]
    pinned = changed(running, "pin", memory_id, *OWNER)
    assert running.ok("undo", pinned["event_id"], "--dry-run").out == "MemoryPinned would be undone by Unpin; nothing was done\n"
    assert recalled(running, "where is the spare key?")["sacred"] is True
    assert changed(running, "undo", pinned["event_id"])["outcome"] == "unpinned"
    assert recalled(running, "where is the spare key?")["sacred"] is False

    revised = changed(running, "revise", memory_id, "The spare key lies behind the third brick", *OWNER)
    assert changed(running, "undo", revised["event_id"], *OWNER)["version"] == 3
    assert recalled(running, "where is the spare key?")["content"] == "The spare key lies under the blue pot"
    again = running.fails("undo", revised["event_id"], code=1)
    assert "at version 3, not at 2" in again

    told = running.fails("undo", added["event_id"], code=1)
    assert "MemoryAdded cannot be undone" in told
    assert "emberlog forget" in told
    running.ok("forget", memory_id, *OWNER)
    last = running.ok("tail", "events", *OWNER, "--json", "-n", "1").lines[-1]
    place = f"{last['partition']}@{last['offset']}"
    told = running.fails("undo", place, code=1)
    assert "MemoryForgotten cannot be undone" in told
    assert "key is destroyed" in told
    assert "there is no event" in running.fails("undo", UNKNOWN, code=2)

    found = running.ok("redecide", "--verify", "--json").json
    assert found["differing"] == 0
    assert found["same"] == found["decided"] > 5
    people = running.ok("redecide", "--verify").out
    assert "every one of" in people
    assert "only verifies" in running.fails("redecide", code=2)
    assert "no partition 99" in running.fails("redecide", "--verify", "--partition", "99", code=2)
