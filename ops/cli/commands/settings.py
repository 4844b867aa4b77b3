"""``emberlog settings``: every setting, its value, where that came from, and what it is for."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("settings", rich_help_panel="Operate")(settings)


def settings(
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    doc: Annotated[bool, typer.Option("--doc", help="Only names and explanations: works with wrong values too.")] = False,
) -> None:
    """Show every setting with its source and explanation. Secrets are masked.

    Settings are environment variables; a file .env in the working directory is read as well, the environment wins.
    """
    from ops.cli.out import console, error_console, plain, print_json, table
    from ops.settings import Settings, env_name, load_settings
    from ops.settings_shown import describe, unknown_variables

    if doc:
        rows = [(env_name(field), field.description or "") for field in Settings.model_fields.values()]
        if json:
            print_json([{"name": name, "doc": text} for name, text in rows])
        else:
            console().print(table("Settings", ("name", "what it is for"), rows))
        return
    shown = describe(load_settings())
    if json:
        print_json(shown)
    else:
        cells = [(s.name, plain(s.value or "not set", "" if s.value else "dim"), s.source, s.doc) for s in shown]
        console().print(table("Settings", ("name", "value", "source", "what it is for"), cells))
    for line in unknown_variables():
        error_console().print(plain(f"warning: {line}", "yellow"))
