"""The decider is pure: no clock, no random, no I/O, no settings; the same log on every machine."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings

from schemas.codec import encode
from schemas.types import Command
from tests.streams.decider import other_machine
from tests.streams.decider.histories import HISTORIES

ROOT = Path(__file__).parents[3]
OURS = ("schemas", "streams")
ALLOWED = {
    "__future__",
    "collections.abc",
    "dataclasses",
    "datetime",
    "enum",
    "hashlib",
    "orjson",
    "immutables",
    "json",
    "math",
    "msgspec",
    "msgspec.structs",
    "re",
    "typing",
    "uuid",
}
"""What the decider, and what it imports of ours, may import. What datetime and uuid offer beside types is in ``IMPURE``."""
IMPURE = {
    # clocks
    *("now", "utcnow", "today", "time", "monotonic", "perf_counter", "localtime", "astimezone", "fromtimestamp"),
    # chance, and what differs from process to process
    *("random", "uuid1", "uuid4", "urandom", "choice", "shuffle", "id", "hash", "getrandbits"),
    # the outside
    *("open", "print", "input", "exec", "eval", "__import__", "import_module", "getenv", "system"),
}


def _module_file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    package = path / "__init__.py"
    return package if package.exists() else path.with_suffix(".py") if path.with_suffix(".py").exists() else None


def _imports(tree: ast.AST) -> Iterator[str]:
    """Modules that a module names in its imports, whether inside functions or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module
            # "from package import module"
            yield from (name for a in node.names if _ours(name := f"{node.module}.{a.name}") and _module_file(name))


def _ours(name: str) -> bool:
    return name.split(".")[0] in OURS


def _reached() -> dict[str, ast.Module]:
    """The decider's modules and whatever of ours they lead to."""
    todo = [f"streams.decider.{p.stem}" for p in (ROOT / "streams/decider").glob("*.py")]
    trees: dict[str, ast.Module] = {}
    while todo:
        name = todo.pop()
        path = _module_file(name.removesuffix(".__init__"))
        assert path is not None, name
        if name not in trees:
            trees[name] = ast.parse(path.read_text())
            todo.extend(filter(_ours, _imports(trees[name])))
    return trees


TREES = _reached()


def test_all_of_the_decider_is_looked_at() -> None:
    assert {"streams.decider.decide", "streams.decider.evolve", "schemas.ids", "schemas.temperature"} <= set(TREES)


@pytest.mark.parametrize("module", sorted(TREES))
def test_the_decider_imports_nothing_that_reads_a_clock_or_chance_or_the_outside(module: str) -> None:
    foreign = {name for name in _imports(TREES[module]) if not _ours(name)}
    assert foreign <= ALLOWED
    assert not {name for name in _imports(TREES[module]) if name.startswith("streams.") and "decider" not in name}


@pytest.mark.parametrize("module", sorted(TREES))
def test_the_decider_calls_no_function_that_does(module: str) -> None:
    calls = [node.func for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)]
    called = {f.id if isinstance(f, ast.Name) else f.attr for f in calls if isinstance(f, ast.Name | ast.Attribute)}
    named = {node.attr for node in ast.walk(TREES[module]) if isinstance(node, ast.Attribute)} & {"environ", "argv", "modules"}
    assert not called & IMPURE | named


@pytest.mark.parametrize("module", sorted(m for m in TREES if m.startswith("streams.")))
def test_the_decider_keeps_nothing_between_decisions_and_takes_no_order_from_a_set(module: str) -> None:
    for node in ast.walk(TREES[module]):
        assert not isinstance(node, ast.Global | ast.Nonlocal)
        if isinstance(node, ast.FunctionDef):
            assert not {ast.unparse(d).split("(")[0] for d in node.decorator_list} - {"property", "classmethod", "staticmethod"}
        if isinstance(node, ast.For | ast.comprehension):
            assert not isinstance(node.iter, ast.Set | ast.SetComp)
            assert not ast.unparse(node.iter).startswith(("set(", "frozenset(", "vars(", "globals("))


# -- another machine

SETTINGS = [{"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"}, {"PYTHONHASHSEED": "4242", "TZ": "America/Lima", "PYTHONOPTIMIZE": "1"}]


@pytest.fixture(scope="module")
def machines() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Deciders in processes with other hash seeds than ours and than each other's, in other time zones."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.streams.decider.other_machine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, **changed},
        )
        for changed in SETTINGS
    ]
    yield started
    for process in started:
        process.communicate(timeout=20)
        assert process.returncode == 0


def test_another_machine_writes_the_same_log_byte_for_byte(machines: list[subprocess.Popen[bytes]]) -> None:
    compared = 0

    @settings(max_examples=40, deadline=None)
    @given(HISTORIES)
    def the_logs_are_equal(history: list[Command]) -> None:
        nonlocal compared
        here = other_machine.log_of(history)
        for process in machines:
            assert process.stdin is not None
            assert process.stdout is not None
            other_machine.write(process.stdin, list(map(encode, history)))
            assert other_machine.read(process.stdout) == here
        compared += len(here)

    the_logs_are_equal()
    assert compared > 200
