"""The whole audit in order; nothing is changed, everything wrong is listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.audit.agents import agent_problems
from ion.audit.bodies import body_problems
from ion.audit.index import index_problems
from ion.audit.pointers import pointer_problems
from ion.audit.signatures import signature_problems
from ion.errors import IonError
from ion.ledger import Problem, verify_chain
from ion.records import Record, read_record

if TYPE_CHECKING:
    from ion.home import Home
    from ion.store import GovernanceStore, Head

_SNAPSHOT_TRIES = 5


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found: how many entries were read, the head's link (hex), and what is wrong."""

    entries: int
    head: str
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "ok": self.ok,
            "entries": self.entries,
            "head": self.head,
            "problems": [problem.as_dict() for problem in self.problems],
        }


def verify(store: GovernanceStore, home: Home) -> Audit:
    """Audit the store, the artifacts, and the pointer files under ``home``.

    Checked: the chain from its first link to the head; that projections and indexed columns follow
    from the facts; every signed decision, promotion and halt; bytes named by digest; each agent's
    sequence; and that pointer files say what the store says.
    """
    acknowledged = store.agents()  # before the facts: what was acknowledged by now must be among them
    head, entries = _snapshot(store)
    problems = verify_chain(entries, head.position, head.link)
    records: list[tuple[int, Record]] = []
    for position, raw, _ in entries:
        try:
            records.append((position, read_record(raw)))
        except IonError as error:
            problems.append(Problem(position, "unreadable", error.message))
    problems += index_problems(store, records, complete=len(records) == len(entries))
    problems += agent_problems(acknowledged, records)
    problems += signature_problems(home, records)
    problems += body_problems(store, home, records)
    problems += pointer_problems(home, records)
    return Audit(len(entries), head.link.hex(), tuple(problems))


def _snapshot(store: GovernanceStore) -> tuple[Head, list[tuple[int, bytes, bytes]]]:
    """Return entries and the head they lead to, also while others append."""
    head = store.head()
    for _ in range(_SNAPSHOT_TRIES):
        entries = list(store.entries())
        after = store.head()
        if after == head:
            return head, entries
        head = after
    return head, [entry for entry in store.entries() if entry[0] <= head.position]
