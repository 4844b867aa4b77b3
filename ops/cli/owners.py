"""Owners as people name them, and the references by which everything else knows them."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass

from ops.cli.errors import CliError, UsageError
from ops.cli.target import Target
from ops.keyring import open_keys
from ops.keys.directory import Listed
from schemas.ids import turn_id
from schemas.owner import Owner
from schemas.sealed import Sealed
from schemas.types import AliasOwner, InboxTurn
from streams.producers import request_meta


@dataclass(frozen=True, slots=True)
class Known:
    """An owner with reference and aliases."""

    owner: Owner
    reference: str
    aliases: tuple[Owner, ...]


async def find(target: Target, owner: Owner) -> str | None:
    """The owner's reference, None for an owner of whom nothing is known."""
    async with open_keys(target.settings, target.dsn, connections=1) as ring:
        return await ring.directory.find(owner)


async def known(target: Target, owner: Owner) -> str:
    """The owner's reference. Raises UsageError for an owner of whom nothing is known."""
    reference = await find(target, owner)
    if reference is None:
        raise UsageError("nothing is known of this owner", "an owner is written default/user/u-1, user/u-1 or u-1")
    return reference


async def turn_ids(target: Target, turns: Sequence[InboxTurn]) -> list[str]:
    """The ids that admission gives to ``turns``, each of which has one of its producer. Their owners become known."""
    async with open_keys(target.settings, target.dsn, connections=1) as ring:
        owners = {turn.owner: await ring.directory.reference_of(Owner.parse(turn.owner)) for turn in turns}
    return [turn_id(owners[turn.owner], turn.id or "") for turn in turns]


async def by_name(target: Target, owner: Owner) -> Known:
    """The owner of this name or alias. Raises UsageError for one of whom nothing is known."""
    return await by_reference(target, await known(target, owner))


async def by_reference(target: Target, reference: str) -> Known:
    """The owner who goes by ``reference``. Raises UsageError where nobody does."""
    async with open_keys(target.settings, target.dsn, connections=1) as ring:
        owner = await ring.directory.owner_of(reference)
        if owner is None:
            raise UsageError("nobody goes by this reference", "it is not one of this key store, or its owner was erased")
        return Known(owner, reference, tuple(await ring.directory.aliases_of(reference)))


async def listed(target: Target, after: Owner | None, limit: int) -> list[Listed]:
    """At most ``limit`` owners in their order, those behind ``after``."""
    async with open_keys(target.settings, target.dsn, connections=1) as ring:
        return await ring.directory.listed(after, limit)


async def take_alias(target: Target, owner: Owner, alias: Owner) -> tuple[str, AliasOwner]:
    """Note an alias in the key store; the owner's reference, and the command that puts the alias on the log.

    Raises UsageError for an owner of whom nothing is known, AliasTaken.
    """
    reference = await known(target, owner)
    async with open_keys(target.settings, target.dsn, connections=1) as ring:
        await ring.directory.alias(reference, alias)
        key = await ring.keys.fingerprint_key(reference)
    if key is None:
        raise CliError("the owner was erased in this moment")
    # to the letter, as names of owners are compared
    fingerprint = hmac.digest(key, json.dumps(["alias", str(alias)]).encode(), hashlib.sha256).hex()
    return reference, AliasOwner(request_meta(reference), Sealed.of(str(alias)), fingerprint)
