"""What happened lately in an ION, for its page: the newest of each kind, not the whole history.

`ion.graph.timeline` folds everything; a page that is looked at while a stream runs must not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.facts import (
    AdmissionRefused,
    AlertRaised,
    CheckEvaluated,
    DecisionMade,
    EpochClosed,
    EpochOpened,
    Fact,
    GapNoted,
    IonDefined,
    ModelRecorded,
    ModelRevoked,
    NodeHalted,
    NodeRunEnded,
    NodeRunStarted,
    Promoted,
    RolledBack,
    RowsQuarantined,
)
from ion.graph.happening import happening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.records import Recorded
    from ion.store import GovernanceStore

_KINDS: tuple[type[Fact], ...] = (
    IonDefined,
    NodeRunStarted,
    NodeRunEnded,
    CheckEvaluated,
    ModelRecorded,
    DecisionMade,
    Promoted,
    RolledBack,
    NodeHalted,
    ModelRevoked,
    EpochOpened,
    EpochClosed,
    RowsQuarantined,
    AdmissionRefused,
    GapNoted,
    AlertRaised,
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: when (µs UTC), at which node, and what happened in a short sentence."""

    us: int
    position: int
    node: str
    summary: str


def lately(store: GovernanceStore, ion: str, limit: int = 40) -> Sequence[Event]:
    """Return the newest events of an ION, newest first."""
    places: dict[str, str] = {}
    decisions = {record.fact.decision for record in store.find(DecisionMade, limit=limit, newest_first=True)}
    found: list[Event] = []
    for kind in _KINDS:
        for record in store.find(kind, limit=limit, newest_first=True):
            if isinstance(record.fact, NodeRunStarted | NodeRunEnded) and record.fact.run in decisions:
                continue  # a policy's run: its decision says it all
            node = _node(store, record, places)
            if node.partition("/")[0] == ion:
                found.append(Event(record.us, record.position, node, happening(record.fact)[1]))
    found.sort(key=lambda event: (event.us, event.position), reverse=True)
    return found[:limit]


def _node(store: GovernanceStore, record: Recorded[Fact], places: dict[str, str]) -> str:
    """Return where a fact happened: it says so, or the run that it belongs to does."""
    fact = record.fact
    if isinstance(fact, IonDefined):
        return fact.ion
    scope: str = getattr(fact, "decision" if isinstance(fact, DecisionMade) else "run", "") or getattr(
        fact, "scope", ""
    )
    if isinstance(node := getattr(fact, "node", None), str) and not isinstance(fact, DecisionMade):
        return node
    if scope not in places:
        started = store.latest(NodeRunStarted, scope)
        opened = None if started else store.latest(EpochOpened, scope)
        places[scope] = started.fact.node if started else opened.fact.node if opened else ""
    return places[scope]
