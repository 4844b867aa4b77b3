"""Settings: where they come from, what is refused and how, and that secrets stay secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from ops.logging import configure_logging
from ops.settings import Settings, SettingsError, dump_settings, env_name, load_settings, restore_settings
from ops.settings_shown import describe, unknown_variables

SECRETS = {
    "EMBERLOG_POSTGRES_DSN": "postgresql://emberlog:correct-horse@db:5432/emberlog",
    "VLLM_API_KEY": "sk-battery-staple",
    "EMBEDDING_API_KEY": "sk-paper-clip",
    "EMBERLOG_SCHEMA_REGISTRY_URL": "http://emberlog:tin-whistle@registry:8081",
    "EMBERLOG_KEYS_DSN": "postgresql://keeper:garden-gate@keys:5432/keys",
    "REDIS_URL": "redis://emberlog:copper-kettle@redis:6379/0",
    "EMBERLOG_MASTER_KEY": "bGFudGVybi1saWdodC1sYW50ZXJuLWxpZ2h0LTMyIQ==",
}
SECRET_PARTS = ("correct-horse", "battery-staple", "paper-clip", "tin-whistle", "garden-gate", "copper-kettle", "bGFudGVybi1")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.delenv(env_name(field), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EMBERLOG_KAFKA_BOOTSTRAP", "kafka:9092")


@pytest.fixture
def _logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_is_documented_and_has_a_variable_of_its_own(name: str) -> None:
    field = Settings.model_fields[name]
    assert field.description
    assert len(field.description) > 20
    assert field.description.endswith(".")
    assert env_name(field).startswith(("EMBERLOG_", "VLLM_", "EMBEDDING_", "MEMORY_", "GRAPH_", "REDIS_"))
    assert [env_name(f) for f in Settings.model_fields.values()].count(env_name(field)) == 1


def test_the_environment_wins_over_the_file_and_an_empty_value_counts_as_not_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("EMBERLOG_PARTITIONS=8\nEMBERLOG_LOG_LEVEL=debug\nVLLM_BASE_URL=http://model:8000/v1/\n")
    monkeypatch.setenv("EMBERLOG_PARTITIONS", "6")
    monkeypatch.setenv("EMBERLOG_MAX_IN_FLIGHT", "")
    settings = load_settings()
    assert (settings.partitions, settings.log_level, settings.max_in_flight) == (6, "debug", 32)
    assert settings.vllm_base_url == "http://model:8000/v1"
    sources = {shown.name: shown.source for shown in describe(settings)}
    assert sources["EMBERLOG_PARTITIONS"] == "environment"
    assert sources["EMBERLOG_LOG_LEVEL"] == ".env"
    assert sources["EMBERLOG_MAX_IN_FLIGHT"] == "default"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("EMBERLOG_PARTITIONS", "many", "integer"),
        ("EMBERLOG_PARTITIONS", "0", "greater than or equal to 1"),
        ("EMBERLOG_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("EMBERLOG_KAFKA_BOOTSTRAP", "localhost", "host:port"),
        ("EMBERLOG_POSTGRES_DSN", "nonsense", "postgresql://"),
        ("EMBERLOG_TOPIC_PREFIX", "a b", "letters, digits"),
        ("VLLM_BASE_URL", "model:8000", "http://"),
        ("VLLM_BASE_URL", "http://me:pass@model/v1", "no user and password"),
        ("EMBEDDING_DIM", "-1", "greater than or equal to 8"),
        ("EMBEDDING_PRECISION", "fp8", "'fp16' or 'fp32'"),
        ("EMBERLOG_EMBED_MESSAGES", "perhaps", "boolean"),
    ],
)
def test_a_wrong_value_is_refused_by_a_line_that_names_the_variable_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    [problem] = caught.value.problems
    assert problem.startswith(name)
    assert says in problem
    assert "Correct it in the environment or in .env" in problem


def test_every_wrong_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBERLOG_PARTITIONS", "many")
    monkeypatch.setenv("EMBERLOG_MODEL_TIMEOUT_S", "soon")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert [p.split()[0] for p in caught.value.problems] == ["EMBERLOG_PARTITIONS", "EMBERLOG_MODEL_TIMEOUT_S"]


def test_a_floor_above_a_new_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBERLOG_FLOOR", "80")
    with pytest.raises(SettingsError, match="EMBERLOG_FLOOR must not be above EMBERLOG_INITIAL_TEMPERATURE"):
        load_settings()


def test_a_misspelt_variable_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBERLOG_PARTITON", "8")
    assert "EMBERLOG_PARTITON is no setting; did you mean EMBERLOG_PARTITIONS?" in unknown_variables()


@pytest.mark.usefixtures("_secrets")
def test_no_secret_shows_in_any_text_of_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    settings = load_settings()
    shown = describe(settings)
    assert {row.name for row in shown if row.secret} == set(SECRETS)
    print(settings, [settings], f"{settings!r}", shown, settings.model_dump(), settings.model_dump_json())  # noqa: T201
    text = capsys.readouterr().out
    assert not any(part in text for part in SECRET_PARTS)
    assert settings.postgres_dsn is not None
    assert settings.postgres_dsn.get_secret_value() == SECRETS["EMBERLOG_POSTGRES_DSN"]


@pytest.mark.usefixtures("_secrets", "_logging")
@pytest.mark.parametrize("format", ["json", "console"])
def test_no_secret_shows_in_the_logs(capsys: pytest.CaptureFixture[str], format: str) -> None:
    settings = load_settings()
    configure_logging("debug", format)
    log = structlog.get_logger("ops.test")
    log.info("starts", settings=settings, dsn=SECRETS["EMBERLOG_POSTGRES_DSN"], api_key=SECRETS["VLLM_API_KEY"])
    logging.getLogger("psycopg").error("failed with %s", settings)
    text = capsys.readouterr().err
    assert "starts" in text
    assert not any(part in text for part in SECRET_PARTS)


def test_an_error_of_a_secret_does_not_quote_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBERLOG_POSTGRES_DSN", "correct-horse")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "correct-horse" not in repr(caught.value) + str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.usefixtures("_secrets")
def test_settings_reach_a_child_whole_whatever_its_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = json.loads(json.dumps(dump_settings(load_settings())))
    monkeypatch.setenv("EMBERLOG_PARTITIONS", "9")
    monkeypatch.setenv("VLLM_BASE_URL", "http://elsewhere/v1")
    received = restore_settings(sent)
    assert (received.partitions, received.vllm_base_url) == (4, None)
    assert received.vllm_api_key is not None
    assert received.vllm_api_key.get_secret_value() == SECRETS["VLLM_API_KEY"]


def test_a_graph_in_neo4j_is_refused_as_something_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPH_BACKEND", "neo4j")
    with pytest.raises(SettingsError, match="GRAPH_BACKEND neo4j comes with a later version"):
        load_settings()
    monkeypatch.setenv("GRAPH_BACKEND", "sqlite")
    with pytest.raises(SettingsError, match="GRAPH_BACKEND should be 'postgres'"):
        load_settings()
    monkeypatch.setenv("GRAPH_BACKEND", "postgres")
    assert load_settings().graph_backend == "postgres"


@pytest.mark.parametrize("url", ["my-redis:6379", "http://my-redis:6379", "redis://redis:six/0"])
def test_an_address_that_is_no_redis_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(SettingsError, match="REDIS_URL must") as refused:
        load_settings()
    assert url not in str(refused.value)
