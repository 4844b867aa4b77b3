"""Rotation of the master key, killed on the way."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from base64 import b64encode
from pathlib import Path

from ops.keys.checking import check
from ops.keys.database import KeyDatabase
from ops.keys.destroying import Destroyer
from ops.keys.directory import PostgresDirectory
from ops.keys.master import LocalMasterKey, Masters
from ops.keys.rotation import Progress, left, rotate
from ops.keys.store import PostgresKeys
from schemas.owner import Owner
from schemas.subjects import Subject
from tests.keys.spec import Bench

ROOT = Path(__file__).parents[2]
OWNERS = 400
CHILD = """
    import asyncio, sys
    from ops.keys.database import KeyDatabase
    from ops.keys.master import Masters, master_from_text
    from ops.keys.rotation import rotate

    async def main(dsn: str) -> None:
        new, old = (master_from_text(sys.stdin.readline()) for _ in range(2))
        async with KeyDatabase(dsn, Masters(new, old)) as database:
            await rotate(database, batch=2, on_progress=lambda _: print("+", flush=True))

    asyncio.run(main(sys.argv[1]))
"""


async def fill(database: KeyDatabase, count: int) -> list[str]:
    directory = PostgresDirectory(database)
    return list(await asyncio.gather(*(directory.reference_of(Owner.parse(f"u-{i}")) for i in range(count))))


async def test_a_rotation_wraps_every_owners_key_again_and_leaves_the_values(fresh_database: str) -> None:
    old, new = (LocalMasterKey(secrets.token_bytes(32)) for _ in range(2))
    async with KeyDatabase(fresh_database, Masters(old)) as database:
        await database.prepare()
        owners = await fill(database, 12)
        bench = Bench(PostgresKeys(database), PostgresDirectory(database), Destroyer(database))
        values = [await bench.seal(Subject(owner, "message", "m")) for owner in owners]
        fingerprints = [await bench.keys.fingerprint_key(owner) for owner in owners]
        await bench.destroyer.destroy_owner(owners[0])
    seen: list[Progress] = []
    async with KeyDatabase(fresh_database, Masters(new, old), cache_s=0) as database:
        await database.prepare()
        assert await left(database) == 12, "eleven owners, and the store's own row"
        assert await rotate(database, batch=5, on_progress=seen.append) == 12
        assert [progress.done for progress in seen] == [5, 10, 12]
        assert {progress.total for progress in seen} == {12}
        assert await rotate(database) == 0
    async with KeyDatabase(fresh_database, Masters(new)) as database:
        await database.prepare()
        assert (await check(database)).masters == {new.key_id: 12}
        bench = Bench(PostgresKeys(database), PostgresDirectory(database), Destroyer(database))
        assert [await bench.opened(value) for value in values] == [None, *[b"words"] * 11]
        assert [await bench.keys.fingerprint_key(owner) for owner in owners] == [None, *fingerprints[1:]]


async def test_a_rotation_killed_at_any_moment_loses_no_key_and_is_finished_by_the_next(fresh_database: str) -> None:
    texts = [secrets.token_bytes(32) for _ in range(2)]
    new, old = (LocalMasterKey(text) for text in texts)
    async with KeyDatabase(fresh_database, Masters(old)) as database:
        await database.prepare()
        owners = await fill(database, OWNERS)
        bench = Bench(PostgresKeys(database), PostgresDirectory(database), Destroyer(database))
        values = [await bench.seal(Subject(owner, "message", "m")) for owner in owners[:20]]
    async with KeyDatabase(fresh_database, Masters(new, old), cache_s=0) as database:
        bench = Bench(PostgresKeys(database), PostgresDirectory(database), Destroyer(database))
        lefts = [OWNERS + 1]
        for _ in range(6):
            await asyncio.to_thread(_rotate_and_kill, fresh_database, texts, 5)
            lefts.append(await left(database))
            found = await check(database)
            assert found.is_well
            assert (found.owners, sum(found.masters.values())) == (OWNERS, OWNERS + 1)
            assert [await bench.opened(value) for value in values] == [b"words"] * len(values)
        assert lefts == sorted(set(lefts), reverse=True)
        assert lefts[-1] > 0, "it was killed on the way, not at the end"
        # its last transaction may still be under way in the database
        assert await rotate(database) in range(lefts[-1] - 2, lefts[-1] + 1)
    async with KeyDatabase(fresh_database, Masters(new), cache_s=0) as database:
        assert (await check(database)).is_well


def _rotate_and_kill(dsn: str, masters: list[bytes], after: int) -> None:
    """A rotation in a process of its own, killed after so many transactions, somewhere in the next ones."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), dsn], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdin, child.stdout:
        try:
            child.stdin.write(b"".join(b64encode(master) + b"\n" for master in masters))
            child.stdin.flush()
            for _ in range(after):
                assert child.stdout.readline(), "the rotation ended by itself"
            time.sleep(random.uniform(0, 0.005))
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
