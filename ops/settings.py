"""Settings: environment variables and a ``.env`` file in the working directory, each documented here and nowhere else.

    settings = load_settings()          # raises SettingsError with one line per wrong variable

The environment wins over ``.env``, an empty value counts as not set. Secrets are ``SecretStr``: their text comes out only by
``get_secret_value()``, never by repr, str, log or error message.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.topics import Topics
from schemas.types import ThermalPolicy
from schemas.vectors import Precision

ENV_FILE = ".env"


class SettingsError(ValueError):
    """Settings that cannot be used. ``problems`` has one line each: which variable, what is wrong, what to do."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def _setting(env: str, default: Any, description: str, **limits: Any) -> Any:
    """A documented field that is read from variable ``env``."""
    return Field(default, validation_alias=AliasChoices(env), description=description, **limits)


class Settings(BaseSettings):
    """Every setting of Emberlog."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
        frozen=True,
    )

    kafka_bootstrap: str | None = _setting(
        "EMBERLOG_KAFKA_BOOTSTRAP",
        None,
        "Your own Kafka, host:port, several separated by commas. Together with EMBERLOG_POSTGRES_DSN; not set: `emberlog up` "
        "starts a broker of its own.",
    )
    postgres_dsn: SecretStr | None = _setting(
        "EMBERLOG_POSTGRES_DSN",
        None,
        "Your own PostgreSQL 16 or later with the pgvector extension, postgresql://user:password@host:port/database. "
        "Together with EMBERLOG_KAFKA_BOOTSTRAP; not set: `emberlog up` starts a database of its own.",
    )
    redis_url: SecretStr | None = _setting(
        "REDIS_URL",
        None,
        "Your own Redis for the working set, redis://user:password@host:port/0, rediss:// or unix://. Not set: `emberlog up` "
        "starts one of its own; beside a broker and a database of your own there is no working set then.",
    )
    redis_focus_ttl_seconds: int = _setting(
        "REDIS_FOCUS_TTL_SECONDS",
        172_800,
        "Seconds after an owner's last event until the focus buffer of the working set expires.",
        ge=1,
        le=315_360_000,
    )
    services: Literal["embedded", "containers", "external"] | None = _setting(
        "EMBERLOG_SERVICES",
        None,
        "Forces where broker and database come from: embedded, containers or external. Not set: external where the two addresses "
        "are set, else embedded (tests prefer containers where a Docker daemon answers).",
    )
    data_dir: Path = _setting(
        "EMBERLOG_DATA_DIR", Path(".emberlog"), "Folder of embedded services, their state file, local keys and logs."
    )
    cache_dir: Path = _setting(
        "EMBERLOG_CACHE_DIR",
        Path("~/.cache/emberlog"),
        "Folder of what is fetched once and can be fetched again: the broker's jars.",
    )
    keys_dsn: SecretStr | None = _setting(
        "EMBERLOG_KEYS_DSN",
        None,
        "Database of the key store, postgresql://user:password@host:port/database: one of its own, with its own role and "
        "backups, best on another server. Whoever loses it loses every content. Not set: a database beside that of the views, "
        "named like it with _keys behind.",
    )
    master_key: SecretStr | None = _setting(
        "EMBERLOG_MASTER_KEY",
        None,
        "The master key, under which all owners' keys are wrapped: 32 random bytes in base64. Not set: EMBERLOG_MASTER_KEY_FILE.",
    )
    master_key_file: Path | None = _setting(
        "EMBERLOG_MASTER_KEY_FILE",
        None,
        "File of the master key, 32 bytes. Not set: keys/master.key in the data folder, made at the first start. Back it up, and "
        "not beside the key store.",
    )
    former_master_key_file: Path | None = _setting(
        "EMBERLOG_FORMER_MASTER_KEY_FILE",
        None,
        "File of the master key before, while `emberlog keys rotate` has not wrapped everything anew.",
    )
    backup_retention_days: int | None = _setting(
        "EMBERLOG_BACKUP_RETENTION_DAYS",
        None,
        "Days that you keep backups and snapshots of databases, key store and broker: receipts say until when these can hold "
        "what was forgotten. Not set: `emberlog receipt` says that the date is not known.",
        ge=1,
        le=36_500,
    )
    capture_sqlite: Path | None = _setting(
        "EMBERLOG_CAPTURE_SQLITE",
        None,
        "A SQLite file for what users said and what was answered, beside the view capture and kept up to date with it: for tools "
        "on this machine. Below capture/ in the data folder `emberlog forget --prove` searches it, too. Not set: there is none.",
    )
    partitions: int = _setting(
        "EMBERLOG_PARTITIONS",
        4,
        "Partitions of every topic. Fixed when the topics are made; never change it in place.",
        ge=1,
        le=1024,
    )
    topic_prefix: str = _setting(
        "EMBERLOG_TOPIC_PREFIX",
        "",
        "Put before every topic name and consumer group: several installations on one broker.",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
    )
    schema_registry_url: SecretStr | None = _setting(
        "EMBERLOG_SCHEMA_REGISTRY_URL",
        None,
        "Your schema registry, where you have one: any that speaks Confluent's API, http://user:password@host:port and its "
        "path. All types are registered there at the start, and records carry Confluent's framing. Not set: no registry is "
        "needed, records carry their schema's fingerprint.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "EMBERLOG_LOG_LEVEL", "info", "Least level that is logged: debug, info, warning or error."
    )
    log_format: Literal["auto", "console", "json"] = _setting(
        "EMBERLOG_LOG_FORMAT",
        "auto",
        "json (one object per line), console (for people), or auto: console on a terminal, else json.",
    )
    max_in_flight: int = _setting(
        "EMBERLOG_MAX_IN_FLIGHT", 32, "Turns of different owners that one worker extracts at the same time.", ge=1, le=1024
    )
    model_timeout_s: float = _setting(
        "EMBERLOG_MODEL_TIMEOUT_S", 60.0, "Seconds that one call to a model may take before it is tried again.", gt=0, le=3600
    )
    model_attempts: int = _setting(
        "EMBERLOG_MODEL_ATTEMPTS", 4, "Attempts at one turn, with growing pauses, before it is parked.", ge=1, le=100
    )
    session_timeout_s: float = _setting(
        "EMBERLOG_SESSION_TIMEOUT_S",
        10.0,
        "Seconds after which Kafka gives the work of a worker that vanished to another.",
        ge=1,
        le=300,
    )
    stalled_s: float = _setting(
        "EMBERLOG_STALLED_S",
        60.0,
        "Seconds without progress, with records to do, after which a projector counts as unhealthy.",
        ge=1,
        le=86_400,
    )
    initial_temperature: float = _setting("EMBERLOG_INITIAL_TEMPERATURE", 75.0, "Degrees (0-100) of a new memory.", ge=0, le=100)
    reheat: float = _setting("EMBERLOG_REHEAT", 5.0, "Degrees that a mention adds, up to 100.", ge=0, le=100)
    floor: float = _setting("EMBERLOG_FLOOR", 20.0, "Degrees towards which a memory cools.", ge=0, le=100)
    half_life_days: float = _setting(
        "EMBERLOG_HALF_LIFE_DAYS", 30.0, "Days in which the warmth above the floor halves.", gt=0, le=36_500
    )
    vllm_base_url: str | None = _setting(
        "VLLM_BASE_URL",
        None,
        "Address of vLLM or any OpenAI-compatible chat endpoint, ending in /v1. Not set: facts come from rules, not a model.",
    )
    vllm_model: str = _setting(
        "VLLM_MODEL", "Qwen/Qwen2.5-72B-Instruct-AWQ", "Name of the chat model, as the endpoint lists it.", min_length=1
    )
    vllm_api_key: SecretStr | None = _setting("VLLM_API_KEY", None, "Key of the chat endpoint, where it wants one.")
    vllm_temperature: float = _setting("VLLM_TEMPERATURE", 0.3, "Sampling temperature of the chat model.", ge=0, le=2)
    vllm_max_tokens: int = _setting(
        "VLLM_MAX_TOKENS", 4000, "Longest answer of the chat model, in tokens. Too small cuts its JSON off.", ge=64, le=131_072
    )
    embedding_base_url: str | None = _setting(
        "EMBEDDING_BASE_URL",
        None,
        "Address of an OpenAI-compatible embeddings endpoint, ending in /v1. Not set: the built-in static word vectors "
        "(wordllama, 256 dimensions).",
    )
    embedding_model: str = _setting(
        "EMBEDDING_MODEL", "bge-m3", "Name of the embedding model, as the endpoint lists it.", min_length=1
    )
    embedding_api_key: SecretStr | None = _setting(
        "EMBEDDING_API_KEY", None, "Key of the embeddings endpoint, where it wants one."
    )
    embedding_dim: int = _setting(
        "EMBEDDING_DIM",
        768,
        "Dimensions to keep of the embeddings endpoint's vectors: longer ones are cut and normalised again, shorter ones "
        "refused. The built-in embedder always has 256.",
        ge=8,
        le=16_000,
    )
    embedding_precision: Precision = _setting(
        "EMBEDDING_PRECISION",
        "fp16",
        "Precision of vectors on memory.embeddings and in the graph: fp16, 2 bytes for each number, or fp32, 4 bytes. On the "
        "topic it may be changed at any time: both are read. The graph has it after a rebuild.",
    )
    embed_messages: bool = _setting(
        "EMBERLOG_EMBED_MESSAGES",
        True,
        "Whether messages get vectors too, not memories alone. The endpoint embeds a text for each message then.",
    )

    memory_salience_write_threshold: float = _setting(
        "MEMORY_SALIENCE_WRITE_THRESHOLD",
        0.35,
        "Salience (0-1) from which a message is a trace of the graph: that of the most salient memory that it taught. What is "
        "below waits, and is not read. Rebuild the view graph after changing it.",
        ge=0,
        le=1,
    )
    memory_hot_days: int = _setting(
        "MEMORY_HOT_DAYS",
        30,
        "Days, in event time, that memories, messages and summaries are in the hot tier, over which the graph has a vector index."
        " The projector renews it as time goes by; after changing this: `emberlog reindex`.",
        ge=1,
        le=36_500,
    )
    index_memory_mb: int = _setting(
        "EMBERLOG_INDEX_MEMORY_MB",
        1_024,
        "MiB of memory that the database may take while it makes the vector index, as much as it needs up to that. One that does "
        "not fit takes many times longer: 1,024 are enough for 1,100,000 vectors of 64 dimensions, or 400,000 of 768.",
        ge=64,
        le=1_048_576,
    )
    graph_backend: Literal["postgres"] = _setting(
        "GRAPH_BACKEND", "postgres", "Where traces and edges stand: postgres. neo4j comes with a later version."
    )

    @field_validator("graph_backend", mode="before")
    @classmethod
    def _is_built(cls, value: object) -> object:
        if value == "neo4j":
            raise ValueError("neo4j comes with a later version; leave it at postgres")
        return value

    @field_validator("vllm_base_url", "embedding_base_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address such as http://localhost:8000/v1")
        if parts.username or parts.password:
            raise ValueError("must hold no user and password; put the key into the API_KEY variable")
        return value.rstrip("/")

    @field_validator("kafka_bootstrap")
    @classmethod
    def _is_host_port(cls, value: str | None) -> str | None:
        for address in (value or "").split(",") if value else ():
            host, colon, port = address.strip().rpartition(":")
            if not host or not colon or not port.isdigit() or not 0 < int(port) < 65_536:
                raise ValueError("must be host:port, several separated by commas, such as localhost:9092")
        return value

    @field_validator("postgres_dsn", "keys_dsn")
    @classmethod
    def _is_dsn(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else "postgresql://"
        if not text.startswith(("postgresql://", "postgres://")) and "=" not in text:
            raise ValueError("must be an address such as postgresql://user:password@localhost:5432/emberlog")
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else "redis://"
        if not text.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must be an address such as redis://localhost:6379/0 or unix:///run/redis/redis.sock")
        try:
            _ = urlsplit(text).port
        except ValueError:
            raise ValueError("must have a number behind the colon, such as redis://localhost:6379/0") from None
        return value

    @field_validator("schema_registry_url")
    @classmethod
    def _is_registry(cls, value: SecretStr | None) -> SecretStr | None:
        parts = urlsplit(value.get_secret_value() if value else "http://registry")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                "must be an address such as http://localhost:8081 or http://user:password@registry:8080/apis/ccompat/v7"
            )
        return value

    @field_validator("data_dir", "cache_dir", "master_key_file", "former_master_key_file")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @model_validator(mode="after")
    def _policy_fits(self) -> Self:
        if self.floor > self.initial_temperature:
            raise ValueError(
                "EMBERLOG_FLOOR must not be above EMBERLOG_INITIAL_TEMPERATURE: a new memory would be colder than the coldest"
            )
        return self

    @property
    def topics(self) -> Topics:
        """Names and partitions of the topics."""
        return Topics(partitions=self.partitions, prefix=self.topic_prefix)

    @property
    def policy(self) -> ThermalPolicy:
        """How new commands want memories to warm and cool."""
        return ThermalPolicy(
            initial=self.initial_temperature, reheat=self.reheat, floor=self.floor, half_life_days=self.half_life_days
        )

    @property
    def rules_only(self) -> bool:
        """True where no chat model is configured: facts come from rules, not a model."""
        return self.vllm_base_url is None


def env_name(field: FieldInfo) -> str:
    """The environment variable of a field."""
    alias = field.validation_alias
    assert isinstance(alias, AliasChoices)
    return str(alias.choices[0])


def load_settings(env_file: Path | None = None, **overrides: Any) -> Settings:
    """Read environment and ``.env`` (or ``env_file``); ``overrides`` by field name win over both. Raises SettingsError."""
    named = {env_name(Settings.model_fields[name]): value for name, value in overrides.items() if value is not None}
    read: Any = Settings  # its type does not know pydantic-settings' own arguments
    try:
        settings: Settings = read(_env_file=env_file or ENV_FILE, **named)
        return settings
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{env_file or ENV_FILE} is not UTF-8 text: save it as UTF-8"]) from None


def dump_settings(settings: Settings) -> dict[str, Any]:
    """All values by variable, secrets in clear: for the pipe to a child process only."""
    values: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        shown = value.get_secret_value() if isinstance(value, SecretStr) else value
        values[env_name(field)] = str(shown) if isinstance(shown, Path) else shown
    return values


def restore_settings(values: dict[str, Any]) -> Settings:
    """What ``dump_settings`` gave, whatever environment and ``.env`` say."""
    read: Any = Settings
    settings: Settings = read(_env_file=None, **values)
    return settings


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        where = str(problem["loc"][0]) if problem["loc"] else ""
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
        if not where:
            lines.append(message)
            continue
        if message.startswith("should match pattern"):
            message = "may hold letters, digits, dot, underscore and hyphen only, at most 64 of them"
        lines.append(f"{where} {message}. Correct it in the environment or in {ENV_FILE}; `emberlog settings --doc` explains it.")
    return lines
