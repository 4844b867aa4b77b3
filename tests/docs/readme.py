"""The parts of pages that are made from other files. ``python -m tests.docs.readme`` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

from ops.settings import Settings, env_name

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
CLIENTS = ROOT / "docs" / "clients.md"
STORES = ROOT / "docs" / "stores.md"
LANGUAGES = {".py": "python", ".sh": "sh"}
EXAMPLE = re.compile(r"<!-- (docs/examples/\S+) -->\n```\w+\n.*?```\n", re.DOTALL)
SETTINGS = re.compile(r"<!-- settings -->\n(\|.*\n)*")


def example_block(name: str) -> str:
    """An example file as a page shows it."""
    code = (ROOT / name).read_text(encoding="utf-8")
    return f"<!-- {name} -->\n```{LANGUAGES[Path(name).suffix]}\n{code}```\n"


def settings_table() -> str:
    """The settings as the README shows them."""
    rows = ["| variable | default | |", "|---|---|---|"]
    for field in Settings.model_fields.values():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| `{env_name(field)}` | {default} | {(field.description or '').replace('|', ',')} |")
    return "<!-- settings -->\n" + "\n".join(rows) + "\n"


def filled(text: str) -> str:
    """``text`` with every made part as it should be."""
    text = EXAMPLE.sub(lambda match: example_block(match[1]), text)
    return SETTINGS.sub(lambda _: settings_table(), text)


if __name__ == "__main__":
    for page in (README, CLIENTS, STORES):
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
