"""``emberlog link`` and ``emberlog unlink``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import TIMEOUT_S, Json, Owner, Timeout

if TYPE_CHECKING:
    from ops.cli.asking import Request
    from schemas.types import Command, CommandMeta

One = Annotated[str, typer.Argument(help="Memory from which the link leads; its first digits are enough.", show_default=False)]
Other = Annotated[str, typer.Argument(help="Memory to which it leads.", show_default=False)]
Kind = Annotated[str, typer.Option("--kind", help="What connects them: one lower-case word. It stands in clear.")]
RELATED = "related"


def register(app: typer.Typer) -> None:
    app.command("link", rich_help_panel="Use")(link)
    app.command("unlink", rich_help_panel="Use")(unlink)


def link(
    one: One,
    other: Other,
    owner: Owner,
    kind: Kind = RELATED,
    weight: Annotated[float, typer.Option("--weight", min=0.0, max=1.0, help="How strongly, 0 to 1.")] = 1.0,
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
) -> None:
    """Connect two memories of one owner. A link of that kind that exists gets the new weight.

    Example:

      emberlog link 3f2a9c11 81d0e4aa --owner default/user/mara --kind explains --weight 0.8
    """
    from schemas.types import Link

    _carry_out(one, other, owner, kind, timeout, json, lambda meta, a, b, kind: Link(meta, a, b, kind, weight))


def unlink(one: One, other: Other, owner: Owner, kind: Kind = RELATED, timeout: Timeout = TIMEOUT_S, json: Json = False) -> None:
    """Take a link between two memories away.

    Example:

      emberlog unlink 3f2a9c11 81d0e4aa --owner default/user/mara --kind explains
    """
    from schemas.types import Unlink

    _carry_out(one, other, owner, kind, timeout, json, Unlink)


def _carry_out(
    one: str,
    other: str,
    owner: str,
    kind: str,
    timeout: float,
    json: bool,
    make_command: Callable[[CommandMeta, str, str, str], Command],
) -> None:
    from ops.cli.changes import carry_out
    from ops.cli.statements import checked

    word = checked(kind, "the kind")

    async def make(request: Request) -> Command:
        from ops.cli.memory_ids import resolve

        source, target = await resolve(request.target, request.reference, [one, other])
        return make_command(request.meta(), source, target, word)

    carry_out(owner, make, timeout, json)
