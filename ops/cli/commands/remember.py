"""``emberlog remember``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import TIMEOUT_S, Json, Owner, Timeout

if TYPE_CHECKING:
    from ops.cli.asking import Request
    from schemas.types import Command


def register(app: typer.Typer) -> None:
    app.command("remember", rich_help_panel="Use")(remember)


def remember(
    text: Annotated[str, typer.Argument(help="What is to be remembered.", show_default=False)],
    owner: Owner,
    slug: Annotated[str | None, typer.Option("--slug", help="Name of the memory: an owner has one memory of a slug.")] = None,
    category: Annotated[str | None, typer.Option("--category", help="What kind of thing it says.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be given several times.")] = None,
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
) -> None:
    """Remember a statement as it stands, without extraction, and wait until it can be recalled.

    The same statement again warms the memory that it made. With a slug that the owner has already, that memory gets the new words
    and keeps its id and history.

    Examples:

      emberlog remember "Mara is allergic to walnuts" --owner default/user/mara --tag health

      emberlog remember "Regime: ProPyme" --owner company/acme --slug company_tax_regime --category tax
    """
    from ops.cli.changes import carry_out
    from ops.cli.statements import Statements, checked

    words = checked(text)
    name, kind = (
        value if value is None else checked(value, what) for value, what in ((slug, "the slug"), (category, "the category"))
    )
    labels = [checked(tag, "a tag") for tag in tags or ()]

    async def make(request: Request) -> Command:
        statements = await Statements.of(request)
        return statements.remember(request.meta(), words, slug=name, category=kind, tags=labels)

    carry_out(owner, make, timeout, json)
