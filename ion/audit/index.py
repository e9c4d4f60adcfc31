"""Whether everything derived from the facts follows from them: projections, and the columns facts are found by."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.ledger import Problem
from ion.records import read_record
from ion.store import Filed

if TYPE_CHECKING:
    from ion.records import Record
    from ion.store import GovernanceStore
    from ion.store.refold import Refold

_MEND = "`ion store rebuild` folds them again"
_TRIES = 5


def misfiled(filed: Filed, record: Record, *, first: bool) -> list[Problem]:
    """Find that a fact is filed under another kind, id, agent, number or time than its record says."""
    kind, stamp = type(record.fact).__name__, record.stamp
    says = Filed(filed.position, record.id, record.agent, record.seq, kind, stamp.us, first)
    if filed == says:
        return []
    names = [field.name for field in fields(Filed) if getattr(filed, field.name) != getattr(says, field.name)]
    message = f"a {kind} by {record.agent} is filed otherwise than its record says: {', '.join(names)}"
    return [Problem(filed.position, "misfiled", message)]


def projection_problems(store: GovernanceStore, fresh: Refold, last: int) -> list[Problem]:
    """Compare the projections with a fold of the records up to ``last``, to which what was appended since is added."""
    for _ in range(_TRIES):
        head = store.head().position
        try:
            fresh.add((position, read_record(raw)) for position, raw, _ in store.ledger.entries(last + 1, head))
        except IonError:
            return []  # the next audit tells it
        last = max(last, head)
        found = fresh.differences()
        if store.head().position == head:
            break
    else:
        return []  # others append all the time; nothing can be said
    problems: list[Problem] = []
    for name, difference in found.items():
        told = "; ".join(
            [f"missing {row}" for row in difference.shown_missing]
            + [f"not from any fact {row}" for row in difference.shown_extra]
        )
        counts = f"{difference.missing} missing, {difference.extra} extra"
        message = f"{name} differs from a fresh fold ({counts}): {told}. {_MEND}"
        problems.append(Problem(0, "projection-differs", message[:1000]))
    return problems


def contradiction(error: Exception) -> Problem:
    """Return the problem that facts do not fold, whatever the database says."""
    return Problem(0, "contradiction", f"the facts contradict each other and cannot be folded: {error}"[:500])
