"""The chain: each link hashes the one before it and the digest of one record's bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeAlias

from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

Entry: TypeAlias = tuple[int, bytes, bytes]
"""Position (from 1), the record's bytes, its recorded link."""

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


def verify_chain(entries: Iterable[Entry], head_position: int, head_link: bytes) -> list[Problem]:
    """Check entries in order against the recorded head, and say what was done to the first bad one.

    Holds all entries in memory; `ion.ledger.walk.Walk` reads any number of them.
    """
    from ion.ledger.diagnosis import chain_problem
    from ion.ledger.walk import Walk

    kept = list(entries)
    walk = Walk(tree=False)
    walk.take(kept)
    problem = chain_problem(walk, head_position, head_link, lambda: kept)
    return [problem] if problem else []
