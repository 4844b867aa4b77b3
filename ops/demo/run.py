"""Running the demo: a fresh data folder, services and processes of its own, the play, the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ops.cli import interrupts
from ops.cli.children import Child, stop_all, wait_ready
from ops.cli.errors import CliError
from ops.cli.runset import RunningSet, is_running
from ops.demo.steps import Steps, steps_for
from ops.settings import Settings

FOLDER = "demo"
ENDPOINT_READY_S = 30.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to play: the sample conversation, or ``limit`` turns of a conversation of LoCoMo."""

    locomo: Path | None
    conversation: str
    limit: int | None
    keep: bool
    json: bool


def run(settings: Settings, options: DemoOptions, out: Console, progress: Console) -> bool:
    """Play the demo; True where everything that it says holds. Raises CliError and what the parts raise."""
    began = time.monotonic()
    # services of its own whatever is configured, no model of the operator's: the demo is to be the same everywhere
    theirs = ("kafka_bootstrap", "postgres_dsn", "services", "schema_registry_url", "vllm_base_url", "embedding_base_url")
    own = dict.fromkeys(theirs)
    demo = settings.model_copy(update={**own, "data_dir": settings.data_dir / FOLDER})
    if is_running(demo.data_dir):
        raise CliError(f"a demo's data folder is in use: {demo.data_dir}", "stop what runs on it (emberlog up) first")
    _remove(demo.data_dir)
    try:
        play = _sample if options.locomo is None else _locomo
        return play(demo, options, out, steps_for(progress), began)
    finally:
        if not options.keep:
            _remove(demo.data_dir)


def _remove(folder: Path) -> None:
    """End leftovers of a killed demo and delete its data."""
    if folder.exists():
        from ops.local.services import LocalServices

        LocalServices(folder).destroy()


def _sample(settings: Settings, options: DemoOptions, out: Console, steps: Steps, began: float) -> bool:
    from ops.cli.out import plain, print_json
    from ops.demo import play, script, show

    with steps, RunningSet(settings, steps.say, lambda: play.warm_up(settings)) as running:
        played = interrupts.run(play.play(running.target, script.load_script(play.utc_now()), steps))
        steps.say("stopping")
    if options.json:
        print_json(show.to_json(played, play.utc_now(), time.monotonic() - began))
        return played.holds
    show.show(out, played, play.utc_now())
    show.show_claims(out, played.claims)
    out.print(plain(f"{time.monotonic() - began:.1f} s in all; everything is stopped", "dim"))
    _how_to_go_on(settings, options, out)
    return played.holds


def _locomo(settings: Settings, options: DemoOptions, out: Console, steps: Steps, began: float) -> bool:
    from ops.cli.out import plain, print_json
    from ops.demo import locomo, locomo_show, show

    assert options.locomo is not None
    loaded = locomo.load(options.locomo, options.conversation, options.limit)
    recording, port = locomo.write_recording(loaded, settings.data_dir), locomo.free_port()
    settings = settings.model_copy(update=locomo.model_settings(port))
    with steps, _endpoint(recording, port, settings.data_dir / "logs"), RunningSet(settings, steps.say) as running:
        played = interrupts.run(locomo.play(running.target, loaded, steps))
        steps.say("stopping")
    if options.json:
        print_json(locomo_show.to_json(played, time.monotonic() - began))
        return played.holds
    locomo_show.show(out, played)
    show.show_claims(out, played.claims)
    out.print(plain(f"{time.monotonic() - began:.1f} s in all; everything is stopped", "dim"))
    _how_to_go_on(settings, options, out)
    return played.holds


@contextmanager
def _endpoint(recording: Path, port: int, logs: Path) -> Iterator[None]:
    child = Child("endpoint", "ops.demo.endpoint", ["--recording", str(recording), "--port", str(port)], logs)
    try:
        wait_ready([child], ENDPOINT_READY_S)
        yield
    finally:
        stop_all([child])


def _how_to_go_on(settings: Settings, options: DemoOptions, out: Console) -> None:
    from ops.cli.out import plain
    from ops.cli.runset import folder_of

    if options.keep:
        folder = folder_of(settings)
        first = f"emberlog --data-dir {folder} up                 run on the demo's data"
        lines = [first, f'emberlog --data-dir {folder} recall "…" --owner …  ask it, in another terminal']
    else:
        lines = [
            "emberlog up                                        keep it running: Kafka, PostgreSQL, worker, projector",
            'emberlog publish --owner u-1 --text "…" --wait     then, in another terminal: say something',
            'emberlog recall "…" --owner u-1                    and ask',
            "emberlog demo --keep                               keep the demo's data, to look around in",
        ]
    out.print()
    out.print(plain("How to go on:\n" + "\n".join(f"  {line}" for line in lines)), soft_wrap=True)
