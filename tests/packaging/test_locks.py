"""The locks: hashes on everything, addresses on nothing, and all that pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.packaging.files import ROOT, text

LOCKS = sorted(path.name for path in (ROOT / "locks").glob("*.txt"))
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^\]]+\])?==(?P<version>\S+?)( ; .+)?$")
HASH = re.compile(r"^--hash=sha256:[0-9a-f]{64}$")


def requirements(lock: str) -> list[list[str]]:
    """Each requirement of a lock: the pin, then its hashes."""
    lines = [line for line in text(f"locks/{lock}").splitlines() if line.strip() and not line.startswith("#")]
    logical = "\n".join(lines).replace("\\\n", "").splitlines()
    return [[part.strip() for part in re.split(r"\s+(?=--hash=)", line.strip())] for line in logical]


def pins(lock: str) -> dict[str, set[str]]:
    """Versions by name; a name may have several, for different interpreters."""
    found: dict[str, set[str]] = {}
    for pin, *_ in requirements(lock):
        match = PIN.match(pin)
        assert match, f"{lock}: {pin!r} is no pin"
        found.setdefault(canonicalize_name(match["name"]), set()).add(match["version"])
    return found


def test_the_locks_are_those_that_the_readme_lists() -> None:
    assert LOCKS == ["bootstrap.txt", "build.txt", "dev.txt", "run.txt"]
    assert all(f"`{lock}`" in text("locks/README.md") for lock in LOCKS)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_carries_no_address(lock: str) -> None:
    for number, line in enumerate(text(f"locks/{lock}").splitlines(), 1):
        assert "://" not in line, f"line {number}"
        assert not re.match(r"\s*(-i|--(index|extra-index|find-links|trusted-host))", line), f"line {number}"
        assert " @ " not in line, f"line {number}"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_pinned_and_hashed(lock: str) -> None:
    assert requirements(lock)
    for pin, *hashes in requirements(lock):
        assert PIN.match(pin), pin
        assert hashes, f"{pin} has no hash"
        assert all(HASH.match(h) for h in hashes), pin


def test_what_runs_is_tested_at_the_same_versions() -> None:
    dev = pins("dev.txt")
    assert all(dev[name] == versions for name, versions in pins("run.txt").items())


@pytest.mark.parametrize(("lock", "extra"), [("run.txt", None), ("dev.txt", "dev")])
def test_a_lock_holds_what_pyproject_asks_for(lock: str, extra: str | None) -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    wanted = project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])
    held = pins(lock)
    for line in wanted:
        wish = Requirement(line)
        versions = held.get(canonicalize_name(wish.name), set())
        assert versions, f"{lock} lacks {wish.name}: run make lock"
        assert any(wish.specifier.contains(Version(v), prereleases=True) for v in versions), f"{lock} is behind on {line}"
