"""Local keys: made once, by whoever comes first, and never by two."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ops.keys import KEY_BYTES, KeyFileError, audit_key, check_key


def test_a_key_is_made_at_the_first_start_and_stays(tmp_path: Path) -> None:
    first = audit_key(tmp_path)
    assert len(first) == KEY_BYTES
    assert audit_key(tmp_path) == first
    assert first != bytes(KEY_BYTES)
    for path in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_first_starts_at_the_same_moment_end_with_one_key(tmp_path: Path) -> None:
    program = f"from pathlib import Path; from ops.keys import audit_key; print(audit_key(Path({str(tmp_path)!r})).hex())"
    racing = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    keys = {process.communicate(timeout=60)[0].strip() for process in racing}
    assert keys == {audit_key(tmp_path).hex()}
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["audit.key"]


def test_a_key_file_that_is_cut_off_is_refused_and_not_replaced(tmp_path: Path) -> None:
    audit_key(tmp_path)
    path = tmp_path / "keys" / "audit.key"
    path.write_bytes(b"short")
    with pytest.raises(KeyFileError, match="5 bytes instead of 32"):
        audit_key(tmp_path)
    assert path.read_bytes() == b"short"


def test_a_key_file_open_to_others_is_closed(tmp_path: Path) -> None:
    audit_key(tmp_path)
    path = tmp_path / "keys" / "audit.key"
    path.chmod(0o644)
    audit_key(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_database_filled_under_another_key_is_refused(fresh_database: str, tmp_path: Path) -> None:
    key = audit_key(tmp_path)
    await check_key(fresh_database, "audit", key)
    await check_key(fresh_database, "audit", key)
    with pytest.raises(KeyFileError, match="not the one that the database was filled with"):
        await check_key(fresh_database, "audit", audit_key(tmp_path / "another"))
