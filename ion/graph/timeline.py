"""What happened in an ION, in the order of its hybrid clocks: every node's events in one line."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.errors import IonError
from ion.facts import (
    AdmissionRefused,
    AlertRaised,
    CaptureErased,
    CheckEvaluated,
    DatasetRecorded,
    DecisionMade,
    EpochClosed,
    EpochOpened,
    EventRecorded,
    GapNoted,
    IonDefined,
    MessageReceived,
    MessageSent,
    MirrorUpdated,
    ModelRecorded,
    ModelRevoked,
    NodeHalted,
    NodeRunEnded,
    NodeRunStarted,
    PredictionReplayed,
    PredictionsCommitted,
    Promoted,
    RetentionApplied,
    RolledBack,
    RowsQuarantined,
)
from ion.graph.happening import happening
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.facts import Fact
    from ion.graph.inquiry import Answer
    from ion.records import Recorded
    from ion.store import GovernanceStore

SHOWN: tuple[type[Fact], ...] = (
    IonDefined,
    NodeRunStarted,
    DatasetRecorded,
    CheckEvaluated,
    ModelRecorded,
    MessageSent,
    MessageReceived,
    NodeRunEnded,
    DecisionMade,
    Promoted,
    RolledBack,
    NodeHalted,
    ModelRevoked,
    MirrorUpdated,
    EpochOpened,
    PredictionsCommitted,
    RowsQuarantined,
    CaptureErased,
    RetentionApplied,
    AdmissionRefused,
    EpochClosed,
    PredictionReplayed,
    EventRecorded,
    GapNoted,
    AlertRaised,
)
"""The level-2 facts, and what a node run took and gave; parameters and statistics stay inside the run."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: when (µs UTC), at which node (empty: the ION itself), what, in a short sentence."""

    position: int
    us: int
    node: str
    kind: str
    subject: str
    summary: str

    def as_dict(self) -> Answer:
        """Return the JSON form."""
        return {"at": rfc3339(self.us), **asdict(self)}


def timeline(store: GovernanceStore, ion: str, *, limit: int | None = None) -> list[Event]:
    """Return the events of an ION, oldest first; ``limit`` keeps the newest.

    Raises:
        IonError: ``unknown-ion``.
    """
    checked_ion(store, ion)
    places = _Places(store, ion)
    events: list[Event] = []
    for kind in SHOWN:
        for record in store.find(kind):
            node = places.of(record)
            if node is not None:
                subject, summary = happening(record.fact)
                events.append(Event(record.position, record.us, node, kind.__name__, subject, summary))
    events.sort(key=lambda event: (event.us, event.position))
    return events if limit is None else events[max(0, len(events) - limit) :]


def checked_ion(store: GovernanceStore, ion: str) -> str:
    """Return ``ion`` if it is defined or any of its nodes ever ran.

    Raises:
        IonError: ``unknown-ion``.
    """
    if store.latest(IonDefined, ion) is not None:
        return ion
    nodes = {record.fact.node.partition("/")[0] for record in store.find(NodeRunStarted)}
    if ion in nodes:
        return ion
    known = sorted(nodes | {record.fact.ion for record in store.find(IonDefined)})
    hint = f"known: {', '.join(known)}" if known else "nothing was ever recorded here; `make demo` shows a whole story"
    raise IonError("unknown-ion", f"no ION named {ion!r} is known here", hint)


class _Places:
    """Which node of the ION a fact happened at."""

    def __init__(self, store: GovernanceStore, ion: str) -> None:
        self._ion = ion
        mine = f"{ion}/"
        started = [r.fact for r in store.find(NodeRunStarted) if r.fact.node.startswith(mine)]
        self._by_scope = {fact.run: fact.node for fact in started}
        agents: dict[str, str] = {}
        for record in store.find(NodeRunStarted):
            if record.fact.run in self._by_scope:
                agents[record.agent] = record.fact.node
        for opened in store.find(EpochOpened):
            if opened.fact.node.startswith(mine):
                self._by_scope[opened.fact.epoch] = opened.fact.node
        for promoted in store.find(Promoted):
            if promoted.fact.node.startswith(mine):
                self._by_scope.setdefault(promoted.fact.cause, promoted.fact.node)
        for made in store.find(ModelRecorded):
            if made.fact.run in self._by_scope:
                self._by_scope[made.fact.model] = made.fact.node
        # An agent may serve several IONs; its own gaps are told at the node it worked for.
        self._by_scope = {**agents, **self._by_scope}

    def of(self, record: Recorded[Fact]) -> str | None:
        """Return the node; empty for the ION itself, None when the fact is of another ION."""
        fact = record.fact
        if isinstance(fact, IonDefined):
            return "" if fact.ion == self._ion else None
        if isinstance(fact, RetentionApplied) and not fact.node:
            return ""
        if isinstance(fact, DecisionMade):  # it happened at the policy node; its own field names the serving node
            return self._by_scope.get(fact.decision) or self._own(fact.node)
        for field in ("node", "sender", "receiver"):
            if isinstance(node := getattr(fact, field, None), str):
                return self._own(node)
        for field in ("run", "epoch", "cause", "scope", "prediction"):
            if isinstance(value := getattr(fact, field, None), str):
                place = self._by_scope.get(value.partition(":")[0] if field == "prediction" else value)
                return place or self._own(value)
        return None

    def _own(self, node: str) -> str | None:
        return node if node.startswith(f"{self._ion}/") else None
