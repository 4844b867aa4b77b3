"""Settings as a person may see them: where each came from, secrets masked, typing errors pointed out."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import SecretStr

from ops.settings import ENV_FILE, Settings, env_name

MASK = "********"


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """One setting as a person may see it: secrets are masked. ``source`` is environment, .env or default."""

    name: str
    value: str
    source: str
    doc: str
    secret: bool


def describe(settings: Settings, environ: Mapping[str, str] | None = None, env_file: Path | None = None) -> list[ShownSetting]:
    """All settings in the order of their definition, with where each came from."""
    environ = os.environ if environ is None else environ
    in_file = {name.upper() for name, value in _read_env_file(env_file).items() if value}
    in_env = {name.upper() for name, value in environ.items() if value}
    rows = []
    for name, field in Settings.model_fields.items():
        variable = env_name(field)
        value = getattr(settings, name)
        secret = isinstance(value, SecretStr) or "SecretStr" in str(field.annotation)
        source = "environment" if variable in in_env else ENV_FILE if variable in in_file else "default"
        rows.append(ShownSetting(variable, _text(value, secret), source, field.description or "", secret))
    return rows


def _text(value: Any, secret: bool) -> str:
    if value is None:
        return ""
    return MASK if secret else str(value)


def _read_env_file(env_file: Path | None) -> Mapping[str, str | None]:
    return dotenv_values(env_file or ENV_FILE)


def unknown_variables(environ: Mapping[str, str] | None = None, env_file: Path | None = None) -> list[str]:
    """Lines on variables that look like ours and are no setting, a typing error most often."""
    known = {env_name(field) for field in Settings.model_fields.values()}
    present = {name.upper() for name in (os.environ if environ is None else environ)}
    present |= {name.upper() for name in _read_env_file(env_file)}
    lines = []
    for name in sorted(present - known):
        if not name.startswith("EMBERLOG_"):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        lines.append(f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else ""))
    return lines


def describe_models(settings: Settings) -> str:
    """Which models are in use, in words for people."""
    facts = "rules, not a model (set VLLM_BASE_URL for one)" if settings.rules_only else settings.vllm_model
    vectors = settings.embedding_model if settings.embedding_base_url else "built-in word vectors"
    return f"from {facts}; vectors from {vectors}"
