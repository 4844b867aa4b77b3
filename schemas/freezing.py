"""Releasing schemas: from then on their files never change, and their records are read for ever."""

from __future__ import annotations

from collections.abc import Collection

from schemas.compatibility import check
from schemas.contract import CONTRACT, Contract
from schemas.golden import Golden
from schemas.released import Released
from schemas.rules import Finding


class NotFit(ValueError):
    """A contract with faults cannot be released. ``findings`` has them all."""

    def __init__(self, findings: Collection[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__(f"the contract has {len(self.findings)} faults")


def freeze(
    contract: Contract = CONTRACT, released: Released | None = None, golden: Golden | None = None
) -> list[tuple[str, int]]:
    """Release every version that is not released yet; types and versions released now. Raises NotFit."""
    released = Released() if released is None else released
    golden = Golden(contract=contract) if golden is None else golden
    if findings := [*check(contract, released), *golden.check(released)]:
        raise NotFit(findings)
    new = released.missing(contract.files)
    # the records first: a list that names a version without one would be a fault
    for name, version in new:
        golden.write(name, version)
        released.add(contract.files, name, version)
    if findings := golden.check(released):
        raise NotFit(findings)
    released.save()
    return new
