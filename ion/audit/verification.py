"""The whole audit: one pass over the records, then what they name; nothing is changed, everything wrong is listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.audit.agents import Agents
from ion.audit.anchors import anchor_problems, find_anchors
from ion.audit.bodies import body_problems
from ion.audit.index import contradiction, misfiled, projection_problems
from ion.audit.leaves import Leaves
from ion.audit.pointers import pointer_problems
from ion.audit.removed import Removed
from ion.audit.signatures import signature_problems
from ion.errors import IonError
from ion.facts import (
    CategoriesRecorded,
    EventRecorded,
    FigureRecorded,
    LogsRecorded,
    MessageReceived,
    MessageSent,
    ParamRecorded,
    SignatureRecorded,
    SignaturesRecorded,
    SketchRecorded,
    StatisticsRecorded,
)
from ion.ledger import Problem, Walk
from ion.ledger.diagnosis import chain_problem
from ion.records import Record, read_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.home import Home
    from ion.ledger import Entry
    from ion.store import Filed, GovernanceStore, Head
    from ion.store.refold import Refold

_NOT_LOOKED_AT_AGAIN = (
    CategoriesRecorded,
    EventRecorded,
    FigureRecorded,
    LogsRecorded,
    MessageReceived,
    MessageSent,
    ParamRecorded,
    SignatureRecorded,
    SignaturesRecorded,
    SketchRecorded,
    StatisticsRecorded,
)
"""Facts of which there may be very many, and that name no file and nothing signed: they are not kept."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found: how many entries were read, the head's link and the tree's root (hex), and what is wrong.

    ``checkpoints``: how many signed heads the records were compared with; ``removed``: of how many facts the bodies
    went by retention, each with a receipt.
    """

    entries: int
    head: str
    root: str
    checkpoints: int
    problems: tuple[Problem, ...]
    removed: int = 0

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
            "root": self.root,
            "checkpoints": self.checkpoints,
            "removed": self.removed,
            "problems": [problem.as_dict() for problem in self.problems],
        }


def verify(store: GovernanceStore, home: Home, against: Mapping[str, bytes] | None = None) -> Audit:
    """Audit the store, the artifacts, and the pointer files under ``home``.

    Checked: the chain from its first link to the head, and the tree of the same bytes against every checkpoint; that
    projections and indexed columns follow from the facts; every signed decision, promotion and halt; bytes named by
    digest; each agent's sequence; and that pointer files say what the store says.

    Args:
        store: what is audited.
        home: where artifacts, pointers, trust and checkpoints are.
        against: checkpoints from elsewhere, by a name to tell them by.
    """
    agents = Agents(store.agents())  # before the facts: what was acknowledged by now must be among them
    head = store.head()
    anchors = find_anchors(store, home, against or {})
    walk = Walk(size for size in anchors.sizes if size <= head.position)
    with store.refold() as fresh:
        reading = _Reading(walk, agents, fresh)
        for batch in store.ledger.filed(head.position):
            reading.take(batch)
        problems = _chain_problems(store, head, walk, closed_hole=agents.holes and reading.broken_is_sound)
        problems += anchor_problems(anchors, walk, cut=agents.cut)
        problems += reading.problems
        if reading.foldable:
            problems += projection_problems(store, fresh, head.position)
    problems += agents.problems()
    problems += signature_problems(home, reading.kept)
    removed = Removed(store, reading.kept)
    problems += removed.problems
    problems += body_problems(store, home, reading.kept, removed)
    problems += reading.leaves.problems(store, fresh.seen, removed)
    problems += pointer_problems(home, reading.kept)
    return Audit(walk.count, head.link.hex(), walk.root.hex(), len(anchors.found), tuple(problems), removed.count)


class _Reading:
    """What is looked at in the one pass, and what is kept of it."""

    def __init__(self, walk: Walk, agents: Agents, fresh: Refold) -> None:
        self.problems: list[Problem] = []
        self.kept: list[tuple[int, Record]] = []
        self.leaves = Leaves()
        self.foldable = True
        self._unsound: set[int] = set()
        self._walk = walk
        self._agents = agents
        self._fresh = fresh

    @property
    def broken_is_sound(self) -> bool:
        """Whether the record at which the chain breaks is readable and what it is filed as."""
        return self._walk.broken is not None and self._walk.broken.position not in self._unsound

    def take(self, batch: list[tuple[Entry, Filed]]) -> None:
        """Read the next entries."""
        self._walk.take([entry for entry, _ in batch])
        records: list[tuple[int, Record]] = []
        new: set[str] = set()
        for (position, raw, _), filed in batch:
            try:
                record = read_record(raw)
            except IonError as error:
                self.problems.append(Problem(position, "unreadable", error.message))
                self.foldable = False
                self._unsound.add(position)
                continue
            first = record.id not in self._fresh.seen and record.id not in new
            if told := misfiled(filed, record, first=first):
                self.problems += told
                self._unsound.add(position)
            new.add(record.id)
            self._agents.see(position, record)
            if first and isinstance(record.fact, StatisticsRecorded):
                self.leaves.see(position, record.id, record.fact)
            records.append((position, record))
        self.kept += [item for item in records if not isinstance(item[1].fact, _NOT_LOOKED_AT_AGAIN)]
        if self.foldable:
            try:
                self._fresh.add(records)
            except Exception as error:  # noqa: BLE001 - facts that contradict each other raise what the database raises
                self.problems.append(contradiction(error))
                self.foldable = False
        self._fresh.seen |= new


def _chain_problems(store: GovernanceStore, head: Head, walk: Walk, *, closed_hole: bool) -> list[Problem]:
    problem = chain_problem(walk, head.position, head.link, lambda: store.ledger.entries(last=head.position))
    if problem is None:
        last = store.ledger.last()
        if last > store.head().position:  # in this order: an append writes both at once
            message = f"there are records up to {last} behind the recorded head"
            return [Problem(head.position + 1, "inserted", message)]
        return []
    if problem.kind == "edited" and closed_hole:
        # The links of a closed hole look like those of an edited record; the numbers of the agents do not.
        message = f"records from position {problem.position} on are missing: numbers of their agents are, too"
        return [Problem(problem.position, "deleted", message)]
    return [problem]
