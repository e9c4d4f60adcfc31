"""The one invariant of the way up, whatever fails: what was acknowledged is stored, once, and every hole is told."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ion.audit.verification import verify
from ion.facts import GapNoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ion.home import Home
    from ion.store import GovernanceStore

LOAD = "load"
"""What the facts of these tests count; each has its own number."""


def load(number: int) -> GapNoted:
    """Return a fact to tell."""
    return GapNoted(scope=LOAD, what=LOAD, count=number, reason="told to be found again")


def violations(store: GovernanceStore, home: Home, acknowledged: Iterable[str]) -> list[str]:
    """Return what is wrong: lost acknowledged facts, duplicates, a broken chain, numbers that no gap explains.

    ``acknowledged`` are the ids of the facts for which `flush` returned.
    """
    found = store.find(GapNoted, LOAD)
    stored = Counter(recorded.id for recorded in found)
    wrong = [f"acknowledged and not stored: {fact_id}" for fact_id in sorted(set(acknowledged) - stored.keys())]
    wrong += [f"counted {count} times: {fact_id}" for fact_id, count in stored.items() if count > 1]
    numbers = Counter(recorded.fact.count for recorded in found)
    wrong += [f"stored {count} times: fact {number}" for number, count in numbers.items() if count > 1]
    return wrong + [f"{problem.kind}: {problem.message}" for problem in verify(store, home).problems]
