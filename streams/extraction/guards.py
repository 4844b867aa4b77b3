"""Imports Mem0 so that it calls nobody and says nothing.

Mem0 must be imported through this module and nowhere else (`from streams.extraction.guards import mem0`):
it reads its switches while it is being imported.

What is closed, and why:

- `MEM0_TELEMETRY=False`: otherwise import starts a PostHog client, and `add` fetches notices from outside.
- `MEM0_DIR`: import writes a config.json there, by default into the home folder. Where an operator sets
  none, a throw-away folder takes it, gone again once the import is done; with telemetry off nothing reads it.
- `OPENROUTER_API_KEY` is taken out of this process: Mem0's `openai` model provider would silently send
  prompts there. Emberlog uses the `vllm` provider, which does not; this makes it so by construction.
- spaCy: Mem0 downloads a language model when spaCy is installed without one. Its results (lemmas and
  entities) go into stores that Emberlog does not keep, so it is told that loading has failed already.
- Model hubs are set offline for every library that honours the usual variables.
- Loggers of Mem0 and of the OpenAI client print prompts and facts: they are cut off from every handler.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from typing import Any

_CLOSED = {
    "MEM0_TELEMETRY": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}
_TALKATIVE = ("mem0", "openai")


class _DropEverything(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return False


_DROP = _DropEverything()


def silence_loggers() -> None:
    """Cut Mem0's and the OpenAI client's loggers off from every handler. May be called again at any time.

    Both layers are needed: filters act only on the logger they sit on, and levels or propagation may be
    changed afterwards by a logging configuration that names the parent only.
    """
    names = list(_TALKATIVE)
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.startswith(tuple(f"{t}." for t in _TALKATIVE)):
            names.append(name)
    for name in names:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
        if _DROP not in logger.filters:
            logger.addFilter(_DROP)
        if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            # Without a handler, Python's last resort would print warnings to stderr.
            logger.addHandler(logging.NullHandler())


def _import_guarded() -> Any:
    loaded = sys.modules.get("mem0.memory.telemetry")
    if loaded is not None and loaded.MEM0_TELEMETRY:
        raise RuntimeError(
            "mem0 was imported before Emberlog's guards, with its telemetry on. "
            "Import streams.extraction.guards first, or set MEM0_TELEMETRY=False for the whole process."
        )
    os.environ.update(_CLOSED)
    os.environ.pop("OPENROUTER_API_KEY", None)
    throw_away = None
    if not os.environ.get("MEM0_DIR"):
        throw_away = tempfile.mkdtemp(prefix="emberlog-mem0-")
        os.environ["MEM0_DIR"] = throw_away
    try:
        import mem0
        import mem0.memory.main
        from mem0.utils import spacy_models
    finally:
        if throw_away is not None:
            shutil.rmtree(throw_away, ignore_errors=True)
    for flag in ("_load_failed_full", "_load_failed_lemma"):
        if not hasattr(spacy_models, flag):
            raise RuntimeError(
                f"mem0 {mem0.__version__} loads spaCy in an unknown way (no {flag}): it could download a "
                "model. Install the mem0ai version that pyproject.toml pins."
            )
        setattr(spacy_models, flag, True)
    silence_loggers()
    return mem0


mem0 = _import_guarded()
MEM0_VERSION: str = mem0.__version__
