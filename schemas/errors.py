"""Errors of the contract.

ContractError
├── BrokenRecord      bytes that no schema of ours reads
├── UnknownSchema     well-formed, but written by a schema that this version does not know
├── BadEnvelope       headers missing or of the wrong form
├── BadOwner          an owner that cannot be read
└── SealedValue       a value about a person that has not been opened

KeysUnavailable       the store of the keys is away: a ConnectionError, an outage
KeyLost               a key that the store never had: it is not this log's store, or an old one
"""

from __future__ import annotations


class ContractError(ValueError):
    """A record or name breaks the contract. The text never holds content."""


class BrokenRecord(ContractError):
    """Bytes that cannot be decoded."""


class UnknownSchema(ContractError):
    """A record of a schema that this version does not know: upgrade this reader."""


class BadEnvelope(ContractError):
    """Headers that are missing or cannot be read."""


class BadOwner(ContractError):
    """An owner that is not of the form [[tenant/]kind/]id."""


class SealedValue(ContractError):
    """A value about a person that was not opened, or whose key is gone."""


class KeysUnavailable(ConnectionError):
    """The store of the keys does not answer: an outage, nothing is parked for it."""


class KeyLost(RuntimeError):
    """A value is sealed under a key that the store never had: the store is another installation's, or an old backup."""
