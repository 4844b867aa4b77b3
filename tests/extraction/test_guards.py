from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own: guards act on import."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("MEM0", "HF_", "OPENROUTER", "TRANSFORMERS", "DO_NOT"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**keep, **environment},
    )


def test_nothing_connects_out_or_stays_behind_with_nothing_set_by_the_user(tmp_path: Path) -> None:
    script = """
import asyncio, json, os, sys, threading
tried = []
def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        tried.append(repr(args))
sys.addaudithook(hook)
from streams.extraction.build import build_extractor
from streams.extraction.embedders import WordLlamaEmbedder
from tests.extraction.parts import MemoriesInMemory, said, turn_of
async def main():
    extractor = build_extractor(None, WordLlamaEmbedder(), MemoriesInMemory())
    found = await extractor.extract(turn_of(*said("I live in Valparaíso.")))
    assert [f.text for f in found.facts] == ["User lives in Valparaíso"], found
asyncio.run(main())
import mem0.memory.telemetry as telemetry
print(json.dumps([tried, telemetry.MEM0_TELEMETRY, telemetry.client_telemetry.posthog is None,
    "OPENROUTER_API_KEY" in os.environ, "spacy" in sys.modules, [t.name for t in threading.enumerate()]]))
"""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    ended = run(script, HOME=str(home), TMPDIR=str(temporary), OPENROUTER_API_KEY="secret")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    tried, telemetry, no_posthog, openrouter, spacy, threads = json.loads(ended.stdout)
    assert tried == []
    assert (telemetry, no_posthog, openrouter, spacy) == (False, True, False, False)
    assert threads == ["MainThread"]
    assert list(home.iterdir()) == []
    assert [p for p in temporary.iterdir() if "mem0" in p.name] == []


def test_a_folder_that_the_operator_names_for_mem0_is_kept(tmp_path: Path) -> None:
    ended = run("import streams.extraction.guards", MEM0_DIR=str(tmp_path / "mem0"))
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "mem0").is_dir()


def test_mem0_imported_earlier_with_its_telemetry_on_is_refused_with_a_word() -> None:
    script = "import types, sys\nm = types.ModuleType('mem0.memory.telemetry')\nm.MEM0_TELEMETRY = True\n"
    ended = run(script + "sys.modules['mem0.memory.telemetry'] = m\nimport streams.extraction.guards")
    assert ended.returncode != 0
    assert "Import streams.extraction.guards first" in ended.stderr


def test_shapes_errors_and_embedders_do_not_bring_mem0_in() -> None:
    script = "import sys, streams.extraction.ports, streams.extraction.errors, streams.extraction.embedders"
    ended = run(f"{script}\nassert 'mem0' not in sys.modules")
    assert ended.returncode == 0, ended.stderr


def test_loading_word_vectors_leaves_the_process_logging_alone() -> None:
    script = """
import logging
from streams.extraction.embedders import WordLlamaEmbedder
WordLlamaEmbedder()
root = logging.getLogger()
assert (root.handlers, root.level) == ([], logging.WARNING), (root.handlers, root.level)
"""
    ended = run(script)
    assert ended.returncode == 0, ended.stderr


def test_importing_is_enough_to_keep_contents_out_of_a_process_that_logs_everything() -> None:
    script = """
import asyncio, logging
logging.basicConfig(level=logging.DEBUG)
from streams.extraction.build import build_extractor
from streams.extraction.embedders import WordLlamaEmbedder
from tests.extraction.parts import MemoriesInMemory, said, turn_of
asyncio.run(build_extractor(None, WordLlamaEmbedder(), MemoriesInMemory()).extract(turn_of(*said("I am a Xylophonist."))))
logging.getLogger("mem0.memory.main").error("LLM extraction failed: Xylophonist")
logging.getLogger("openai._base_client").debug("Request options: Xylophonist")
"""
    ended = run(script)
    assert ended.returncode == 0, ended.stderr
    assert "Xylophonist" not in ended.stderr + ended.stdout


def test_loggers_that_print_contents_reach_no_handler(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    from streams.extraction.guards import silence_loggers

    logging.getLogger("mem0.a.later.one").setLevel(logging.DEBUG)
    silence_loggers()
    with caplog.at_level(logging.DEBUG):
        for name in ("mem0", "mem0.memory.main", "mem0.a.later.one", "mem0.llms.vllm", "openai._base_client"):
            logging.getLogger(name).critical("a private fact")
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
