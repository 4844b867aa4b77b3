"""Evidence metrics against cases worked out by hand, and the pieces that feed them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.locomo.__main__ import per_category
from benchmarks.locomo.asking import Answered, evidence_turns
from benchmarks.locomo.baseline import TurnsByBm25, spoken
from benchmarks.locomo.metrics import Scores, in_order, mean, score
from benchmarks.locomo.playing import inbox_turns
from ops.standin.locomo import LocomoConversation, LocomoSession, LocomoTurn
from projections.recall import Mention, Provenance, Recalled, ScoreParts

AT = datetime(2024, 3, 1, 9, tzinfo=UTC)
SESSION_OF = {f"D{s}:{t}": f"session-{s}" for s in range(1, 8) for t in range(1, 5)}


def test_each_turn_of_a_memory_takes_a_rank_and_each_turn_counts_once() -> None:
    assert in_order([["D1:2", "D1:1"], ["D1:1"], [], ["D2:1", "D1:2", "D2:2"]]) == ["D1:2", "D1:1", "D2:1", "D2:2"]


def test_a_first_hit_of_one_evidence_turn_scores_one_everywhere() -> None:
    assert score(["D1:1", "D2:1"], ["D1:1"], SESSION_OF) == Scores(1, 1, 1, 1, 1)


def test_recall_is_the_share_of_evidence_within_the_first_five_and_ten() -> None:
    ranked = ["D1:1", "D1:2", "D1:3", "D1:4", "D2:1", "D2:2", "D2:3", "D2:4", "D3:1", "D3:2", "D3:3"]
    found = score(ranked, ["D2:1", "D2:2", "D3:2", "D3:3"], SESSION_OF)
    assert found.turn_r5 == 0.25
    assert found.turn_r10 == 0.75
    assert found.mrr == 1 / 5
    # evidence lies in sessions 2 and 3; the first session found is 1
    assert found.session_hit1 == 0
    assert found.session_r5 == 1


def test_a_session_ranks_by_its_best_turn() -> None:
    ranked = ["D1:1", "D2:1", "D1:2", "D3:1", "D4:1", "D5:1", "D6:1", "D7:1"]
    found = score(ranked, ["D5:4", "D6:4"], SESSION_OF)
    assert found.session_r5 == 0.5  # 1, 2, 3, 4, 5 are the first five sessions: one of two
    assert (found.turn_r5, found.turn_r10, found.mrr) == (0, 0, 0)


def test_evidence_named_twice_counts_once() -> None:
    assert score(["D1:1"], ["D1:1", "D1:1"], SESSION_OF).turn_r5 == 1


def test_nothing_found_scores_nothing() -> None:
    assert score([], ["D1:1"], SESSION_OF) == Scores(0, 0, 0, 0, 0)


def test_means_are_over_questions_and_not_over_evidence() -> None:
    found = mean([Scores(1, 1, 1, 1, 1), Scores(0, 0.5, 0, 1, 0.25)])
    assert found == Scores(0.5, 0.75, 0.5, 1, 0.625)
    with pytest.raises(ValueError, match="no questions"):
        mean([])


def test_categories_are_told_apart_and_empty_ones_left_out() -> None:
    best, worst = Scores(1, 1, 1, 1, 1), Scores(0, 0, 0, 0, 0)
    found = per_category([Answered(1, best, worst, 1, 2), Answered(1, worst, best, 0, 2), Answered(5, best, best, 1, 2)])
    assert list(found) == ["multi-hop", "adversarial"]
    assert (found["multi-hop"]["questions"], found["multi-hop"]["turn_r10"], found["multi-hop"]["answerable"]) == (2, 0.5, 0.5)
    assert found["multi-hop"]["bm25_turn_r10"] == 0.5


REFERENCES = ("f2b4e0c6-0000-5000-8000-000000000001",)
"""Our references of messages, which name no turn of the set."""


def memory(message_ids: tuple[str, ...], mentions: tuple[Mention, ...] = ()) -> Recalled:
    why = Provenance("t", 0, 0, 1, "e", 0, "turn", "s", REFERENCES, message_ids, AT, "mem0", "m", False, mentions)
    return Recalled("m", "c", 1.0, ScoreParts(1.0, None), 75, 75, AT, AT, 1, 1, 0.5, False, (), {}, why)


def test_a_memory_stands_for_the_turns_of_all_its_mentions_in_the_order_in_which_they_came() -> None:
    first = Mention(1, "e1", 0, "t1", "s", REFERENCES, ("D1:1", "D1:2"), AT)
    again = Mention(4, "e4", 3, "t9", "s", REFERENCES, ("D3:1", "D1:1"), AT)
    found = evidence_turns(memory(("D1:1", "D1:2"), (again, first)), SESSION_OF)
    assert found == ["D1:1", "D1:2", "D3:1"]


def test_messages_that_are_no_turns_of_the_set_take_no_rank() -> None:
    assert evidence_turns(memory(("x", "D1:1")), SESSION_OF) == ["D1:1"]


def conversation() -> LocomoConversation:
    turn = LocomoTurn("D1:1", "Ada", "I bought a violin, at last!", AT)
    turns = (
        turn,
        replace(turn, dia_id="D1:2", speaker="Ben", text="What colour?", at=AT + timedelta(seconds=1)),
        replace(turn, dia_id="D1:3", text="Look.", image_caption="a photo of a brown violin", at=AT + timedelta(seconds=2)),
    )
    later = replace(turn, dia_id="D2:1", speaker="Ben", text="My canoe sank.", at=AT + timedelta(days=3))
    sessions = (LocomoSession(1, AT, turns), LocomoSession(2, AT + timedelta(days=3), (later,)))
    return LocomoConversation("c-1", ("Ada", "Ben"), sessions, (), ())


def test_the_baseline_reads_speaker_text_and_caption() -> None:
    assert spoken(list(conversation().turns())[2]) == "Ada: Look. a photo of a brown violin"


def bm25() -> TurnsByBm25:
    turns = list(conversation().turns())
    return TurnsByBm25([turn.dia_id for turn in turns], [spoken(turn).lower().split() for turn in turns])


def test_the_baseline_ranks_every_turn_and_the_best_first() -> None:
    assert bm25().rank(["canoe", "sank."])[0] == "D2:1"
    assert sorted(bm25().rank(["brown"])) == ["D1:1", "D1:2", "D1:3", "D2:1"]
    assert bm25().rank(["brown"])[0] == "D1:3"


def test_equal_scores_keep_the_conversations_order() -> None:
    assert bm25().rank(["zebra"]) == ["D1:1", "D1:2", "D1:3", "D2:1"]


def test_every_turn_goes_in_with_its_own_date_session_speaker_and_id() -> None:
    turns = inbox_turns(conversation())
    assert [t.messages[0].id for t in turns] == ["D1:1", "D1:2", "D1:3", "D2:1"]
    assert [t.messages[0].role for t in turns] == ["user", "assistant", "user", "assistant"]
    assert [t.session_id for t in turns] == ["session-1"] * 3 + ["session-2"]
    assert turns[3].occurred_at == AT + timedelta(days=3)
    assert turns[2].messages[0].image_caption == "a photo of a brown violin"
    assert len({t.owner for t in turns}) == 1
    assert len({t.id for t in turns}) == 4
