"""``emberlog recall`` and ``emberlog forget``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import TIMEOUT_S, Json, Owner, Timeout

if TYPE_CHECKING:
    from ops.cli.forgetting import Forgotten
    from ops.cli.recalling import Answer


def register(app: typer.Typer) -> None:
    app.command("recall", rich_help_panel="Use")(recall)
    app.command("forget", rich_help_panel="Use")(forget)


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


def forget(
    memory_ids: Annotated[list[str], typer.Argument(help="Memory ids; their first digits are enough.")],
    owner: Owner,
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
) -> None:
    """Forget memories, and wait until they are gone from archive, embeddings and recall.

    The messages that taught them stay, as a conversation is not a memory; they are named, and a later turn may teach the
    fact anew.

    Example:

      emberlog forget 3f2a9c11 --owner default/user/mara
    """
    from ops.cli.errors import CliError
    from ops.cli.forgetting import Forgotten as Result
    from ops.cli.forgetting import forget as do_forget
    from ops.cli.memory_ids import resolve
    from ops.cli.target import find_running
    from schemas.owner import Owner as OwnerName

    whose = OwnerName.parse(owner)
    target = find_running()

    async def work() -> Result:
        return await do_forget(target, whose, await resolve(target, whose, memory_ids), timeout)

    result = asyncio.run(work())
    _show_forgotten(result, json)
    if result.rejected:
        raise CliError("; ".join(result.rejected), "ids belong to one owner; see them with: emberlog recall … --owner …")


def _show_forgotten(result: Forgotten, json: bool) -> None:
    from ops.cli.out import console, plain, print_json

    if json:
        print_json(result)
        return
    for memory_id, messages in result.forgotten.items():
        stay = f"{len(messages)} source message{'' if len(messages) == 1 else 's'} stay"
        console().print(plain(f"forgotten  {memory_id}  gone from archive, embeddings and recall; {stay}"), soft_wrap=True)
    for reason in result.noted:
        console().print(plain(f"nothing changed: {reason}"), soft_wrap=True)
