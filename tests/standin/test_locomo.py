from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from ops.standin.locomo import LocomoData, LocomoError, load_locomo, parse_session_time, turn_ids
from ops.standin.recording import Asked, Recording

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "locomo" / "locomo_dev5.json"


def sample() -> dict[str, Any]:
    """A conversation in LoCoMo's form, of our own writing, with every kind of broken evidence."""
    return {
        "sample_id": "conv-1",
        "conversation": {
            "speaker_a": "Rosa",
            "speaker_b": "Timo",
            "session_1_date_time": "12:05 am on 1 March, 2024",
            "session_1": [
                {"speaker": "Rosa", "dia_id": "D1:1", "text": "I planted tomatoes."},
                {"speaker": "Timo", "dia_id": "D1:2", "text": "Look at mine", "blip_caption": "a photo of a garden"},
            ],
            "session_2_date_time": "9:30 pm on 12 April, 2024",
            "session_2": [{"speaker": "Rosa", "dia_id": "D2:1", "text": "They froze."}],
            "session_3_date_time": "9:30 pm on 13 April, 2024",
        },
        "observation": {
            "session_1_observation": {"Rosa": [["Rosa planted tomatoes in March.", "D1:1"]], "Timo": []},
            "session_2_observation": {
                "Rosa": [["Rosa's tomatoes froze in April.", ["D2:1", "D1:1"]], ["Nothing to stand on.", "D9:9"]]
            },
        },
        "qa": [
            {"question": "q1", "answer": 2024, "evidence": ["D1:1; D2:1"], "category": 1},
            {"question": "q2", "answer": "a", "evidence": ["D01:02", "D:2:1"], "category": 2},
            {"question": "q3", "adversarial_answer": "x", "evidence": ["D", "D7:1"], "category": 5},
            {"question": "q4", "answer": "a", "evidence": [], "category": 3},
        ],
    }


@pytest.fixture
def data(tmp_path: Path) -> LocomoData:
    (tmp_path / "locomo.json").write_bytes(orjson.dumps([sample()]))
    return load_locomo(tmp_path / "locomo.json")


def test_turns_get_the_time_of_their_session_plus_their_place_in_seconds(data: LocomoData) -> None:
    turns = list(data.conversation("conv-1").turns())
    assert [t.dia_id for t in turns] == ["D1:1", "D1:2", "D2:1"]
    assert turns[0].at == datetime(2024, 3, 1, 0, 5, tzinfo=UTC)
    assert turns[1].at - turns[0].at == timedelta(seconds=1)
    assert turns[1].image_caption == "a photo of a garden"
    assert [s.number for s in data.conversation("conv-1").sessions] == [1, 2]


def test_broken_evidence_is_mended_or_left_out_and_counted(data: LocomoData) -> None:
    questions = data.conversation("conv-1").questions
    assert [q.evidence for q in questions] == [("D1:1", "D2:1"), ("D1:2", "D2:1"), (), ()]
    assert data.repairs.mended == ["D1:1; D2:1", "D01:02", "D:2:1"]
    assert data.repairs.left_out == ["D", "D7:1", "D9:9"]
    assert data.repairs.questions_without_evidence == 2
    assert data.repairs.observations_without_evidence == 1
    assert [q.answer for q in questions] == ["2024", "a", None, "a"]


def test_a_fact_of_several_turns_stands_at_its_last_and_keeps_them_all(data: LocomoData) -> None:
    recorded = {t.turn: t for t in data.recorded_turns()}
    assert [f.text for f in recorded["conv-1/D1:1"].facts] == ["Rosa planted tomatoes in March."]
    assert [f.evidence for f in recorded["conv-1/D2:1"].facts] == [("D1:1", "D2:1")]
    assert recorded["conv-1/D2:1"].date == "2024-04-12"


def test_evidence_strings_are_read_in_every_form() -> None:
    assert turn_ids("D8:6; D9:17") == ["D8:6", "D9:17"]
    assert turn_ids("D30:05") == ["D30:5"]
    assert turn_ids(["D1:1", "D:11:26"]) == ["D1:1", "D11:26"]
    assert turn_ids("D") == [None]


def test_a_file_or_a_time_of_another_form_is_refused_with_a_word(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x": 1}')
    with pytest.raises(LocomoError, match="list of conversations"):
        load_locomo(tmp_path / "a.json")
    (tmp_path / "b.json").write_text('[{"sample_id": "s", "conversation": {}}]')
    with pytest.raises(LocomoError, match="speaker_a"):
        load_locomo(tmp_path / "b.json")
    with pytest.raises(LocomoError, match="session time"):
        parse_session_time("noon")


@pytest.mark.skipif(not REAL.exists(), reason="LoCoMo is not beside this checkout (../shared/data/locomo)")
def test_the_real_file_gives_all_its_turns_questions_and_facts() -> None:
    data = load_locomo(REAL)
    turns = data.recorded_turns()
    assert len(turns) == 2760
    assert sum(len(t.facts) for t in turns) == 1210
    assert sum(len(c.questions) for c in data.conversations) == 999
    assert len(data.repairs.mended) + len(data.repairs.left_out) == 4
    recording = Recording(tuple(turns))
    found = sum(recording.find(Asked((t.text,), t.date)) == [t] for t in turns)
    assert found == 2760, "a turn's own text and date must find it"
    assert len(data.recorded_turns(["conv-26"])) == 419
    with pytest.raises(LocomoError, match="conv-30"):
        data.conversation("conv-99")
