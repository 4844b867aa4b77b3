"""Kafka's jars: fetched once into the cache, each checked against the committed SHA-256 list.

`python -m ops.local.jars` fetches and prepares everything that embedded services need from outside; nothing is fetched
after that. `python -m ops.local.jars --write-lock` resolves the coordinates afresh and rewrites the list. A mirror is
named with `EMBERLOG_MAVEN_REPOSITORY` (a URL); the checksums are the same wherever the files come from.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from ops.local.paths import LocalServicesError, cache_dir, exclusive, write_atomically

KAFKA_VERSION = "4.3.1"
COORDINATES = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
LOCK_FILE = Path(__file__).with_name("kafka-jars.sha256")
FETCHERS = 8

logging.getLogger("jgo").setLevel(logging.ERROR)


def read_lock(lock_file: Path = LOCK_FILE) -> dict[str, str]:
    """The committed list: Maven path (`group/artifact/version/file.jar`) → SHA-256 in hex, as `sha256sum` writes it."""
    locked: dict[str, str] = {}
    for number, line in enumerate(lock_file.read_text(encoding="ascii").splitlines(), start=1):
        digest, _, path = line.partition("  ")
        if len(digest) != 64 or len(PurePosixPath(path).parts) < 4:
            raise LocalServicesError(f"{lock_file}:{number}: not a line of `sha256sum`: {line!r}")
        locked[path] = digest
    if not locked:
        raise LocalServicesError(f"{lock_file} is empty; write it with `python -m ops.local.jars --write-lock`")
    return locked


def jars_dir(cache: Path | None = None) -> Path:
    """Folder of the verified jars; it exists only once every one of them is right."""
    return (cache or cache_dir()) / f"kafka-{KAFKA_VERSION}-{_lock_name()}"


def _lock_name() -> str:
    return hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()[:8]


def class_path(cache: Path | None = None) -> list[Path]:
    """The jars in a stable order. Raises `LocalServicesError` when they were not fetched."""
    folder = jars_dir(cache)
    names = [PurePosixPath(path).name for path in read_lock()]
    jars = [folder / name for name in sorted(names)]
    missing = [jar.name for jar in jars if not jar.is_file()]
    if missing:
        raise LocalServicesError(
            f"Kafka's jars are not in {folder} (missing: {missing[0]}, {len(missing)} in all); "
            "fetch them with `python -m ops.local.jars`"
        )
    return jars


def sha256_of(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def verify(files: dict[str, Path], locked: dict[str, str]) -> None:
    """Raise `LocalServicesError` naming each file whose content is not what the committed list says."""
    wrong = [
        f"{PurePosixPath(path).name}: expected {digest}, got {actual}"
        for path, digest in locked.items()
        if (actual := sha256_of(files[path])) != digest
    ]
    if wrong:
        raise LocalServicesError(
            "refused, checksum mismatch:\n  " + "\n  ".join(wrong) + "\nThe wrong files were removed from the cache; "
            "fetch again with `python -m ops.local.jars`. If it stays, do not use that download source."
        )


def _context(cache: Path, progress: Callable[..., AbstractContextManager[Any]] | None = None) -> Any:
    # Everything jgo keeps lives in our cache, so that an empty cache folder really is empty.
    from jgo.maven import MavenContext, PythonResolver

    mirror = os.environ.get("EMBERLOG_MAVEN_REPOSITORY", "").rstrip("/")
    return MavenContext(
        repo_cache=cache / "maven",
        local_repos=[],
        remote_repos={"mirror": mirror} if mirror else None,
        resolver=PythonResolver(progress_callback=progress),
    )


def _download(cache: Path, paths: Iterable[str], progress: Progress) -> dict[str, Path]:
    def reporter(name: str, size: int) -> AbstractContextManager[Any]:
        return _reporting(progress, size)

    context = _context(cache, reporter)

    def fetch(path: str) -> tuple[str, Path]:
        *group, artifact, version, _ = PurePosixPath(path).parts
        component = context.project(".".join(group), artifact).at_version(version)
        return path, Path(component.artifact().resolve())

    with ThreadPoolExecutor(FETCHERS) as pool:
        return dict(pool.map(fetch, paths))


class _reporting(AbstractContextManager[Callable[[int], None]]):  # noqa: N801 - used as a function
    """Adds one download to the shared bar; yields the function that takes the bytes of each chunk."""

    def __init__(self, progress: Progress, size: int) -> None:
        self._progress, self._size = progress, size

    def __enter__(self) -> Callable[[int], None]:
        task = self._progress.tasks[0]
        self._progress.update(task.id, total=(task.total or 0) + self._size)
        return lambda count: self._progress.advance(task.id, count)

    def __exit__(self, *_: object) -> None:
        return None


def ensure_jars(cache: Path | None = None, console: Console | None = None) -> Path:
    """Folder with Kafka's jars, fetched and verified now if it is not there yet.

    Safe for any number of processes at once. Raises `LocalServicesError` when they cannot be fetched (no network) or
    when one of them is not the file of the committed list.
    """
    cache = cache or cache_dir()
    folder = jars_dir(cache)
    if folder.is_dir():
        return folder
    with exclusive(cache / "jars.lock"):
        if not folder.is_dir():
            _fill(cache, folder, console or Console(stderr=True))
    return folder


def _fill(cache: Path, folder: Path, console: Console) -> None:
    locked = read_lock()
    # A file that a killed fetch left half-written is not what the list says: fetch it again.
    for path, digest in locked.items():
        kept = cache / "maven" / path
        if kept.is_file() and sha256_of(kept) != digest:
            kept.unlink()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        progress.add_task(f"fetching Kafka {KAFKA_VERSION}, {len(locked)} jars, once", total=0)
        try:
            files = _download(cache, locked, progress)
        except Exception as error:  # jgo raises RuntimeError, requests' errors and OSError
            raise LocalServicesError(
                f"Kafka's jars are not in {cache} and cannot be fetched ({type(error).__name__}: {error}). Connect this "
                "machine once and run `python -m ops.local.jars`, or copy that folder from a machine that has it, or use "
                "your own broker (EMBERLOG_KAFKA_BOOTSTRAP and EMBERLOG_POSTGRES_DSN)."
            ) from error
    try:
        verify(files, locked)
    except LocalServicesError:
        for path, digest in locked.items():
            if sha256_of(files[path]) != digest:
                files[path].unlink()
        raise
    fresh = Path(tempfile.mkdtemp(prefix="jars-", dir=cache))
    try:
        for file in files.values():
            _link(file, fresh / file.name)
        fresh.chmod(0o755)
        fresh.rename(folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def fetch_file(
    group: str,
    artifact: str,
    version: str,
    *,
    sha256: str,
    classifier: str = "",
    packaging: str = "jar",
    cache: Path | None = None,
) -> Path:
    """One more file of a Maven repository, fetched into the cache if it is not there, and checked.

    Raises `LocalServicesError` when it cannot be fetched or is not the file of this checksum.
    """
    cache = cache or cache_dir()
    name = f"{artifact}-{version}{f'-{classifier}' if classifier else ''}.{packaging}"
    path = cache / "maven" / Path(*group.split(".")) / artifact / version / name
    with exclusive(cache / "jars.lock"):
        if path.is_file() and sha256_of(path) != sha256:
            path.unlink()  # a killed fetch leaves a part
        try:
            component = _context(cache).project(group, artifact).at_version(version)
            found = Path(component.artifact(classifier=classifier, packaging=packaging).resolve())
        except Exception as error:  # jgo raises RuntimeError, requests' errors and OSError
            raise LocalServicesError(
                f"{name} is not in {cache} and cannot be fetched ({type(error).__name__}: {error})"
            ) from error
        try:
            verify({name: found}, {name: sha256})
        except LocalServicesError:
            found.unlink()
            raise
    return found


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)


def write_lock() -> int:
    """Resolve the coordinates from nothing and write the committed list; returns the number of jars."""
    from jgo.parse import Coordinate

    with tempfile.TemporaryDirectory(prefix="emberlog-resolve-") as scratch:
        context = _context(Path(scratch))
        coordinates = [replace(Coordinate.parse(text), scope="compile") for text in COORDINATES]
        wanted = [context.create_dependency(coordinate) for coordinate in coordinates]
        inputs, transitive = context.resolver.resolve(wanted)
        chosen = [*inputs, *(d for d in transitive if d.scope in ("compile", "runtime"))]
        with ThreadPoolExecutor(FETCHERS) as pool:
            files = list(pool.map(lambda d: Path(d.artifact.resolve()), chosen))
        root = Path(scratch) / "maven"
        lines = sorted(f"{sha256_of(file)}  {file.relative_to(root).as_posix()}\n" for file in files)
    write_atomically(LOCK_FILE, "".join(sorted(lines, key=lambda line: line[66:])))
    return len(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.local.jars", description=__doc__)
    parser.add_argument("--write-lock", action="store_true", help="resolve afresh and rewrite the committed list")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        if options.write_lock:
            console.print(f"{LOCK_FILE.name}: {write_lock()} jars")
        folder = ensure_jars(console=console)
        from ops.local.jvm import ensure_archive

        with console.status("preparing the broker's class archive, once"):
            archive = ensure_archive(try_again=True)
    except LocalServicesError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    console.print(f"Kafka {KAFKA_VERSION}: {folder}" + ("" if archive else " (no class archive: starts slower)"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
