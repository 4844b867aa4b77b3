"""Owners: whose memory it is, written ``tenant/kind/id``."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from schemas.errors import BadOwner

KINDS = ("user", "company", "shared", "system")
MAX_ID_CHARS = 256


@dataclass(frozen=True, slots=True)
class Owner:
    """``default/user/u-1``: tenant, kind (user, company, shared, system) and id."""

    tenant: str
    kind: str
    id: str

    @classmethod
    def parse(cls, text: str) -> Owner:
        """Read ``tenant/kind/id``, ``kind/id`` (tenant default) or ``id`` (a user). Raises BadOwner."""
        parts = text.split("/", 2) if text.count("/") else [text]
        if len(parts) == 2:
            parts = ["default", *parts]
        elif len(parts) == 1:
            parts = ["default", "user", *parts]
        return cls.of(*parts)

    @classmethod
    def of(cls, tenant: str, kind: str, id: str) -> Owner:
        """A checked owner. Raises BadOwner with the part that is wrong; the text holds no id."""
        tenant, kind, id = tenant.strip(), kind.strip().lower(), id.strip()
        if kind not in KINDS:
            raise BadOwner(f"an owner's kind is one of {', '.join(KINDS)}")
        if not tenant or "/" in tenant:
            raise BadOwner("an owner's tenant is a word without a slash")
        if not id:
            raise BadOwner("an owner's id is empty")
        if any(unicodedata.category(c) in ("Cc", "Cs") for c in tenant + id):
            # control characters, NUL among them, could forge another owner's reference; half surrogates are no text
            raise BadOwner("an owner's id or tenant holds a control character (NUL, a line break…) or half of a surrogate pair")
        if len(id) > MAX_ID_CHARS or len(tenant) > MAX_ID_CHARS:
            raise BadOwner(f"an owner's id and tenant have at most {MAX_ID_CHARS} characters")
        return cls(tenant, kind, id)

    def __str__(self) -> str:
        return f"{self.tenant}/{self.kind}/{self.id}"
