"""What README and docs say is there: examples as they are run, commands, settings, files, links, targets."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ops.cli.main import app
from tests.docs.readme import EXAMPLE, README, ROOT, SETTINGS, filled

PAGES = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "CHANGELOG.md", ROOT / "locks" / "README.md"]
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
ids = [str(page.relative_to(ROOT)) for page in PAGES]


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(page: Path) -> set[str]:
    """Every ``emberlog …`` command line that a page shows, in blocks, indented or inline."""
    found = {line.strip() for match in BLOCK.finditer(text(page)) for line in match["code"].splitlines()}
    found |= {line.strip() for line in text(page).splitlines() if line.startswith("    ")}
    found |= set(INLINE.findall(BLOCK.sub("", text(page))))
    lines = {line.split(" | ")[-1].partition("  #")[0].strip() for line in found}
    lines = {line.partition("docker compose exec worker ")[2] or line for line in lines}
    return {line for line in lines if line == "emberlog" or line.startswith("emberlog ")}


def test_every_example_of_the_readme_is_the_file_that_the_tests_run() -> None:
    shown = {match[1] for match in EXAMPLE.finditer(text(README))}
    assert shown == {
        f"docs/examples/{path.name}" for path in (ROOT / "docs" / "examples").iterdir() if path.suffix in (".py", ".sh")
    }


def test_the_readme_is_in_step_with_the_examples_and_the_settings() -> None:
    assert SETTINGS.search(text(README))
    assert text(README) == filled(text(README)), "run: .venv/bin/python -m tests.docs.readme"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_command_that_a_page_shows_exists_with_its_options(page: Path) -> None:
    for line in sorted(commands(page)):
        words = shlex.split(line.replace("…", "X"))[1:]
        group: Any = typer.main.get_command(app)
        options = {name for parameter in group.params for name in (*parameter.opts, *parameter.secondary_opts)}
        while words and hasattr(group, "commands"):
            word = words.pop(0)
            if word.startswith("-"):
                assert word in options | {"--help", "-h"}, f"{line!r}: {word}"
                continue
            if word in ("X", "COMMAND"):
                break
            assert word in group.commands, f"{line!r}: there is no command {word}"
            group = group.commands[word]
            options |= {name for parameter in group.params for name in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            if re.match(r"--?[a-z]", word):
                assert word in options | {"--help", "-h"}, f"{line!r}: there is no option {word}"


def test_the_commands_of_the_tour_are_found_by_the_test_above() -> None:
    found = commands(README)
    for start in ("up", "publish", "tail", "recall", "forget", "verify", "rebuild", "promote", "parked list", "status", "counts"):
        assert any(line.startswith(f"emberlog {start}") for line in found), start


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_of_a_page_leads_to_a_file_of_the_repository(page: Path) -> None:
    for match in LINK.finditer(text(page)):
        target, _, anchor = match["target"].partition("#")
        if target.startswith("https://"):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{match['target']} leads nowhere"
        assert ROOT in file.parents, f"{match['target']} leads out of the repository"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", text(file), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\s-]", "", h).strip().lower().replace(" ", "-") for h in headings}, match["target"]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_make_target_that_a_page_names_is_in_the_makefile(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", text(ROOT / "Makefile"), re.MULTILINE))
    shown = {line.strip() for match in BLOCK.finditer(text(page)) for line in match["code"].splitlines()}
    for line in shown | set(INLINE.findall(BLOCK.sub("", text(page)))):
        if line == "make" or line.startswith("make "):
            named = [word for word in line.split()[1:] if "=" not in word]
            assert set(named) <= targets, line


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    from tests.packaging.files import env_example

    known = set(env_example())
    for name in re.findall(r"`((?:EMBERLOG|VLLM|EMBEDDING|POSTGRES)_[A-Z0-9_]+)`", text(page)):
        assert name in known, name


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_no_page_names_a_place_of_one_machine(page: Path) -> None:
    assert not re.search(r"(?<![\w.])/(work|home|root|Users|tmp)/", text(page))


def test_every_target_of_the_makefile_is_explained_by_make_help() -> None:
    makefile = text(ROOT / "Makefile")
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index]
    assert phony == set(re.findall(r"^([a-z]+):.*## .+", makefile, re.MULTILINE))


def test_the_picture_is_a_well_formed_svg_with_words_for_who_cannot_see_it() -> None:
    import xml.etree.ElementTree as ElementTree

    root = ElementTree.parse(ROOT / "docs" / "flow.svg").getroot()
    names = {child.tag.rpartition("}")[2] for child in root}
    assert root.tag.endswith("svg")
    assert {"title", "desc"} <= names
    assert "prefers-color-scheme: dark" in text(ROOT / "docs" / "flow.svg")
