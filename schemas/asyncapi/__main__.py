"""Writes the AsyncAPI document as YAML to standard output, or checks a file against it."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter

from schemas.asyncapi.document import document
from schemas.asyncapi.forms import Json


class _WrittenOut(RoundTripRepresenter):
    """Equal parts are written out each time: anchors would be hard to read, and not every tool follows them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(content: Json) -> str:
    """``content`` as YAML text, keys in the order given."""
    yaml = YAML()  # the round-trip kind keeps the order of keys
    yaml.Representer = _WrittenOut
    yaml.width = 130
    out = io.StringIO()
    yaml.dump(content, out)
    return f"# Written by python -m schemas.asyncapi: do not edit.\n{out.getvalue()}"


def main(arguments: list[str] | None = None) -> int:
    """Write the document, or check a file. The exit status: 0, or 1 where the file is out of step."""
    parser = argparse.ArgumentParser(prog="python -m schemas.asyncapi", description="The contract as AsyncAPI 3.0, in YAML.")
    parser.add_argument("--check", metavar="FILE", type=Path, help="only say whether FILE is what would be written")
    file: Path | None = parser.parse_args(arguments).check
    text = as_yaml(document())
    if file is None:
        sys.stdout.write(text)
    elif not file.is_file() or file.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{file} is not what the schemas say. Run: .venv/bin/python -m schemas.asyncapi > docs/asyncapi.yaml\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
