"""Fixtures for every test: real services, chosen in one place."""

from __future__ import annotations

import signal

import pytest

from tests.services import fresh_database, services, services_header, topic_prefix

__all__ = ["fresh_database", "services", "topic_prefix"]


def pytest_configure(config: pytest.Config) -> None:
    # a shell that runs the tests in its background lets them ignore Ctrl-C, and what they start would inherit that
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> str:
    return services_header()
