"""The embedded Redis: private, durable, and never a reason for the rest not to start."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ops.local import redis as embedded
from ops.local import services as local_services
from ops.local.paths import LocalServicesError
from ops.local.redis import EmbeddedRedis
from ops.local.services import LocalServices
from tests.services import temporary_data_dir


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    found = EmbeddedRedis(temporary_data_dir())
    yield found
    found.stop()
    found.remove()


def client(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def test_a_killed_redis_comes_back_at_its_address_with_what_was_on_the_disk(server: EmbeddedRedis) -> None:
    server.start()
    url = server.url
    with client(server) as asking:
        asking.config_set("appendfsync", "always")
        asking.set("kept", "yes")
    server.kill()
    assert not server.healthy()
    # as a rewrite that is killed leaves it
    (server.directory / "temp-rewriteaof-123.aof").write_text("text")
    server.restart()
    assert server.url == url
    with client(server) as asking:
        assert asking.get("kept") == b"yes"
    assert not list(server.directory.glob("temp-*"))


def test_nobody_else_reaches_it(server: EmbeddedRedis) -> None:
    server.start()
    folder = server.directory.stat()
    assert stat.S_IMODE(folder.st_mode) == 0o700
    with client(server) as asking:
        assert asking.config_get("port") == {"port": "0"}


def test_data_that_cannot_be_loaded_is_thrown_away_and_it_starts_empty(server: EmbeddedRedis) -> None:
    server.start()
    with client(server) as asking:
        asking.set("lost", "yes")
    server.stop()
    [file] = list(server.directory.rglob("appendonly*.aof"))
    file.write_bytes(b"no commands at all\n" * 50)
    server.start()
    with client(server) as asking:
        assert asking.dbsize() == 0
        asking.set("new", "yes")
    assert server.healthy()


def test_a_folder_with_a_long_name_has_its_socket_elsewhere(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / ("long " * 30) / "redis")
    server.start()
    try:
        assert server.healthy()
        socket = server._socket
        assert server.directory not in socket.parents
    finally:
        server.stop()
        server.remove()
    assert not socket.parent.exists()


def test_without_a_program_there_is_a_word_on_what_to_install_and_no_redis(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (embedded, local_services):
        monkeypatch.setattr(module, "find_server", lambda: None)
    with pytest.raises(LocalServicesError, match="apt-get install redis-server"):
        EmbeddedRedis(data_dir / "redis").start()
    services = LocalServices(data_dir)
    assert services.addresses.redis_url is None
    assert set(services.status()) == {"kafka", "postgres"}


def test_where_the_operator_has_one_none_is_started(data_dir: Path) -> None:
    services = LocalServices(data_dir, with_redis=False)
    assert services.addresses.redis_url is None
    assert "redis" not in services.status()
