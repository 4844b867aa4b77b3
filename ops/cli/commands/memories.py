"""``emberlog recall``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import Owner

if TYPE_CHECKING:
    from ops.cli.recalling import Answer


def register(app: typer.Typer) -> None:
    app.command("recall", rich_help_panel="Use")(recall)


def recall(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    owner: Owner,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many memories at most.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="As JSON, with all scores and ids.")] = False,
) -> None:
    """Ask the memory of one owner: the best memories, how warm they are now, and why each is there.

    "Why" leads from the memory to its event on the log, to the turn, to what was said.

    Example:

      emberlog recall "what is she allergic to?" --owner default/user/mara -k 3
    """
    from ops.cli.out import console, print_json
    from ops.cli.target import find_running
    from schemas.owner import Owner as OwnerName

    whose, target = OwnerName.parse(owner), find_running()
    from ops.cli.recalling import ask  # heavy: not for an error that was clear before

    answers = asyncio.run(ask(target, whose, question, k))
    if json:
        print_json({"question": question, "owner": str(whose), "answers": answers})
    elif not answers:
        console().print("nothing is remembered that answers it")
    else:
        for place, answer in enumerate(answers, start=1):
            _show(place, answer)


def _show(place: int, answer: Answer) -> None:
    from ops.cli.out import console, degrees, plain
    from ops.cli.recalling import why_lines

    out = console()
    found = answer.memory
    out.print(plain(f"{place}. {found.content}", "bold"), soft_wrap=True)
    mentions = "once" if found.access_count == 1 else f"{found.access_count} times"
    out.print(plain(f"   {degrees(found.temperature)} now, mentioned {mentions}, score {found.score:.2f}"), soft_wrap=True)
    for line in why_lines(answer):
        out.print(plain(f"   {line}", "dim"), soft_wrap=True)
