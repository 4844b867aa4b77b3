"""A receipt on the log says until when backups hold it, as the operator declared."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ops.local.addresses import ServiceAddresses
from schemas.types import ReceiptIssued
from tests.line.conftest import MakeLine
from tests.line.support.line import running
from tests.line.support.speaker import Speaker
from tests.line.support.waiting import until

DAYS = 12


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
