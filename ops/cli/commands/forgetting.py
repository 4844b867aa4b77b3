"""``emberlog forget`` and ``emberlog erase``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.commands.options import TIMEOUT_S, Json, Timeout

if TYPE_CHECKING:
    from ops.cli.forgetting import Forgotten
    from ops.cli.target import Target
    from schemas.owner import Owner

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    app.command("forget", rich_help_panel="Use")(forget)
    app.command("erase", rich_help_panel="Use")(erase)


def forget(
    memory_ids: Annotated[
        list[str] | None, typer.Argument(help="Memory ids; their first digits are enough.", show_default=False)
    ] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Whose memory, such as default/user/u-1 or u-1.")] = None,
    slug: Annotated[list[str] | None, typer.Option("--slug", help="The memory of this name; may be given several times.")] = None,
    query: Annotated[
        str | None, typer.Option("--query", help="What recall finds for this; it is shown, and you are asked.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="With --query: how many memories at most.")] = 5,
    include_source: Annotated[bool, typer.Option("--include-source", help="The messages that taught it are to go, too.")] = False,
    yes: Yes = False,
    prove: Annotated[
        bool, typer.Option("--prove", help="Forget nothing: search every store for the content, and say where it is.")
    ] = False,
    content_file: Annotated[
        str | None,
        typer.Option("--content-file", help="With --prove: file with the texts to look for, one per line; - is standard input."),
    ] = None,
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
) -> None:
    """Forget memories, and wait until they are gone from archive, graph and recall; or prove where a text still is.

    The messages that taught them stay, as a conversation is not a memory; they are named, and a later turn may teach the
    fact anew. With --include-source the request says that they are to go, too.

    Examples:

      emberlog forget 3f2a9c11 8d01 --owner default/user/mara

      emberlog forget --slug door --owner u-1

      emberlog forget --query "where does she live?" -k 3 --owner u-1

    With --prove nothing is forgotten. You are asked for the content, which is not shown, not kept and not sent to any server;
    then every table, every record of every topic and every file of the data folder is searched for it, in any case of its
    letters, also escaped as JSON, in UTF-16 and in base64. What is sealed on topics is opened where its key is still there.
    Exit code 0: found nowhere; 1: found, or something could not be searched.

      emberlog forget --prove 3f2a9c11

      emberlog forget --prove --content-file said.txt --json
    """
    from ops.cli.errors import UsageError
    from ops.cli.target import find_running
    from schemas.owner import Owner as OwnerName

    if prove:
        if slug or query is not None or include_source:
            raise UsageError("--prove only searches: it goes with memory ids and --content-file")
        from ops.cli.proving import show_proof, sought

        # what is wrong with the content is told before anything is looked for
        needles = sought(content_file)
        show_proof(find_running(), memory_ids or [], needles, json)
        return
    if content_file is not None:
        raise UsageError("--content-file belongs to --prove")
    if owner is None:
        raise UsageError("say whose memory: --owner", "only --prove goes without an owner")
    if not (memory_ids or slug or query is not None):
        raise UsageError("say which: memory ids, --slug or --query", "ids are shown by: emberlog recall … --owner …")
    whose, target = OwnerName.parse(owner), find_running()
    chosen = asyncio.run(_named(target, whose, memory_ids or [], slug or []))
    if query is not None:
        chosen += [memory_id for memory_id in _found(target, whose, query, k, yes) if memory_id not in chosen]
    if chosen:
        _carry_out(target, whose, chosen, timeout, include_source, json)


async def _named(target: Target, owner: Owner, memory_ids: Sequence[str], slugs: Sequence[str]) -> list[str]:
    """The memories that are named by id or slug, each once."""
    from ops.cli.forgetting import by_slug
    from ops.cli.memory_ids import resolve
    from ops.cli.owners import known

    reference = await known(target, owner)
    found = await resolve(target, reference, memory_ids)
    found += [await by_slug(target, reference, slug) for slug in slugs]
    return list(dict.fromkeys(found))


def _found(target: Target, owner: Owner, query: str, k: int, yes: bool) -> list[str]:
    """What recall finds, shown on stderr and agreed to."""
    from ops.cli.out import error_console, plain
    from ops.cli.recalling import ask

    out = error_console()
    memories = [answer.memory for answer in asyncio.run(ask(target, owner, query, k))]
    for memory in memories:
        out.print(plain(f"{memory.memory_id}  {memory.content}"), soft_wrap=True)
    if not memories:
        out.print("nothing is remembered that answers it, so there is nothing to forget")
    elif not yes:
        typer.confirm(f"Forget {'this memory' if len(memories) == 1 else f'these {len(memories)}'}?", abort=True, err=True)
    return [memory.memory_id for memory in memories]


def _carry_out(target: Target, owner: Owner, memory_ids: Sequence[str], timeout: float, include_source: bool, json: bool) -> None:
    from ops.cli.errors import CliError
    from ops.cli.forgetting import forget as do_forget

    result = asyncio.run(do_forget(target, owner, memory_ids, timeout, include_source=include_source))
    _show_forgotten(result, json)
    if result.rejected:
        raise CliError("; ".join(result.rejected), "ids belong to one owner; see them with: emberlog recall … --owner …")


def _show_forgotten(result: Forgotten, json: bool) -> None:
    from ops.cli.out import console, plain, print_json

    if json:
        print_json(result)
        return
    for memory_id, messages in result.forgotten.items():
        count = f"{len(messages)} source message{'' if len(messages) == 1 else 's'}"
        sources = f"{count} to go, too" if result.include_source else f"{count} stay"
        console().print(plain(f"forgotten  {memory_id}  gone from archive, graph and recall; {sources}"), soft_wrap=True)
    if result.forget_id is not None:
        console().print(plain(f"what was destroyed where: emberlog receipt {result.forget_id} --wait 10"), soft_wrap=True)
    for reason in result.noted:
        console().print(plain(f"nothing changed: {reason}"), soft_wrap=True)


def erase(
    owner: Annotated[str, typer.Argument(help="Whose memory is to go, such as default/user/u-1 or u-1.", show_default=False)],
    yes: Yes = False,
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
) -> None:
    """Erase an owner: every memory goes from archive, graph and recall, and turns from before bring none back.

    It cannot be undone, so you are asked to type the owner again. What the owner says later is remembered anew. What is still
    where, emberlog forget --prove tells.

    Example:

      emberlog erase default/user/mara
    """
    from ops.cli.errors import UsageError
    from ops.cli.forgetting import erase as do_erase
    from ops.cli.out import console, plain, print_json
    from ops.cli.owners import known
    from ops.cli.target import find_running
    from schemas.owner import Owner as OwnerName

    whose, target = OwnerName.parse(owner), find_running()
    asyncio.run(known(target, whose))  # an erasure would make somebody known whose name was mistyped
    if not yes:
        typed = typer.prompt("This cannot be undone. Type the owner again", err=True)
        if OwnerName.parse(typed) != whose:
            raise UsageError("that is another owner than the one to be erased: nothing was changed")
    erased = asyncio.run(do_erase(target, whose, timeout))
    if json:
        print_json(erased)
        return
    count = f"{erased.memories} {'memory' if erased.memories == 1 else 'memories'}"
    console().print(plain(f"erased  {count} gone from archive, graph and recall  event {erased.event_id}"), soft_wrap=True)
    console().print(plain(f"what was destroyed where: emberlog receipt {erased.command_id} --wait 10"), soft_wrap=True)
