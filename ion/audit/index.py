"""Whether everything derived from the facts follows from them: projections, and the columns facts are found by."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from ion.ledger import Problem
from ion.store import Filed
from ion.store.refold import refold

if TYPE_CHECKING:
    from ion.records import Record
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
    """Find facts that are filed under another kind, id, agent, number or time than their record says."""
    told = dict(records)
    seen: set[str] = set()
    problems: list[Problem] = []
    for filed in store.filed():
        record = told.get(filed.position)
        if record is None:
            continue  # unreadable, which is told already, or appended since
        kind, stamp = type(record.fact).__name__, record.stamp
        says = Filed(filed.position, record.id, record.agent, record.seq, kind, stamp.us, record.id not in seen)
        seen.add(record.id)
        if filed != says:
            names = [field.name for field in fields(Filed) if getattr(filed, field.name) != getattr(says, field.name)]
            message = f"a {kind} by {record.agent} is filed otherwise than its record says: {', '.join(names)}"
            problems.append(Problem(filed.position, "misfiled", message))
    return problems
