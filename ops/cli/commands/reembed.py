"""``emberlog reembed``: another embedder's vectors beside the live ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.commands.options import Json

if TYPE_CHECKING:
    from ops.cli.target import Target
    from ops.settings import Settings
    from streams.reembedding import Counts


def register(app: typer.Typer) -> None:
    app.command("reembed", rich_help_panel="Operate")(reembed)


def reembed(
    model: Annotated[
        str | None, typer.Option("--model", help="Embed with this model, as the endpoint lists it, instead of EMBEDDING_MODEL.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="At this embeddings endpoint instead of EMBEDDING_BASE_URL.")
    ] = None,
    dim: Annotated[int | None, typer.Option("--dim", help="Dimensions to keep, instead of EMBEDDING_DIM.")] = None,
    drop: Annotated[
        str | None, typer.Option("--drop", metavar="MODEL", help="Drop the vectors of this model; not of the one in use.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Only say which models have vectors, and how many.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before vectors are dropped.")] = False,
    json: Json = False,
) -> None:
    """Make vectors of everything on the log with another embedder, beside the ones in use, which stay as they are.

    Workers and readers go on meanwhile; each asks with the model of its own settings and finds that model's vectors only. Stopped
    or killed, the same command goes on where it was. Run again, it embeds what came since. The key of the endpoint is
    EMBEDDING_API_KEY.

    How to swap: reembed with the new model; give worker and readers the new EMBEDDING_ settings and start them again; reembed
    once more, for what came in between; then drop the old model's vectors.

    Examples:

      emberlog reembed --model bge-m3 --base-url http://gpu:8001/v1 --dim 1024

      emberlog reembed --list

      emberlog reembed --drop wordllama-l2_supercat-256
    """
    from ops.cli.errors import UsageError
    from ops.cli.target import find_running

    if drop is not None and (model, base_url, dim) != (None, None, None):
        raise UsageError("--drop goes alone", "first drop, then embed with another model, or the other way round")
    target = find_running()
    if show:
        _show(target, json)
    elif drop is not None:
        _drop(target, drop, yes, json)
    else:
        _embed(target, {"embedding_model": model, "embedding_base_url": base_url, "embedding_dim": dim}, json)


def _embed(target: Target, overrides: dict[str, Any], json: bool) -> None:
    from ops.cli.bars import shown_bar
    from ops.cli.out import console, plain, print_json
    from ops.settings import load_settings
    from ops.wiring import embed_again, make_embedder

    settings = load_settings(data_dir=target.settings.data_dir, **overrides)
    name, used = asyncio.run(_answering(settings)), make_embedder(target.settings).name
    with shown_bar(f"embedding with {name}", json) as progress:
        looked_at = asyncio.run(embed_again(settings, target.bootstrap, target.dsn, progress))
    if json:
        print_json({"model": name, "records": looked_at, "models": asyncio.run(_models(target))})
        return
    out = console()
    out.print(plain(f"{looked_at} records looked at; every memory on the log then has a vector of {name}"), soft_wrap=True)
    if name != used:
        out.print(
            plain(
                f"recall goes on with {used}. To swap: give worker and readers the new EMBEDDING_ settings and start them again, "
                f"run this again, then: emberlog reembed --drop {used}"
            ),
            soft_wrap=True,
        )


def _drop(target: Target, model: str, yes: bool, json: bool) -> None:
    from ops.cli.bars import shown_bar
    from ops.cli.errors import UsageError
    from ops.cli.out import console, error_console, plain, print_json
    from ops.wiring import make_embedder
    from streams.reembedding import drop

    models = asyncio.run(_models(target))
    if model == make_embedder(target.settings).name:
        raise UsageError(f"{model} is the model in use by these settings", "swap first: emberlog reembed --help")
    if model not in models:
        raise UsageError(f"there are no vectors of {model}", f"there are some of: {', '.join(models) or 'no model'}")
    if not yes:
        counts = models[model]
        text = f"Vectors of {counts.memories} memories and {counts.messages} messages go; only embedding again brings them back."
        error_console().print(plain(text), soft_wrap=True)
        typer.confirm("Go on?", abort=True, err=True)
    with shown_bar(f"dropping {model}", json) as progress:
        dropped = asyncio.run(drop(target.bootstrap, target.topics, model, progress))
    if json:
        print_json({"model": model, "dropped": dropped})
    else:
        console().print(plain(f"dropped {dropped} vectors of {model}"), soft_wrap=True)


def _show(target: Target, json: bool) -> None:
    from ops.cli.out import console, print_json, table
    from ops.wiring import make_embedder

    models, used = asyncio.run(_models(target)), make_embedder(target.settings).name
    if json:
        print_json({"in_use": used, "models": models})
        return
    rows = [(name, counts.memories, counts.messages, "yes" if name == used else "") for name, counts in models.items()]
    console().print(table("Vectors", ("model", "memories", "messages", "in use"), rows, right=("memories", "messages")))


async def _answering(settings: Settings) -> str:
    """The name of the settings' embedder, once it has answered: an endpoint that is away would be waited for, without a word."""
    from ops.cli.errors import CliError
    from ops.wiring import make_embedder
    from streams.extraction.errors import ExtractionError

    embedder = make_embedder(settings)
    try:
        await embedder.embed(["Does it answer?"])
    except ExtractionError as error:
        raise CliError(
            f"the embeddings endpoint does not embed with {embedder.name}: {error.reason}",
            "--base-url ends in /v1, --model is a name that the endpoint lists, --dim is at most the model's own",
        ) from None
    finally:
        await embedder.close()
    return embedder.name


async def _models(target: Target) -> dict[str, Counts]:
    from streams.reembedding import vectors_by_model

    return await vectors_by_model(target.bootstrap, target.topics)
