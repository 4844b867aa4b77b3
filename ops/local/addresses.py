"""What every part of Emberlog needs to know about the services: where they are."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ServiceAddresses:
    """`kafka_bootstrap` is `host:port[,host:port…]`, `postgres_dsn` a libpq URL, `redis_url` that of a Redis, where there is one.

    The last two may hold a password: they are not in repr.
    """

    kafka_bootstrap: str
    postgres_dsn: str = field(repr=False)
    redis_url: str | None = field(default=None, repr=False)
