"""Whether everything derived from the facts follows from them: projections, and the columns facts are found by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.facts import KINDS, Record
from ion.ledger import Problem
from ion.store.refold import refold

if TYPE_CHECKING:
    from ion.store import GovernanceStore

_SHOWN = 3
_MEND = "`ion store rebuild` folds them again"


def index_problems(store: GovernanceStore, records: list[tuple[int, Record]], *, complete: bool) -> list[Problem]:
    """Compare the projections with a fresh fold (when every record is readable), and the columns with the records."""
    problems = _column_problems(store, records)
    if not complete:
        return problems
    last = records[-1][0] if records else 0
    kept = store.projections()
    if store.head().position != last:
        return problems  # others append meanwhile; the projections are ahead of the records read
    try:
        fresh = refold(records)
    except Exception as error:  # noqa: BLE001 - facts that contradict each other do not fold, whatever the database says
        reason = f"the facts contradict each other and cannot be folded: {error}"
        return [*problems, Problem(0, "contradiction", reason[:500])]
    for name, rows in fresh.items():
        missing = [row for row in rows if row not in set(kept[name])]
        extra = [row for row in kept[name] if row not in set(rows)]
        if missing or extra:
            told = "; ".join(
                [f"missing {row}" for row in missing[:_SHOWN]] + [f"not from any fact {row}" for row in extra[:_SHOWN]]
            )
            message = f"{name} differs from a fresh fold ({len(missing)} missing, {len(extra)} extra): {told}. {_MEND}"
            problems.append(Problem(0, "projection-differs", message[:1000]))
    return problems


def _column_problems(store: GovernanceStore, records: list[tuple[int, Record]]) -> list[Problem]:
    """Find facts whose kind, id, agent or time is stored otherwise than the record says."""
    told = dict(records)
    found: set[int] = set()
    problems: list[Problem] = []
    for name, kind in KINDS.items():
        try:
            rows = store.find(kind)
        except IonError:
            return problems  # an unreadable record is told already
        for row in rows:
            record = told.get(row.position)
            if record is None:
                continue  # appended since
            found.add(row.position)
            columns = (name, row.id, row.agent, row.us)
            if columns != (type(record.fact).__name__, record.id, record.agent, record.stamp.us):
                message = f"it is filed as {name} {row.id} by {row.agent}, its record says otherwise"
                problems.append(Problem(row.position, "misfiled", message))
    # A fact told again is kept, but found once.
    first = {record.id: position for position, record in reversed(records)}
    problems += [
        Problem(position, "misfiled", "it is filed under no kind of fact")
        for position in sorted(first.values())
        if position not in found
    ]
    return problems
