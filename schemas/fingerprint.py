"""Fingerprints of facts: equal for the same statement, useless without the owner's key."""

from __future__ import annotations

import hashlib
import hmac
import json
import unicodedata
from collections.abc import Sequence

_EDGE = " \t\n.,;:!?…\"'`“”‘’«»()[]"


def normalise(text: str) -> str:
    """The text without differences that carry no meaning: Unicode form, case, white space, punctuation at the edges."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split()).strip(_EDGE)


def fingerprint(key: bytes, text: str) -> str:
    """HMAC-SHA-256 (64 hex digits) of the normalised text under the owner's ``key``."""
    return hmac.new(key, normalise(text).encode(errors="surrogatepass"), hashlib.sha256).hexdigest()


def slug_fingerprint(key: bytes, slug: str) -> str:
    """Fingerprint of a memory's slug under the owner's ``key``."""
    return fingerprint(key, "slug\x1f" + slug)


def details_fingerprint(key: bytes, category: str | None, tags: Sequence[str], extra: str | None) -> str | None:
    """HMAC-SHA-256 (64 hex digits) of what a memory says beside its statement, to the letter; None where it says nothing."""
    if category is None and not tags and extra is None:
        return None
    details = json.dumps(["details", category, list(tags), extra])
    return hmac.new(key, details.encode(), hashlib.sha256).hexdigest()
