"""Master keys from files and variables, the ciphers below them, and the cache."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import pytest

from ops.keys.cache import Cache, Moment
from ops.keys.cipher import OwnerKey, SivKey
from ops.keys.files import KeyFileError
from ops.keys.master import LocalMasterKey, MasterKeyMissing, Masters, master_from_file, master_from_text
from schemas.errors import KeyLost
from schemas.sealed import Sealed


async def test_a_master_key_is_made_at_the_first_start_and_is_the_same_at_the_next(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.key"
    first = master_from_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
    again, other = master_from_file(path), master_from_file(tmp_path / "other.key")
    assert first.key_id == again.key_id != other.key_id
    assert await again.unwrap(await first.wrap(b"k" * 32, b"ana"), b"ana") == b"k" * 32


async def test_a_master_key_of_a_variable_is_base64_of_32_bytes_or_more() -> None:
    for length in (32, 64):
        key = secrets.token_bytes(length)
        text = base64.b64encode(key).decode()
        assert master_from_text(f" {text}\n").key_id == LocalMasterKey(key).key_id
    short = base64.b64encode(b"short secret").decode()
    for wrong in (short, "not base64!", "", "ä" * 44):
        with pytest.raises(KeyFileError) as error:
            master_from_text(wrong)
        assert not wrong or wrong not in str(error.value)


async def test_a_wrapped_key_comes_out_only_under_its_master_key_and_for_its_owner() -> None:
    one, two = (LocalMasterKey(secrets.token_bytes(32)) for _ in range(2))
    wrapped = await one.wrap(b"k" * 32, b"ana")
    assert b"k" * 8 not in wrapped
    for master, context, bytes_ in (
        (two, b"ana", wrapped),
        (one, b"ben", wrapped),
        (one, b"ana", wrapped[1:]),
        (one, b"ana", b""),
    ):
        with pytest.raises(KeyLost):
            await master.unwrap(bytes_, context)
    masters = Masters(two, one)
    assert masters.ids == {one.key_id, two.key_id}
    assert await masters.unwrap(one.key_id, wrapped, b"ana") == b"k" * 32
    with pytest.raises(MasterKeyMissing, match=one.key_id):
        await Masters(two).unwrap(one.key_id, wrapped, b"ana")


def test_an_item_key_comes_out_only_under_its_owners_key_and_its_id() -> None:
    raw = secrets.token_bytes(32)
    wrapped = OwnerKey(raw).wrap_new("id")
    value = OwnerKey(raw).unwrap("id", wrapped).seal(b"words")
    assert (value.cipher, value.key_id, len(value.data)) == ("aes-256-siv", "id", 21)
    assert OwnerKey(raw).unwrap("id", wrapped).open(value) == b"words"
    assert OwnerKey(raw).wrap_new("id") != wrapped, "each key is random"
    for owner, key_id in ((OwnerKey(secrets.token_bytes(32)), "id"), (OwnerKey(raw), "other")):
        with pytest.raises(KeyLost):
            owner.unwrap(key_id, wrapped)


def test_sealing_is_aes_siv_of_rfc_5297_with_the_key_id_bound_to_it() -> None:
    """A value is worked out by the RFC's own steps (CMAC, then CTR): other languages can open what is sealed here."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CTR
    from cryptography.hazmat.primitives.cmac import CMAC

    key, key_id, data = bytes(range(64)), "some key", b"sixteen bytes and more"

    def cmac(message: bytes) -> int:
        mac = CMAC(AES(key[:32]))
        mac.update(message)
        return int.from_bytes(mac.finalize())

    def doubled(block: int) -> int:
        return (block << 1) ^ ((1 << 128) | 0x87) if block >> 127 else block << 1

    block = doubled(cmac(bytes(16))) ^ cmac(key_id.encode())
    end = int.from_bytes(data[-16:]) ^ block
    tag = cmac(data[:-16] + end.to_bytes(16)).to_bytes(16)
    counter = int.from_bytes(tag) & ~((1 << 63) | (1 << 31))
    text = Cipher(AES(key[32:]), CTR(counter.to_bytes(16))).encryptor().update(data)
    assert SivKey(key_id, key).seal(data) == Sealed(tag + text, "aes-256-siv", key_id)


def test_keys_say_nothing_of_themselves_when_they_are_shown() -> None:
    raw = b"\x11" * 64
    assert repr(SivKey("id", raw)) == "<key id>"
    assert repr(OwnerKey(raw[:32])) == "<an owner's key>"


def test_the_cache_keeps_the_answers_used_last_and_none_beyond_its_bound() -> None:
    now = Moment(0.0, 1)
    cache: Cache[str, str] = Cache(2, 60, lambda: now)
    cache.put("a", "A", now)
    cache.put("b", None, now)
    assert cache.get("a") == ("A",)
    cache.put("c", "C", now)
    assert (cache.get("a"), cache.get("b"), cache.get("c"), len(cache)) == (("A",), None, ("C",), 2)
