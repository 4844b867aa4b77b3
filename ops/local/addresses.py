"""What every part of Emberlog needs to know about the services: where they are."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ServiceAddresses:
    """`kafka_bootstrap` is `host:port[,host:port…]`; `postgres_dsn` a libpq URL (may hold a password: not in repr)."""

    kafka_bootstrap: str
    postgres_dsn: str = field(repr=False)
