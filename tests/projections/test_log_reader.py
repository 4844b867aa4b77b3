"""How patiently the log is asked."""

from __future__ import annotations

from typing import Any

import pytest

from projections.log_reader import KafkaLog, ReaderConfig
from projections.view import View
from tests.projections.harness import Broker, owner
from tests.projections.logs import LogMaker


async def test_fetches_of_quiet_topics_stay_open_longer_and_are_short_again_with_the_first_record(
    broker: Broker, views: dict[str, View], log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ReaderConfig(broker.bootstrap, fetch_max_wait_ms=7, idle_wait_ms=60, poll_ms=100)
    async with KafkaLog(config, views["thermal"].sources) as reader:
        await reader.seek(dict.fromkeys(await reader.ends(), 0))
        asked: list[int] = []
        send = reader._consumer._client.send

        async def noted(node: Any, request: Any, **how: Any) -> Any:
            if hasattr(request, "_max_wait_ms"):
                asked.append(request._max_wait_ms)
            return await send(node, request, **how)

        monkeypatch.setattr(reader._consumer._client, "send", noted)
        for _ in range(6):
            assert await reader.next() == []
        assert (asked[0], asked[-1]) == (7, 60)
        log.add(owner(), "one")
        await broker.send(log.records)
        assert len(await reader.next()) == 1
        asked.clear()
        for _ in range(2):
            assert await reader.next() == []
        assert asked[-1] == 7
