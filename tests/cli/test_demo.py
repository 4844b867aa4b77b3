"""The demo: what it shows is so, it ends by itself, and it leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from msgspec.structs import replace

from ops.cli.commands.demo import demo
from ops.cli.errors import CliError
from ops.cli.out import console
from ops.demo.play import Claim, claims_of
from ops.demo.script import load_script
from ops.demo.show import show_claims
from schemas.temperature import temperature_at
from schemas.types import ThermalPolicy
from tests.cli.support import Cli
from tests.services import temporary_data_dir

LOCOMO = Path(__file__).parents[3] / "shared" / "data" / "locomo" / "locomo_dev5.json"


@pytest.fixture
def here() -> Iterator[Cli]:
    folder = temporary_data_dir()
    folder.mkdir(mode=0o755)
    # settings of an operator, which the demo must not touch
    yield Cli(folder, {"VLLM_BASE_URL": "http://127.0.0.1:9/v1", "EMBERLOG_KAFKA_BOOTSTRAP": "127.0.0.1:9"})
    shutil.rmtree(folder, ignore_errors=True)


def _left_running(folder: Path) -> list[list[str]]:
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if any(str(folder) in part for part in line)]


def test_the_demo_shows_what_is_so_and_leaves_nothing_behind(here: Cli) -> None:
    done = here.ok("demo", "--json")
    shown = done.json
    assert shown["turns"] == 40
    assert shown["extractor"] == "rules, not a model"
    assert shown["counts"] == {"extracted": 25, "new": 24, "updated": 1, "errors": 0}
    assert len(shown["memories"]) == 24
    assert {memory["owner"] for memory in shown["memories"]} == {"mara", "tribe"}

    warm = shown["reheated"]
    assert warm["content"] == "User is allergic to walnuts"
    assert warm["new"] == 75.0
    assert warm["cooled"] < 75.0
    assert warm["after"] == pytest.approx(warm["cooled"] + 5)
    assert 79.0 < warm["after"] < 80.0
    assert len(warm["said_at"]) == 2

    gone = shown["forgotten"]["content"]
    assert "4417" in gone
    assert gone in shown["forgotten"]["recalled_before"]
    assert gone not in shown["forgotten"]["recalled_after"]
    assert ["walnuts" in r["answer"] for r in shown["recall"]] == [True, False, False]
    assert "Mi abuela vive en Chiloé." in shown["recall"][2]["said"]

    assert shown["rebuild"]["digest_live"] == shown["rebuild"]["digest_rebuilt"]
    assert shown["rebuild"]["tables_rebuilt"]["thermal_memory_archive"]["rows"] == 23
    assert all(claim["holds"] for claim in shown["claims"])
    assert "turns read 40/40, memories made 24" in done.err
    assert not (here.cwd / ".emberlog" / "demo").exists()
    assert _left_running(here.cwd) == []


@pytest.mark.slow
def test_the_demo_for_people_is_plain_without_a_terminal_and_its_data_can_be_kept(here: Cli) -> None:
    out = here.ok("demo", "--keep").out
    for part in ("rules, not a model", "75.0° when first said", "└ event", "digest rebuilt", "all hold", "How to go on"):
        assert part in out
    assert "emberlog --data-dir .emberlog/demo up" in out
    assert _left_running(here.cwd) == []
    assert (here.cwd / ".emberlog" / "demo" / "services.json").is_file()
    # the next one begins anew
    assert here.ok("demo", "--json").json["turns"] == 40


@pytest.mark.slow
def test_the_demo_plays_a_conversation_of_locomo(here: Cli) -> None:
    if not LOCOMO.is_file():
        pytest.skip("LoCoMo's file is not there")
    shown = here.ok("demo", "--locomo", str(LOCOMO), "--limit", "40", "--json").json
    assert shown["turns"] == 40
    assert shown["counts"]["new"] == shown["counts"]["extracted"] > 5
    assert shown["counts"]["errors"] == 0
    assert shown["hits_at_10"] > shown["questions"] / 2 > 2
    assert all(claim["holds"] for claim in shown["claims"])


def test_the_conversation_is_moved_by_whole_days_into_the_last_day() -> None:
    now = datetime(2027, 5, 6, 7, 8, tzinfo=UTC)
    script, again = load_script(now), load_script(now + timedelta(days=3))
    times = [turn.occurred_at for turn in script.turns if turn.occurred_at]
    assert len(times) == len(script.turns) == 40
    assert times == sorted(times)
    assert timedelta(hours=1) <= now - times[-1] < timedelta(hours=25)
    assert (times[0].hour, times[0].minute) == (8, 4)
    assert script.turns[0] != again.turns[0] == replace(script.turns[0], occurred_at=times[0] + timedelta(days=3))
    assert len({turn.id for turn in script.turns}) == 40
    assert len(script.turns_saying(script.repeated)) == 2
    assert len(script.turns_saying(script.to_forget)) == 1


def _played() -> Any:
    """A demo as it should be, made by hand; annotated as Any because only what claims look at is there."""
    script = load_script(datetime(2027, 5, 6, tzinfo=UTC))
    first, second = (turn.occurred_at for turn in script.turns_saying(script.repeated))
    assert first is not None
    assert second is not None
    cooled = temperature_at(75.0, first, second, ThermalPolicy())

    def answer(text: str) -> SimpleNamespace:
        said = SimpleNamespace(messages=[{"content": text}])
        return SimpleNamespace(memory=SimpleNamespace(content=text), sources=[said])

    answers = [(q.question, answer(q.expect)) for q in script.ask]
    known = [SimpleNamespace(memory=SimpleNamespace(memory_id="m-2"))]
    return SimpleNamespace(
        script=script,
        turns=len(script.turns),
        outcomes=SimpleNamespace(totals={"extracted": 3, "new": 2, "updated": 1, "errors": 0}, turns=dict.fromkeys(range(40))),
        memories=["m-1", "m-2"],
        reheat=SimpleNamespace(cooled=cooled, after=cooled + 5, said_at=(first, second), memory=SimpleNamespace(access_count=2)),
        forgotten=SimpleNamespace(memory_id="m-2"),
        before=known,
        after=[],
        answers=answers,
        rebuild=SimpleNamespace(equal=True, promoted=True),
        left=0,
        rebuilt=1,
    )


def _false_claims(played: Any) -> list[str]:
    return [c.says for c in claims_of(played, played.script, played.left, played.rebuilt, ThermalPolicy()) if not c.holds]


def test_every_claim_of_the_demo_can_fail() -> None:
    assert _false_claims(_played()) == []
    faults: list[tuple[str, Callable[[Any], None], str]] = [
        ("a lost turn", lambda p: p.outcomes.turns.popitem(), "all 40 turns were read"),
        ("an error", lambda p: p.outcomes.totals.update(errors=1), "no turn had an error"),
        ("a lost memory", lambda p: p.memories.pop(), "every new fact is a memory in the archive"),
        ("warmed too much", lambda p: setattr(p.reheat, "after", 80.1), "the mention warmed it"),
        ("not cooled", lambda p: setattr(p.reheat, "cooled", 75.0), "it cooled as the half-life says"),
        ("still recalled", lambda p: p.after.extend(p.before), "recall does not know it any more"),
        ("a vector left", lambda p: setattr(p, "left", 1), "archive and graph do not hold it"),
        ("other digests", lambda p: setattr(p.rebuild, "equal", False), "the rebuilt archive has the same digest"),
        ("no reasons", lambda p: p.answers[0][1].sources.clear(), "is answered, with the message that says so"),
    ]
    for name, spoil, says in faults:
        played = _played()
        spoil(played)
        assert any(says in claim for claim in _false_claims(played)), name


def test_a_claim_that_does_not_hold_is_shown_and_fails_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show_claims(console(), [Claim("the earth is round", True), Claim("the moon is cheese", False)])
    out = capsys.readouterr().out
    assert "DOES NOT HOLD: the moon is cheese" in out
    assert "round" not in out
    monkeypatch.setattr("ops.demo.run.run", lambda *_: False)
    with pytest.raises(CliError, match="does not hold") as caught:
        demo(locomo=None, conversation="", limit=None, keep=False, json=False)
    assert caught.value.code == 1
