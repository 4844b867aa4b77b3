"""A receipt on the log says until when backups hold it, as the operator declared, and waits for the working set, if any."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta

import pytest

from ops.local.addresses import ServiceAddresses
from ops.local.redis import EmbeddedRedis
from projections.working_set import WorkingSet, connect, prefix_of
from schemas.types import ReceiptIssued
from tests.line.conftest import MakeLine
from tests.line.support.line import running
from tests.line.support.speaker import Speaker
from tests.line.support.waiting import until
from tests.services import temporary_data_dir

DAYS = 12


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """A Redis that a test may kill."""
    redis = EmbeddedRedis(temporary_data_dir())
    redis.start()
    try:
        yield redis
    finally:
        redis.stop()
        redis.remove()


@pytest.mark.slow
async def test_a_receipt_on_the_log_says_until_when_backups_hold_it(services: ServiceAddresses, make_line: MakeLine) -> None:
    async with running(make_line(services, settings={"EMBERLOG_BACKUP_RETENTION_DAYS": str(DAYS)})) as line:
        ida = Speaker(line, "default/user/ida")
        await ida.say("She keeps her spare key under a blue pot")
        [row] = await ida.archive()
        await line.cli("forget", str(row["id"]), "--owner", str(ida.owner), "--json")
        receipts: list[ReceiptIssued] = []

        async def issued() -> bool:
            async with line.log() as log:
                await log.to_the_end()
            receipts[:] = [e for e in log.owners.get(ida.reference, []) if isinstance(e, ReceiptIssued)]
            return bool(receipts)

        await until(issued, lambda: "the receipt is on the log", 60)
        told = (await line.cli("receipt", receipts[0].forget_id, "--json")).json()
    [receipt] = receipts
    pending = {outcome.store: outcome.pending_until for outcome in receipt.outcomes if outcome.pending_until}
    assert pending["backups"] - pending[line.topics.inbox] == timedelta(days=DAYS - 1), "the inbox keeps it for a day at most"
    assert told["stores"][-1]["store"] == "backups"


@pytest.mark.slow
async def test_no_receipt_is_issued_before_the_working_set_has_forgotten_also_where_redis_lost_it_meanwhile(
    services: ServiceAddresses, make_line: MakeLine, server: EmbeddedRedis
) -> None:
    quirk = "She polishes nineteen brass telescopes"
    async with running(make_line(services, settings={"REDIS_URL": server.url})) as line, connect(server.url) as redis:
        ida, working_set = Speaker(line, "default/user/ida"), WorkingSet(redis, prefix_of(line.prefix))

        async def texts() -> list[str | None]:
            found = await working_set.recent(ida.reference, k=10)
            return [] if found is None else [memory.text for memory in found.memories]

        async def knows() -> bool:
            return quirk in await texts()

        await ida.say(quirk)
        await until(knows, lambda: "the working set has the memory", 60)
        [row] = await ida.archive()
        server.kill()
        forgotten = (await line.cli("forget", str(row["id"]), "--owner", str(ida.owner), "--json")).json()["forget_id"]
        await line.projected()
        refused = await line.cli("receipt", forgotten, "--wait", "2", "--json")
        assert refused.code == 1, "every view has followed, and nobody knows of the working set"
        for lost in server.directory.glob("appendonly*"):
            shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
        server.start()
        told = (await line.cli("receipt", forgotten, "--wait", "30", "--json")).json()
        assert {"store": "working set", "removed": 1, "pending_until": None} in told["stores"]
        found = await working_set.recent(ida.reference, k=10)
        assert found is not None, "it was made anew before"
        assert found.memories == ()
