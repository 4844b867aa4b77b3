"""What every key store must do, whatever it keeps its keys in. A test class inherits the spec and has a fixture ``bench``."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import pytest

from ops.keys.destroying import Erased
from ops.keys.directory import AliasTaken
from schemas.errors import KeyLost, SealedValue
from schemas.owner import Owner
from schemas.sealed import Sealed
from schemas.sealing import Directory, ItemKey, Keys
from schemas.subjects import BY_REQUEST, Subject

ANA, BEN, NICK = Owner.parse("ana"), Owner.parse("acme/company/ben"), Owner.parse("ana@work")


class Owners(Directory, Protocol):
    """A directory that is also written."""

    async def alias(self, reference: str, alias: Owner) -> None: ...

    async def aliases_of(self, reference: str) -> list[Owner]: ...


class Destroys(Protocol):
    """What destroys keys."""

    async def settle(self, settlements: Mapping[tuple[str, str], int]) -> int: ...

    async def destroy_statements(
        self, owner: str, fingerprints: Collection[str], below_offset: int, decided_before: int, spared: Collection[str] = ()
    ) -> int: ...

    async def destroy_messages(self, owner: str, messages: Collection[str], turns: Collection[str] = ()) -> int: ...

    async def destroy_summaries(self, owner: str, summaries: Collection[str], decided_before: int) -> int: ...

    async def destroy_rejected_summaries(self, owner: str, commands: Collection[str]) -> int: ...

    async def destroy_parked(self, parked: Collection[str]) -> int: ...

    async def destroy_owner(self, reference: str) -> Erased: ...


@dataclass(frozen=True, slots=True)
class Bench:
    """A key store under test."""

    keys: Keys
    owners: Owners
    destroyer: Destroys

    async def key(self, subject: Subject) -> ItemKey | None:
        return (await self.keys.for_sealing([subject]))[subject]

    async def seal(self, subject: Subject, data: bytes = b"words") -> Sealed:
        key = await self.key(subject)
        assert key is not None
        return key.seal(data)

    async def opened(self, value: Sealed) -> bytes | None:
        assert value.key_id is not None
        key = (await self.keys.for_opening([value.key_id]))[value.key_id]
        return None if key is None else key.open(value)


def said(owner: str, fingerprint: str, offset: int, cause: str | None = None) -> Subject:
    return Subject(owner, "statement", fingerprint, cause or f"turn {offset}", offset)


def asked(owner: str, fingerprint: str, command: str) -> Subject:
    return Subject(owner, "statement", fingerprint, command, BY_REQUEST)


class KeysSpec:
    """``schemas.sealing.Keys``, and what destroying does to it."""

    async def test_a_subject_has_one_key_and_two_subjects_have_two(self, bench: Bench) -> None:
        ana, ben = [await bench.owners.reference_of(o) for o in (ANA, BEN)]
        subjects = [
            Subject(ana, "owner"),
            Subject(ana, "message", "m"),
            Subject(ana, "turn", "m"),
            Subject(ana, "message", "n"),
            Subject(ben, "message", "m"),
            said(ana, "m", 1),
            said(ana, "m", 2),
            Subject("", "parked", "p"),
            Subject(ana, "parked", "p\x00of any form"),
        ]
        first, again = await bench.keys.for_sealing(subjects), await bench.keys.for_sealing(subjects[::-1])
        ids = [key.key_id for s in subjects if (key := first[s]) is not None]
        assert len(set(ids)) == len(subjects)
        assert [key and key.key_id for key in map(again.get, subjects)] == ids

    async def test_what_is_sealed_comes_out_again_and_is_the_same_each_time(self, bench: Bench) -> None:
        ana = await bench.owners.reference_of(ANA)
        for data in (b"", b"x", b"Ana likes tea" * 1000):
            value = await bench.seal(Subject(ana, "message", "m"), data)
            assert value == await bench.seal(Subject(ana, "message", "m"), data)
            assert await bench.opened(value) == data
            assert value != await bench.seal(Subject(ana, "message", "n"), data)

    async def test_a_value_that_was_changed_or_is_another_keys_is_refused_without_a_word_of_it(self, bench: Bench) -> None:
        ana = await bench.owners.reference_of(ANA)
        key, other = await bench.key(Subject(ana, "message", "m")), await bench.key(Subject(ana, "message", "n"))
        assert key is not None
        assert other is not None
        value = key.seal(b"secret words")
        wrong = [
            Sealed(value.data[:-1] + bytes([value.data[-1] ^ 1]), value.cipher, value.key_id),
            Sealed(b"short", value.cipher, value.key_id),
            Sealed(value.data, value.cipher, other.key_id),
            Sealed(value.data, "another", value.key_id),
            Sealed(b"secret words"),
            other.seal(b"secret words"),
        ]
        for each in wrong:
            with pytest.raises(SealedValue) as error:
                key.open(each)
            assert "secret" not in str(error.value)
        with pytest.raises(SealedValue):
            other.open(Sealed(value.data, value.cipher, other.key_id))

    async def test_a_key_or_an_owner_that_the_store_never_had_is_lost_not_destroyed(self, bench: Bench) -> None:
        for key_id in (str(uuid.uuid4()), "no id"):
            with pytest.raises(KeyLost):
                await bench.keys.for_opening([key_id])
        for owner in (str(uuid.uuid4()), "ana"):
            with pytest.raises(KeyLost):
                await bench.keys.for_sealing([Subject(owner, "message", "m")])
            with pytest.raises(KeyLost):
                await bench.keys.fingerprint_key(owner)

    async def test_fingerprint_keys_are_32_bytes_each_owners_own_and_stay(self, bench: Bench) -> None:
        ana, ben = [await bench.owners.reference_of(o) for o in (ANA, BEN)]
        key = await bench.keys.fingerprint_key(ana)
        assert key is not None
        assert len(key) == 32
        assert key == await bench.keys.fingerprint_key(ana)
        assert key != await bench.keys.fingerprint_key(ben)

    async def test_a_forget_destroys_what_was_said_before_it_and_leaves_what_is_said_later(self, bench: Bench) -> None:
        ana, ben = [await bench.owners.reference_of(o) for o in (ANA, BEN)]
        old, new = await bench.seal(said(ana, "f", 4)), await bench.seal(said(ana, "f", 5))
        others = [await bench.seal(said(ana, "g", 4)), await bench.seal(said(ben, "f", 4))]
        assert await bench.destroyer.destroy_statements(ana, {"f"}, 5, 0) == 1
        assert await bench.destroyer.destroy_statements(ana, {"f"}, 5, 0) == 0
        assert await bench.opened(old) is None
        assert [await bench.opened(v) for v in (new, *others)] == [b"words"] * 3
        assert await bench.key(said(ana, "f", 4)) is None
        assert await bench.key(said(ana, "f", 3)) is None, "a turn from before the forget that is extracted after it"
        assert await bench.key(said(ana, "f", 6)) is not None

    async def test_a_turn_from_before_a_forget_that_is_delivered_again_later_gets_no_key_at_its_new_offset(
        self, bench: Bench
    ) -> None:
        ana = await bench.owners.reference_of(ANA)
        sealed = await bench.seal(said(ana, "f", 3, "extracted before"))
        await bench.destroyer.destroy_statements(ana, {"f"}, 5, 0)
        assert await bench.key(said(ana, "f", 4, "extracted after")) is None
        assert await bench.key(said(ana, "f", 7, "extracted after")) is None
        assert await bench.key(said(ana, "f", 7, "extracted before")) is None
        assert await bench.opened(sealed) is None
        assert await bench.key(said(ana, "g", 7, "extracted after")) is not None, "what else the turn says"
        assert await bench.key(said(ana, "f", 7, "said again")) is not None

    async def test_an_earlier_forget_repeated_does_not_undo_a_later_one(self, bench: Bench) -> None:
        ana = await bench.owners.reference_of(ANA)
        await bench.destroyer.destroy_statements(ana, {"f"}, 9, 0)
        await bench.destroyer.destroy_statements(ana, {"f"}, 5, 0)
        assert await bench.key(said(ana, "f", 8)) is None
        assert await bench.key(said(ana, "f", 9)) is not None

    async def test_a_forget_destroys_requests_decided_before_it_and_no_others(self, bench: Bench) -> None:
        ana = await bench.owners.reference_of(ANA)
        before, after, never = [await bench.seal(asked(ana, "f", c)) for c in ("before", "after", "never")]
        assert await bench.destroyer.settle({(ana, "before"): 7, (ana, "after"): 9, (ana, "unknown"): 1}) == 2
        assert await bench.destroyer.settle({(ana, "before"): 10}) == 0, "a command is decided once"
        assert await bench.destroyer.destroy_statements(ana, {"f"}, 0, 7) == 1
        assert [await bench.opened(v) for v in (before, after, never)] == [None, b"words", b"words"]
        assert await bench.key(asked(ana, "f", "before")) is None, "the command that was forgotten, written again"
        assert await bench.key(asked(ana, "f", "new")) is not None

    async def test_what_other_commands_brought_can_be_spared(self, bench: Bench) -> None:
        ana = await bench.owners.reference_of(ANA)
        mine, other = [await bench.seal(asked(ana, "f", c)) for c in ("mine", "other")]
        await bench.destroyer.settle({(ana, "mine"): 3, (ana, "other"): 4})
        assert await bench.destroyer.destroy_statements(ana, {"f"}, 0, 7, {"other"}) == 1
        assert [await bench.opened(v) for v in (mine, other)] == [None, b"words"]
        assert await bench.destroyer.destroy_statements(ana, {"f"}, 0, 7) == 1
        assert await bench.opened(other) is None

    async def test_messages_and_turns_once_destroyed_get_no_key_any_more(self, bench: Bench) -> None:
        ana = await bench.owners.reference_of(ANA)
        subjects = [
            Subject(ana, "message", "m"),
            Subject(ana, "turn", "t"),
            Subject(ana, "message", "t"),
            Subject(ana, "turn", "m"),
        ]
        values = [await bench.seal(s) for s in subjects]
        assert await bench.destroyer.destroy_messages(ana, ["m", "never seen"], ["t"]) == 2
        assert await bench.destroyer.destroy_messages(ana, ["m", "never seen"], ["t"]) == 0
        assert [await bench.opened(v) for v in values] == [None, None, b"words", b"words"]
        assert [await bench.key(s) is None for s in subjects] == [True, True, False, False]
        assert await bench.key(Subject(ana, "message", "never seen")) is None

    async def test_a_summary_that_is_made_anew_stays_when_the_one_before_is_destroyed(self, bench: Bench) -> None:
        ana = await bench.owners.reference_of(ANA)
        first, second, pending = [await bench.seal(Subject(ana, "summary", "day", f"command-{n}")) for n in (1, 2, 3)]
        await bench.destroyer.settle({(ana, "command-1"): 10, (ana, "command-2"): 12})
        assert await bench.destroyer.destroy_summaries(ana, ["day", "another"], 11) == 1
        assert [await bench.opened(value) for value in (first, second, pending)] == [None, b"words", b"words"]
        assert await bench.key(Subject(ana, "summary", "day", "command-1")) is None, "a key that is gone never comes back"
        assert await bench.destroyer.destroy_summaries(ana, ["another"], 99) == 0
        assert await bench.destroyer.destroy_summaries(ana, ["day"], 12) == 1
        assert [await bench.opened(value) for value in (second, pending)] == [None, b"words"]

    async def test_a_summary_whose_command_was_rejected_is_destroyed_by_that_command(self, bench: Bench) -> None:
        ana, ben = [await bench.owners.reference_of(o) for o in (ANA, BEN)]
        subjects = [Subject(o, "summary", "day", c) for o, c in ((ana, "command-1"), (ana, "command-2"), (ben, "command-1"))]
        values = [await bench.seal(subject) for subject in subjects]
        assert await bench.destroyer.destroy_rejected_summaries(ana, ["command-1", "never seen"]) == 1
        assert await bench.destroyer.destroy_rejected_summaries(ana, ["command-1"]) == 0
        assert [await bench.opened(value) for value in values] == [None, b"words", b"words"]

    async def test_parked_work_is_destroyed_by_its_id_whosever_it_is(self, bench: Bench) -> None:
        ana = await bench.owners.reference_of(ANA)
        subjects = [Subject(owner, "parked", name) for owner in (ana, "") for name in ("p" + owner, "q" + owner)]
        values = [await bench.seal(s) for s in subjects]
        assert await bench.destroyer.destroy_parked(["p" + ana, "p"]) == 2
        assert await bench.destroyer.destroy_parked(["p" + ana, "p"]) == 0
        assert [await bench.opened(v) for v in values] == [None, b"words", None, b"words"]
        assert [await bench.key(s) is None for s in subjects] == [True, False, True, False]

    async def test_of_an_erased_owner_nothing_opens_and_nothing_is_sealed_again(self, bench: Bench) -> None:
        ana, ben = [await bench.owners.reference_of(o) for o in (ANA, BEN)]
        subjects = [Subject(ana, "owner"), Subject(ana, "message", "m"), said(ana, "f", 1), Subject(ana, "parked", "p")]
        values, other = [await bench.seal(s) for s in subjects], await bench.seal(Subject(ben, "message", "m"))
        await bench.owners.alias(ana, NICK)
        assert await bench.destroyer.destroy_owner(ana) == Erased(4, 1, 1)
        assert await bench.destroyer.destroy_owner(ana) == Erased(0, 0, 0)
        assert [await bench.opened(v) for v in values] == [None] * 4
        assert set((await bench.keys.for_sealing([*subjects, said(ana, "g", 2)])).values()) == {None}
        assert await bench.keys.fingerprint_key(ana) is None
        assert await bench.opened(other) == b"words"

    async def test_a_message_of_an_erased_owners_name_makes_a_new_owner(self, bench: Bench) -> None:
        ana = await bench.owners.reference_of(ANA)
        await bench.owners.alias(ana, NICK)
        await bench.destroyer.destroy_owner(ana)
        assert await bench.owners.owner_of(ana) is None
        assert [await bench.owners.find(o) for o in (ANA, NICK)] == [None, None]
        assert await bench.owners.aliases_of(ana) == []
        again = await bench.owners.reference_of(ANA)
        assert again != ana
        assert await bench.key(Subject(again, "message", "m")) is not None

    async def test_what_belongs_to_no_owner_is_not_erased_as_one(self, bench: Bench) -> None:
        with pytest.raises(ValueError):
            await bench.destroyer.destroy_owner("")

    async def test_makers_of_one_subject_at_the_same_time_get_the_same_key(self, bench: Bench) -> None:
        ana = await bench.owners.reference_of(ANA)
        subjects = [said(ana, f"f{i}", i) for i in range(50)]
        orders = [subjects[i:] + subjects[:i] for i in range(0, 50, 7)]
        answers = await asyncio.gather(*(bench.keys.for_sealing(order) for order in orders))
        for subject in subjects:
            assert len({key.key_id for a in answers if (key := a[subject]) is not None}) == 1


class DirectorySpec:
    """``schemas.sealing.Directory``."""

    async def test_an_owner_has_one_random_reference(self, bench: Bench) -> None:
        assert await bench.owners.find(ANA) is None
        reference = await bench.owners.reference_of(ANA)
        assert reference == await bench.owners.reference_of(ANA) == await bench.owners.find(ANA)
        assert uuid.UUID(reference).version == 4
        others = [dataclasses.replace(ANA, tenant="other"), dataclasses.replace(ANA, kind="company"), BEN]
        assert len({reference, *[await bench.owners.reference_of(o) for o in others]}) == 4

    async def test_who_goes_by_a_reference_is_found_and_nobody_by_an_unknown_one(self, bench: Bench) -> None:
        assert await bench.owners.owner_of(await bench.owners.reference_of(BEN)) == BEN
        for nobody in (str(uuid.uuid4()), "", str(uuid.UUID(int=0)), "no reference"):
            assert await bench.owners.owner_of(nobody) is None

    async def test_an_alias_has_its_owners_reference(self, bench: Bench) -> None:
        ana = await bench.owners.reference_of(ANA)
        for _ in range(2):
            await bench.owners.alias(ana, NICK)
        assert await bench.owners.reference_of(NICK) == ana == await bench.owners.find(NICK)
        assert await bench.owners.aliases_of(ana) == [NICK]
        assert await bench.owners.owner_of(ana) == ANA

    async def test_a_name_that_is_taken_becomes_nobodys_alias(self, bench: Bench) -> None:
        ana, ben = [await bench.owners.reference_of(o) for o in (ANA, BEN)]
        await bench.owners.alias(ana, NICK)
        for taken in (BEN, NICK):
            with pytest.raises(AliasTaken) as error:
                await bench.owners.alias(ana if taken == BEN else ben, taken)
            assert taken.id not in str(error.value)
        with pytest.raises(KeyLost):
            await bench.owners.alias(str(uuid.uuid4()), Owner.parse("new"))

    async def test_a_new_owner_met_by_many_at_once_gets_one_reference(self, bench: Bench) -> None:
        assert len(set(await asyncio.gather(*(bench.owners.reference_of(ANA) for _ in range(20))))) == 1
