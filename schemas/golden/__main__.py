"""``python -m schemas.golden NAME…``: make the missing golden records of these types, or of all with ``--all``."""

from __future__ import annotations

import argparse
import sys

from schemas.errors import UnknownSchema
from schemas.golden import Golden
from schemas.versions import FILES


def main(arguments: list[str] | None = None) -> int:
    """Make what is missing and say what was made. The exit status: 0, or 2 for a name that is no type."""
    parser = argparse.ArgumentParser(
        prog="python -m schemas.golden",
        description="Make the missing golden records of record types. An existing one is never touched. Do this for a version "
        "only when it is final; `emberlog schema freeze` does it for what it releases.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a record type, such as MemoryAdded")
    parser.add_argument("--all", action="store_true", help="every type")
    options = parser.parse_args(arguments)
    if not options.names and not options.all:
        parser.error("name a type, or say --all")
    golden = Golden()
    try:
        for name in FILES.names if options.all else options.names:
            for version in FILES.versions(name):
                for file in golden.write(name, version):
                    sys.stdout.write(f"made {file}\n")
    except UnknownSchema as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
