"""Logging: structlog for our lines, the standard library's loggers of our dependencies bridged into the same stream on stderr.

Two formats, ``console`` for people and ``json`` with one object per line. No line carries content or raw owner ids, by
construction: fields with telling names are withheld (counts are not), and an exception is shown by its type and place, never by
its text (a database error quotes the row, a decoder the bytes). Errors of our own, content-free by contract, keep their text.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import orjson
import structlog

WITHHELD = "[withheld]"
CONTENT_FIELDS = {"content", "contents", "text", "message", "messages", "fact", "facts", "query", "prompt", "answer", "vector"}
ID_FIELDS = {"owner_id", "user_id", "company_id"}
SECRET_FIELDS = {"password", "dsn", "api_key", "key", "secret", "token"}
RAW_FIELDS = {"value", "payload", "record", "row", "headers"}
TELLING_FIELDS = CONTENT_FIELDS | ID_FIELDS | SECRET_FIELDS | RAW_FIELDS
# Loggers of dependencies: what they say at info is their own life, which drowns ours. Mem0's lines quote facts and prompts.
LEVELS = {
    "aiokafka": logging.WARNING,
    "faust": logging.WARNING,
    "mode": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpx": logging.WARNING,
    "httpx2": logging.WARNING,
    "httpcore": logging.WARNING,
    "openai": logging.WARNING,
    "psycopg": logging.WARNING,
    "psycopg.pool": logging.WARNING,
    "uvicorn": logging.WARNING,
    "wordllama": logging.ERROR,
    "mem0": logging.CRITICAL,
}
OWN_PACKAGES = ("schemas", "streams", "projections", "ops")
FRAMES = 6

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Event = MutableMapping[str, Any]


def log_to_stderr() -> None:
    """Keep standard output for what a command answers: what it warns of goes to stderr, as plain lines."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            withhold,
            show_exceptions,
            structlog.dev.ConsoleRenderer(colors=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def configure_logging(level: str = "info", format: str = "auto") -> None:
    """Send all log lines of this process to stderr. ``format`` is json, console or auto (console on a terminal)."""
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        withhold,
        show_exceptions,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if console
        else structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event, default=repr).decode())
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(without_error_texts)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in LEVELS.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.captureWarnings(True)


def withhold(logger: Any, method: str, event: Event) -> Event:
    """Processor: fields whose name says that they hold content, ids or secrets lose their value."""
    for name, value in event.items():
        if name.lower() in TELLING_FIELDS and not isinstance(value, int | float | None):
            event[name] = WITHHELD
    return event


def show_exceptions(logger: Any, method: str, event: Event) -> Event:
    """Processor: an exception becomes ``error`` (its type, its text only where that is content-free) and ``at``, its frames."""
    info = event.pop("exc_info", None)
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    elif info and not isinstance(info, tuple):
        info = sys.exc_info()
    event.pop("stack_info", None)
    if info and info[1] is not None:
        event["error"], event["at"] = describe_error(info[1]), _frames(info[2])
    for name, value in event.items():
        if isinstance(value, BaseException):
            event[name] = describe_error(value)
    return event


def describe_error(error: BaseException) -> str:
    """An exception in a form that may be logged: its type, with its text where one of our own packages raised the type."""
    kind = type(error)
    if kind.__module__.partition(".")[0] in OWN_PACKAGES:
        return f"{kind.__name__}: {error}"
    cause = error.__cause__ or error.__context__
    return f"{kind.__name__} from {type(cause).__name__}" if cause else kind.__name__


def _frames(tb: TracebackType | None) -> str:
    frames = traceback.extract_tb(tb)[-FRAMES:]
    return " > ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames)


def without_error_texts(record: logging.LogRecord) -> bool:
    """Filter: exceptions among a dependency's arguments are replaced by their types, as their texts may quote content."""
    if isinstance(record.args, tuple) and any(isinstance(a, BaseException) for a in record.args):
        record.args = tuple(_Named(describe_error(a)) if isinstance(a, BaseException) else a for a in record.args)
    return True


class _Named(str):
    """Text that shows without quotes under %r too."""

    def __repr__(self) -> str:
        return str(self)
