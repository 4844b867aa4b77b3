"""Fixtures for every test: real services, chosen in one place."""

from __future__ import annotations

import pytest

from tests.services import fresh_database, services, services_header, topic_prefix

__all__ = ["fresh_database", "services", "topic_prefix"]


def pytest_report_header(config: pytest.Config) -> str:
    return services_header()
