"""Starting, finding again and stopping a set of embedded services."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import redis

from ops.local.kafka_check import answers_metadata, carries_a_record
from ops.local.paths import LocalServicesError
from ops.local.process import ProcessId
from ops.local.services import LocalServices
from tests.local.support import all_gone


def processes_of(services: LocalServices) -> list[ProcessId]:
    stored = json.loads(services.state_file.read_text())["processes"]
    return [ProcessId.from_json(entry) for entry in stored.values()]


def test_a_started_set_answers_and_a_stopped_one_leaves_no_process(data_dir: Path) -> None:
    steps: list[str] = []
    services = LocalServices(data_dir)
    addresses = services.start(on_step=steps.append)
    assert services.status() == {"kafka": "healthy", "postgres": "healthy", "redis": "healthy"}
    assert carries_a_record(addresses.kafka_bootstrap)
    with psycopg.connect(addresses.postgres_dsn) as connection:
        assert connection.execute("SELECT '[1,2]'::vector <-> '[1,2]'::vector").fetchone() == (0.0,)
    assert addresses.redis_url is not None
    with redis.Redis.from_url(addresses.redis_url) as client:
        settings = client.config_get("*")
    expected = {"appendonly": "yes", "maxmemory": str(64 << 20), "maxmemory-policy": "allkeys-lfu", "port": "0"}
    assert settings.items() >= expected.items()
    assert {step for name in ("kafka", "postgres", "redis") for step in (f"starting {name}", f"{name} is ready")} <= set(steps)
    started = processes_of(services)
    assert len(started) == 3
    assert services.stop()
    assert all_gone(started)
    assert services.status() == {"kafka": "stopped", "postgres": "stopped", "redis": "stopped"}
    assert not services.stop()


def test_a_second_start_reuses_the_running_set_and_its_close_leaves_it_running(running: LocalServices) -> None:
    steps: list[str] = []
    second = LocalServices(running.data_dir)
    assert second.start(on_step=steps.append) == running.addresses
    assert sorted(step.split(",")[0] for step in steps) == ["reusing kafka", "reusing postgres", "reusing redis"]
    second.close()
    assert running.status() == {"kafka": "healthy", "postgres": "healthy", "redis": "healthy"}


def test_two_starts_at_once_over_one_folder_give_one_set_and_another_folder_another(
    running: LocalServices, data_dir: Path
) -> None:
    sets = [LocalServices(data_dir), LocalServices(data_dir)]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda services: services.start(), sets)
    assert first == second
    assert sorted(len(services.started_here) for services in sets) == [0, 3]
    assert first.kafka_bootstrap != running.addresses.kafka_bootstrap
    assert first.postgres_dsn != running.addresses.postgres_dsn
    assert sets[0].stop()
    assert sets[1].status() == {"kafka": "stopped", "postgres": "stopped", "redis": "stopped"}
    assert running.status() == {"kafka": "healthy", "postgres": "healthy", "redis": "healthy"}


def test_a_missing_service_is_started_beside_the_one_that_runs(running: LocalServices) -> None:
    before = running.kafka.bootstrap
    running.postgres.kill()
    assert running.status() == {"kafka": "healthy", "postgres": "stopped", "redis": "healthy"}
    steps: list[str] = []
    running.start(on_step=steps.append)
    assert any(step.startswith("reusing kafka") for step in steps)
    assert "postgres is ready" in steps
    assert running.kafka.bootstrap == before


async def test_a_check_may_be_made_inside_a_running_loop(running: LocalServices) -> None:
    assert answers_metadata(running.addresses.kafka_bootstrap)
    assert not answers_metadata("127.0.0.1:1", deadline_s=1.0)


def test_an_unusable_data_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LocalServicesError, match="cannot make the data folder"):
        LocalServices(tmp_path / "file" / "data").start()


def test_addresses_do_not_show_the_dsn_when_printed(running: LocalServices) -> None:
    assert "postgres" not in repr(running.addresses)
    assert running.addresses.kafka_bootstrap in repr(running.addresses)
