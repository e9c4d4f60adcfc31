"""One pass over the records: chain and tree together, with the memory of a few hashes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ion.ledger.chain import GENESIS
from ion.ledger.merkle import Frontier
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ion.ledger.chain import Entry


@dataclass(frozen=True, slots=True)
class Break:
    """The first entry that does not follow: where one was expected, and what was found there."""

    expected: int
    position: int
    raw: bytes
    link: bytes
    previous: bytes


class Walk:
    """Reads entries in order, in any number of pieces.

    Args:
        sizes: for which numbers of records the tree's root is wanted.
        tree: whether the tree is wanted at all.
    """

    def __init__(self, sizes: Iterable[int] = (), *, tree: bool = True) -> None:
        self.count = 0
        self.link = GENESIS
        """The recorded link of the last entry."""
        self.broken: Break | None = None
        self.roots: dict[int, bytes] = {}
        self._tree = tree
        self._frontier = Frontier()
        self._wanted = sorted(set(sizes), reverse=True)
        self._note_roots()

    @classmethod
    def onward(cls, count: int, link: bytes, frontier: Frontier) -> Walk:
        """Return a walk that goes on behind ``count`` entries, the last of which had this link."""
        made = cls()
        made.count, made.link, made._frontier = count, link, frontier
        return made

    @property
    def root(self) -> bytes:
        """The tree's root over all entries so far."""
        return self._frontier.root()

    def take(self, entries: Sequence[Entry]) -> None:
        """Read the next entries."""
        if not entries:
            return
        if self.broken is None:
            self._follow(entries)
        self.link = entries[-1][2]
        self.count += len(entries)
        if self._tree:
            sha256 = hashlib.sha256
            self._grow([sha256(b"\0" + raw).digest() for _, raw, _ in entries])

    def _follow(self, entries: Sequence[Entry]) -> None:
        sha256, previous, expected = hashlib.sha256, self.link, self.count
        for position, raw, recorded in entries:
            expected += 1
            if position != expected or sha256(previous + sha256(raw).digest()).digest() != recorded:
                self.broken = Break(expected, position, raw, recorded, previous)
                return
            previous = recorded

    def _grow(self, leaves: list[bytes]) -> None:
        first = 0
        while self._wanted and self._wanted[-1] <= self._frontier.size + len(leaves) - first:
            last = first + self._wanted[-1] - self._frontier.size
            self._frontier.extend(leaves[first:last])
            first = last
            self._note_roots()
        self._frontier.extend(leaves[first:])

    def _note_roots(self) -> None:
        while self._wanted and self._wanted[-1] <= self._frontier.size:
            self.roots[self._wanted.pop()] = self._frontier.root()
