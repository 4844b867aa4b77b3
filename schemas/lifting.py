"""Records from the plain values that fastavro reads: the way back of ``lowering``."""

from __future__ import annotations

import typing
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from msgspec.structs import fields

from schemas.lowering import optional_inside
from schemas.value import is_value_type

Lift = Callable[[Any], Any]


def compile_lifting(kind: type[Any]) -> Lift:
    """The function that makes a record of ``kind`` from fastavro's dict, built from the annotations."""
    made = _Compiler()
    name = made.record(kind)
    source = "\n\n".join(made.functions)
    exec(compile(source, f"<lifting of {kind.__name__}>", "exec"), made.globals)  # noqa: S102 - made of our own field names
    return typing.cast(Lift, made.globals[name])


class _Compiler:
    """Writes one function per record type, and expressions that lift one value."""

    def __init__(self) -> None:
        self.globals: dict[str, Any] = {}
        self.functions: list[str] = []
        self._count = 0

    def _new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def record(self, kind: type[Any]) -> str:
        """The name of the function that lifts ``kind``."""
        name = f"lift_{kind.__name__}"
        if name in self.globals:
            return name
        self.globals[name] = None  # taken
        hints = typing.get_type_hints(kind)
        values = [self.value(hints[f.name], f"data[{f.name!r}]") for f in fields(kind)]
        self.globals[kind.__name__] = kind
        made = f"{kind.__name__}({', '.join(values)})"
        self.functions.append(f"def {name}(data):\n    return {made}")
        return name

    def value(self, hint: Any, x: str) -> str:
        """An expression that lifts the expression ``x``; ``x`` itself where it can stay as it is."""
        inner = optional_inside(hint)
        if inner is not None:
            held = self._new("o")
            lifted = self.value(inner, held)
            return x if lifted == held else f"(None if ({held} := {x}) is None else {lifted})"
        if typing.get_origin(hint) is tuple:
            item = self._new("x")
            lifted = self.value(typing.get_args(hint)[0], item)
            return f"tuple({x})" if lifted == item else f"tuple([{lifted} for {item} in {x}])"
        if typing.get_origin(hint) is dict:
            key, item = self._new("k"), self._new("x")
            lifted = self.value(typing.get_args(hint)[1], item)
            # a copy in any case: where Avro filled in a default, fastavro gives the schema's own dict
            return f"dict({x})" if lifted == item else f"{{{key}: {lifted} for {key}, {item} in {x}.items()}}"
        if is_value_type(hint):
            return f"{self.record(hint)}({x})"
        if isinstance(hint, type) and issubclass(hint, StrEnum):
            name = self._new("e")
            self.globals[name] = hint
            return f"{name}({x})"
        return x
