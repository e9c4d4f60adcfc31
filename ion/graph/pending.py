"""What waits for people: candidates put off until somebody signs, and automatic approvals drawn for a later look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.facts import ApprovalGiven, DecisionMade, ModelRecorded, NodeRunStarted, ReviewDrawn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.evidence.trust import Trust
    from ion.graph.inquiry import Answer
    from ion.store import GovernanceStore


@dataclass(frozen=True, slots=True)
class Waiting:
    """A model that waits for people at a node. ``since`` is microseconds UTC.

    ``kind`` is ``approval`` (it does not serve before) or ``review`` (it was approved automatically).
    ``asked`` is what a policy asks: role, quorum, who has approved, and who may still.
    """

    kind: str
    model: str
    run: str
    node: str
    name: str
    since: int
    metrics: Mapping[str, object]
    reasons: Sequence[Mapping[str, object]]
    asked: Sequence[Mapping[str, object]]

    @property
    def command(self) -> str:
        """What to type to sign for it."""
        return f'ion approve {self.model} --node {self.node} --reason "…"'

    def as_dict(self) -> Answer:
        """Return the JSON form."""
        return {
            "kind": self.kind,
            "model": self.model,
            "run": self.run,
            "node": self.node,
            "name": self.name,
            "since": rfc3339(self.since),
            "metrics": dict(self.metrics),
            "reasons": [dict(reason) for reason in self.reasons],
            "asked": [dict(each) for each in self.asked],
            "command": self.command,
        }


def pending(store: GovernanceStore, trust: Trust | None) -> list[Waiting]:
    """Return what waits for people, the longest first; ``trust`` names who may sign."""
    found = [*_deferred(store, trust), *_drawn(store, trust)]
    return sorted(found, key=lambda waiting: waiting.since)


def _deferred(store: GovernanceStore, trust: Trust | None) -> list[Waiting]:
    found: list[Waiting] = []
    for candidate in store.candidates(undecided_only=True):
        newest: dict[str, DecisionMade] = {}
        since: dict[str, int] = {}
        for record in store.find(DecisionMade, candidate.model):
            if record.fact.run == candidate.run:
                newest[record.fact.node] = record.fact
                since.setdefault(record.fact.node, record.us)
        for node, decided in newest.items():
            if decided.verdict == "defer":
                found.append(_waiting(store, trust, decided, "approval", since[node]))
    return found


def _drawn(store: GovernanceStore, trust: Trust | None) -> list[Waiting]:
    found: list[Waiting] = []
    for record in store.find(ReviewDrawn):
        drawn = record.fact
        said = [r for r in store.find(ApprovalGiven, drawn.model, after=record.position) if r.fact.node == drawn.node]
        decided = store.latest(DecisionMade, drawn.decision)
        if not said and decided is not None:
            found.append(_waiting(store, trust, decided.fact, "review", record.us))
    return found


def _waiting(store: GovernanceStore, trust: Trust | None, decided: DecisionMade, kind: str, since: int) -> Waiting:
    made = next((r.fact for r in store.find(ModelRecorded, decided.model) if r.fact.run == decided.run), None)
    started = store.latest(NodeRunStarted, decided.run)
    makers = {started.fact.submitter, str(started.fact.code.get("author") or "")} if started else set()
    rules = list(decided.approvals) or [{"role": "approver", "quorum": 1, "people": []}]
    return Waiting(
        kind=kind,
        model=decided.model,
        run=decided.run,
        node=decided.node,
        name=made.name if made else "",
        since=since,
        metrics=made.metrics if made else {},
        reasons=decided.reasons,
        asked=[_asked(rule, trust, makers) for rule in rules],
    )


def _asked(rule: Mapping[str, object], trust: Trust | None, makers: set[str]) -> dict[str, object]:
    from ion.evidence.trust import identity

    people = rule["people"]
    approved = [str(person) for person in people] if isinstance(people, list | tuple) else []
    own = {identity(name) for name in makers if name}
    may = [
        person.id
        for person in (trust.document.people if trust else ())
        if rule["role"] in person.roles and person.id not in approved and not person.identities & own
    ]
    return {"role": rule["role"], "quorum": rule["quorum"], "approved": approved, "may": may}
