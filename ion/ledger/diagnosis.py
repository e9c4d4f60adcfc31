"""What was done to a broken chain: from the links alone, by looking where each entry would fit.

Whoever changes a record and computes all links after it anew leaves a chain that holds: that shows
against a checkpoint only. docs/spec/ledger.md says which changes cannot be told apart.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.ledger.chain import GENESIS, Problem
from ion.records import read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ion.ledger.chain import Entry
    from ion.ledger.walk import Break, Walk


def chain_problem(
    walk: Walk, head_position: int, head_link: bytes, again: Callable[[], Iterable[Entry]]
) -> Problem | None:
    """Return what is wrong with the chain a walk has read to its end, or None.

    ``again`` gives the same entries once more; it is called only when something is wrong.
    """
    if walk.broken is not None:
        return _diagnose(walk.broken, head_position, head_link, again)
    if walk.count < head_position:
        message = f"the chain ends at {walk.count}, the recorded head is {head_position}"
        return Problem(walk.count + 1, "truncated", message)
    if walk.count > head_position:
        message = f"there are records up to {walk.count} behind the recorded head {head_position}"
        return Problem(head_position + 1, "inserted", message)
    if walk.link != head_link:
        return Problem(head_position, "head-differs", "the recorded head has another link than the last record")
    return None


class _Fit:
    """Where the entry at a break, and those around it, would fit; positions, None when nowhere."""

    def __init__(self, broken: Break) -> None:
        self.earlier: int | None = None
        """The entry follows this one instead of its neighbour: those between are surplus."""
        self.successor: int | None = None
        """This later entry is the one that follows the last good one."""
        self.goes_on = False
        """And the entry behind the successor follows it."""
        self.exchanged: int | None = None
        """The record here is the one whose link stands at the break."""
        self.twin: int | None = None
        """Another entry holds the same record."""
        self.home: int | None = None
        """The entry at the break follows this one."""
        self.link_only = False
        """Record and later entries hold with the link that should stand here."""
        self.count, self.last, self.end = 0, 0, GENESIS
        self._broken = broken
        self._own = hashlib.sha256(broken.raw).digest()
        self._right = _joined(broken.previous, self._own)
        self._successor_link = b""
        if broken.expected > 1 and _joined(GENESIS, self._own) == broken.link:
            self.earlier = 0

    def look(self, entries: Iterable[Entry], head_link: bytes) -> _Fit:
        """Look at every entry once; four hashes each at most."""
        at = self._broken.expected
        for position, raw, recorded in entries:
            self.count, self.last, self.end = self.count + 1, position, recorded
            if position == at:
                continue
            digest = hashlib.sha256(raw).digest()
            if digest == self._own and self.twin is None:
                self.twin = position
            follows = position != at - 1 and _joined(recorded, self._own) == self._broken.link
            if position > at:
                self.home = position if follows else self.home
                self._look_behind(position, digest, recorded)
            elif follows:
                self.earlier = position
        if self.successor is not None and self.successor == self.last:
            self.goes_on = self._successor_link == head_link
        if at == self.last:
            self.link_only = self._right == head_link
        return self

    def _look_behind(self, position: int, digest: bytes, recorded: bytes) -> None:
        if position == self._broken.expected + 1:
            self.link_only = _joined(self._right, digest) == recorded
        if self.successor == position - 1:
            self.goes_on = _joined(self._successor_link, digest) == recorded
        placed = _joined(self._broken.previous, digest)
        if self.successor is None and placed == recorded:
            self.successor, self._successor_link = position, recorded
        if self.exchanged is None and placed == self._broken.link:
            self.exchanged = position


def _diagnose(broken: Break, head_position: int, head_link: bytes, again: Callable[[], Iterable[Entry]]) -> Problem:
    at = broken.expected
    if broken.position != at:
        told = f"missing from position {at} on: {_records(broken.position - at)}; {broken.position} follows"
        return Problem(at, "deleted", told)
    fit = _Fit(broken).look(again(), head_link)
    if fit.link_only:
        return Problem(at, "edited", f"the link of record {at} was changed; the record is as it was")
    problem = _rearranged(at, fit, again)
    if problem is not None:
        return problem
    if fit.count < head_position and fit.end == head_link:
        return Problem(at, "deleted", f"missing from position {at} on: {_records(head_position - fit.count)}")
    return Problem(at, "edited", f"record {at} or its link was changed{_reading(broken.raw)}")


def _rearranged(at: int, fit: _Fit, again: Callable[[], Iterable[Entry]]) -> Problem | None:
    """Return what was done with entries that are all there: too many of them, or in another order."""
    if fit.successor is not None and fit.goes_on:
        if fit.twin is None and fit.home is not None:
            return Problem(at, "swapped", f"the record at {at} belongs behind position {fit.home}")
        return _surplus(at, fit.successor - 1, again)
    if fit.earlier is not None and fit.successor is None:
        return _surplus(fit.earlier + 1, at - 1, again)
    other = fit.successor or fit.exchanged
    if other is not None:
        return Problem(at, "swapped", f"the record that belongs at {at} stands at {other}")
    return None if fit.twin is None else Problem(at, "duplicated", f"at {at} stands a copy of record {fit.twin}")


def _surplus(first: int, last: int, again: Callable[[], Iterable[Entry]]) -> Problem:
    """Say of entries ``first`` to ``last``, which are too many, whether they are copies."""
    raw = next(raw for position, raw, _ in again() if position == first)
    twins = [position for position, other, _ in again() if other == raw and not first <= position <= last]
    if twins:
        return Problem(first, "duplicated", f"copies of record {twins[0]} on: {_records(last - first + 1)} at {first}")
    return Problem(first, "inserted", f"not appended there: {_records(last - first + 1)} at {first}{_reading(raw)}")


def _joined(previous: bytes, digest: bytes) -> bytes:
    return hashlib.sha256(previous + digest).digest()


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count} records"


def _reading(raw: bytes) -> str:
    try:
        record = read_record(raw)
    except IonError:
        return " (no longer readable)"
    return f" ({type(record.fact).__name__} by {record.agent})"
