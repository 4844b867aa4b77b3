"""Kafka's jars are taken only when they are the files of the committed list."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from ops.local import jars
from ops.local.kafka import free_port
from ops.local.paths import LocalServicesError

TAMPERED = "slf4j-simple-1.7.36.jar"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Maven repository on this machine with the real jars; its folder, for a test to tamper with."""
    have = jars.ensure_jars()
    folder = tmp_path / "repository"
    for path in jars.read_lock():
        place = folder / path
        place.parent.mkdir(parents=True)
        place.symlink_to(have / PurePosixPath(path).name)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        monkeypatch.setenv("EMBERLOG_MAVEN_REPOSITORY", f"http://127.0.0.1:{server.server_port}")
        try:
            yield folder
        finally:
            server.shutdown()
            thread.join()


def test_concurrent_fetchers_fill_an_empty_cache_once_and_right(mirror: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(2) as pool:
        folders = set(pool.map(lambda _: jars.ensure_jars(cache), range(2)))
    assert folders == {jars.jars_dir(cache)}
    locked = jars.read_lock()
    jars.verify({path: jars.jars_dir(cache) / PurePosixPath(path).name for path in locked}, locked)
    assert {entry.name.split("-")[0] for entry in cache.iterdir()} == {"jars.lock", "kafka", "maven"}


def test_a_jar_with_a_wrong_checksum_is_refused_and_not_kept(mirror: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    victim = next(mirror.rglob(TAMPERED))
    right = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(right + b"one byte more")
    with pytest.raises(LocalServicesError, match=f"(?s)checksum mismatch.*{TAMPERED}"):
        jars.ensure_jars(cache)
    assert not jars.jars_dir(cache).exists()
    assert list((cache / "maven").rglob(TAMPERED)) == []
    victim.write_bytes(right)
    assert (jars.ensure_jars(cache) / TAMPERED).read_bytes() == right


def test_without_network_and_cache_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBERLOG_MAVEN_REPOSITORY", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(LocalServicesError, match="Connect this machine once"):
        jars.ensure_jars(tmp_path / "cache")


def test_the_committed_list_names_the_broker_and_holds_no_address() -> None:
    locked = jars.read_lock()
    assert f"org/apache/kafka/kafka_2.13/{jars.KAFKA_VERSION}/kafka_2.13-{jars.KAFKA_VERSION}.jar" in locked
    assert "://" not in jars.LOCK_FILE.read_text()
    assert len({PurePosixPath(path).name for path in locked}) == len(locked)


def test_a_broken_line_of_the_list_is_an_error_that_names_it(tmp_path: Path) -> None:
    broken = tmp_path / "list"
    broken.write_text("abc  a/b/c/d.jar\n")
    with pytest.raises(LocalServicesError, match="list:1"):
        jars.read_lock(broken)
