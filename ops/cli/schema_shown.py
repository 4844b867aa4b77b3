"""The contract as ``emberlog schema`` shows it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.cli.errors import UsageError
from ops.cli.out import console, plain, table
from schemas.compatibility import refusal
from schemas.differences import differences
from schemas.fields import bare, fields_of, named_in
from schemas.released import RELEASED, Released
from schemas.topic_records import topic_of
from schemas.topics import Topics
from schemas.types import COMMANDS, EVENTS, RECORDS
from schemas.versions import FILES, file_stem


def rows_of_types() -> list[dict[str, Any]]:
    """One row per record type, in the order of the contract."""
    released = Released()
    return [
        {
            "type": kind.__name__,
            "kind": kind_of(kind),
            "topic": topic_name(kind),
            "version": FILES.newest(kind.__name__),
            "versions": list(FILES.versions(kind.__name__)),
            "released": sorted(released.versions(kind.__name__)),
            "fingerprint": FILES.fingerprint(kind.__name__),
        }
        for kind in RECORDS
    ]


def topic_name(kind: type[Any]) -> str:
    """The topic of a type, without a prefix; in words where there is none yet."""
    return str(getattr(Topics(), topic_of(kind), "no topic yet"))


def kind_of(kind: type[Any]) -> str:
    """command, event or record."""
    return "command" if kind in COMMANDS else "event" if kind in EVENTS else "record"


def type_named(text: str) -> str:
    """The type that somebody means: MemoryAdded, memoryadded or memory_added. Raises UsageError with what is near."""
    known = {name.lower(): name for name in FILES.names} | {file_stem(name): name for name in FILES.names}
    found = known.get(text.lower())
    if found is None:
        near = difflib.get_close_matches(text.lower(), known, n=1)
        hint = f"did you mean {known[near[0]]}?" if near else "list them with: emberlog schema list"
        raise UsageError(f"there is no record type {text}", hint)
    return found


def print_type(name: str, version: int) -> None:
    """A type's fields, record by record."""
    schema = FILES.raw(name, version)
    kind = next(k for k in RECORDS if k.__name__ == name)
    known = ", ".join(map(str, FILES.versions(name)))
    state = "released" if Released().get(name, version) else "not released yet"
    out = console()
    out.print(plain(f"{name}  {schema.get('doc', '')}", "bold"), soft_wrap=True)
    out.print(plain(f"{kind_of(kind)} on {topic_name(kind)}, version {version} of {known}, {state}"))
    out.print(plain(f"{FILES.full_name(name)}, fingerprint {FILES.fingerprint(name, version)}"))
    fields = fields_of(schema)
    for record, part in named_in(schema).items():
        if part["type"] == "enum":
            out.print(plain(f"{record}: one of {', '.join(part['symbols'])}"))
            continue
        rows = [
            (f.name, f.type, plain("pii", "yellow") if f.pii else "", f.default_text, f.doc) for f in fields if f.record == record
        ]
        title = "" if record == name else f"{record}  {part.get('doc', '')}"
        out.print(table(title, ("field", "type", "personal", "default", "meaning"), rows))


@dataclass(frozen=True, slots=True)
class Compared:
    """Two schemas of one type, and a row per difference: field, difference, reads (old records), why (not)."""

    old_label: str
    new_label: str
    rows: list[dict[str, Any]]


def compared(name: str, old: int | None, new: int | None) -> Compared:
    """Two versions as their files are, or, without numbers, what was released last and what the newest file is now.

    Raises UsageError where there is nothing to compare.
    """
    if old is not None and new is not None:
        before, after, labels = FILES.raw(name, old), FILES.raw(name, new), (f"v{old}", f"v{new}")
    else:
        released = Released().versions(name)
        if not released:
            raise UsageError(f"no version of {name} is released yet", f"compare two files: emberlog schema diff {name} 1 2")
        last, newest = max(released), FILES.newest(name)
        before, after = released[last].schema, bare(FILES.raw(name))
        labels = (f"v{last} as released", f"v{newest} in the files")
    rows = []
    for difference in differences(before, after):
        why = refusal(difference, before, after)
        rows.append({"field": difference.where, "difference": difference.text, "reads": why is None, "why": why or ""})
    return Compared(*labels, rows)


def in_checkout() -> bool:
    """Whether the files lie in a checkout, where they can be changed and committed."""
    return isinstance(RELEASED, Path) and (RELEASED.parent.parent / "pyproject.toml").is_file()
