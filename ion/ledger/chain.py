"""The chain: each link hashes the one before it and the digest of one record's bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.records import read_record

if TYPE_CHECKING:
    from collections.abc import Iterable

GENESIS = bytes(32)
"""The link before the first record."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where: a store position (0 when the whole is meant)."""

    position: int
    kind: str
    message: str

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"position": self.position, "kind": self.kind, "message": self.message}


def link(previous: bytes, raw: bytes) -> bytes:
    """Return the 32-byte link of a record: SHA-256(previous link || SHA-256(raw))."""
    return hashlib.sha256(previous + hashlib.sha256(raw).digest()).digest()


def verify_chain(entries: Iterable[tuple[int, bytes, bytes]], head_position: int, head_link: bytes) -> list[Problem]:
    """Check ``(position, raw, link)`` entries in order against the recorded head.

    Returns the first broken link (all later ones follow from it), and what is missing at the end.
    """
    previous, expected = GENESIS, 1
    for position, raw, recorded in entries:
        if position != expected:
            return [Problem(expected, "deleted", f"position {expected} is missing, {position} follows")]
        if link(previous, raw) != recorded:
            return [Problem(position, "edited", f"record {position} or its link was changed{_reading(raw)}")]
        previous, expected = recorded, expected + 1
    if expected - 1 != head_position or previous != head_link:
        message = f"the chain ends at {expected - 1}, the recorded head is {head_position}"
        return [Problem(expected, "truncated" if expected - 1 < head_position else "head-differs", message)]
    return []


def _reading(raw: bytes) -> str:
    try:
        record = read_record(raw)
    except IonError:
        return " (no longer readable)"
    return f" ({type(record.fact).__name__} by {record.agent})"
