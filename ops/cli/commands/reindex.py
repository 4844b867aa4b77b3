"""``emberlog reindex``: the hot tier's vector index as of today."""

from __future__ import annotations

import asyncio
import time

import typer

from ops.cli.commands.options import Json


def register(app: typer.Typer) -> None:
    app.command("reindex", rich_help_panel="Operate")(reindex)


def reindex(json: Json = False) -> None:
    """Make the vector index of the graph's hot tier anew, as of today: over what is not older than MEMORY_HOT_DAYS.

    The projector of the graph does so by itself, each time that the index is a tenth of these days behind. By hand it is of use
    after MEMORY_HOT_DAYS or EMBEDDING_DIM was changed, and where no projector runs. Readers and writers go on meanwhile; a
    rebuild, promotion or comparison of the graph has to wait.

    Example:

      emberlog reindex
    """
    from ops.cli.out import console, plain, print_json
    from ops.cli.target import find_running
    from ops.view_settings import view_settings
    from projections.hot_renewal import renew_live
    from projections.views import build_views

    target, began = find_running(), time.monotonic()
    view = build_views(view_settings(target.settings, target.topics), ["graph"])["graph"]
    made = asyncio.run(renew_live(view, target.dsn, exactly=True))
    seconds = round(time.monotonic() - began, 1)
    if json:
        print_json({"made": list(made), "seconds": seconds})
    elif made:
        console().print(plain(f"made {', '.join(made)} in {seconds:g} s"), soft_wrap=True)
    else:
        console().print("the vector index is as of today already")
