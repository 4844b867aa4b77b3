"""The files of the repository that these tests read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"^#?(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)$")


def text(name: str) -> str:
    """A file of the repository as text."""
    return (ROOT / name).read_text(encoding="utf-8")


def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors and merges resolved, its variables not."""
    loaded: dict[str, Any] = YAML(typ="safe").load(text("docker-compose.yml"))
    return loaded


def env_example() -> dict[str, tuple[str, str]]:
    """Variables of .env.example: value, and the comment above it."""
    found: dict[str, tuple[str, str]] = {}
    comment: list[str] = []
    for line in text(".env.example").splitlines():
        if match := VARIABLE.match(line):
            assert match["name"] not in found, f"{match['name']} stands twice"
            found[match["name"]] = (match["value"], " ".join(comment))
            comment = []
        elif line.startswith("# ") and not line.startswith("# ---"):
            comment.append(line[2:])
        else:
            comment = []
    return found


def setting_names() -> set[str]:
    """Environment variables of all settings."""
    from ops.settings import Settings, env_name

    return {env_name(field) for field in Settings.model_fields.values()}
