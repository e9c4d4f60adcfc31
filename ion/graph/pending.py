"""What waits for people: candidates put off until somebody signs, and automatic approvals drawn for a later look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.decision.people import NO_OF_ANY
from ion.decision.reopening import asked_by, governance_now
from ion.decision.spoken import approvals_given, submitters_of
from ion.evidence.quorum import standing
from ion.evidence.trust import identity
from ion.facts import DecisionMade, ModelRecorded, NodeRunStarted, ReviewDrawn

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ion.evidence.quorum import ApprovalRule, Standing
    from ion.evidence.trust import Trust
    from ion.graph.inquiry import Answer
    from ion.store import GovernanceStore


@dataclass(frozen=True, slots=True)
class Waiting:
    """A model that waits for people at a node. Times are microseconds UTC.

    Args:
        kind: ``approval`` (it does not serve before) or ``review`` (it was approved automatically).
        model: model version.
        run: the node run that made it.
        node: where it would serve, or serves.
        name: of the model.
        since: when it was put off first, or drawn.
        until: when the policies stop waiting and reject; None when they never do.
        metrics: as its training reported them.
        reasons: of the newest decision.
        asked: by policies: role, quorum, who has approved, and who may still.
    """

    kind: str
    model: str
    run: str
    node: str
    name: str
    since: int
    until: int | None
    metrics: Mapping[str, object]
    reasons: Sequence[Mapping[str, object]]
    asked: Sequence[Mapping[str, object]]

    @property
    def command(self) -> str:
        """What to type to sign for it."""
        return signing_command(self.model, self.node)

    def as_dict(self) -> Answer:
        """Return the JSON form."""
        return {
            "kind": self.kind,
            "model": self.model,
            "run": self.run,
            "node": self.node,
            "name": self.name,
            "since": rfc3339(self.since),
            "until": None if self.until is None else rfc3339(self.until),
            "metrics": dict(self.metrics),
            "reasons": [dict(reason) for reason in self.reasons],
            "asked": [dict(each) for each in self.asked],
            "command": self.command,
        }


def signing_command(model: str, node: str) -> str:
    """Return what a person types to approve a model for ``ion/node``."""
    return f'ion approve {model} --node {node} --reason "…"'


def pending(store: GovernanceStore, trust: Trust | None) -> list[Waiting]:
    """Return what waits for people, the longest first; ``trust`` names who may sign."""
    found = [*_deferred(store, trust), *_drawn(store, trust)]
    return sorted(found, key=lambda waiting: waiting.since)


def counted(store: GovernanceStore, trust: Trust, model: str, node: str) -> list[Answer]:
    """Return how what people said about a model for ``ion/node`` counts now, by each rule of the newest decision."""
    newest = [r.fact for r in store.find(DecisionMade, model, newest_first=True) if r.fact.node == node]
    found = [_standing(store, trust, newest[0], rule) for rule in asked_by(newest[0])] if newest else []
    return [
        {
            "role": each.rule.role,
            "quorum": each.rule.quorum,
            "approved": [given.statement.person for given in each.approved],
            "rejected": [given.statement.person for given in each.rejected],
            "not_counted": list(each.ignored),
        }
        for each in found
    ]


def _standing(store: GovernanceStore, trust: Trust, decided: DecisionMade, rule: ApprovalRule) -> Standing:
    started = store.latest(NodeRunStarted, decided.run)
    return standing(
        approvals_given(store, trust, decided.model, decided.node),
        trust,
        rule,
        model=decided.model,
        node=decided.node,
        at=governance_now(store, trust),
        submitters=submitters_of(started.fact) if started else (),
    )


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
    """Return the automatic approvals drawn for review on which nobody in the role has said anything since."""
    found: list[Waiting] = []
    for record in store.find(ReviewDrawn):
        decided = store.latest(DecisionMade, record.fact.decision)
        if decided is None:
            continue
        looked = _standing(store, trust, decided.fact, NO_OF_ANY) if trust else None
        if looked is None or not (looked.approved or looked.rejected):
            found.append(_waiting(store, trust, decided.fact, "review", record.us))
    return found


def _waiting(store: GovernanceStore, trust: Trust | None, decided: DecisionMade, kind: str, since: int) -> Waiting:
    made = next((r.fact for r in store.find(ModelRecorded, decided.model) if r.fact.run == decided.run), None)
    started, judging = store.latest(NodeRunStarted, decided.run), store.latest(NodeRunStarted, decided.decision)
    makers = {identity(name) for name in submitters_of(started.fact)} if started else set()
    until = judging.fact.config.get("waits_until") if judging else None
    rules = list(decided.approvals) or [{"role": NO_OF_ANY.role, "quorum": NO_OF_ANY.quorum, "people": []}]
    return Waiting(
        kind=kind,
        model=decided.model,
        run=decided.run,
        node=decided.node,
        name=made.name if made else "",
        since=since,
        until=until if isinstance(until, int) else None,
        metrics=made.metrics if made else {},
        reasons=decided.reasons,
        asked=[_asked(rule, trust, makers) for rule in rules],
    )


def _asked(rule: Mapping[str, object], trust: Trust | None, makers: Collection[str]) -> dict[str, object]:
    people = rule["people"]
    approved = [str(person) for person in people] if isinstance(people, list | tuple) else []
    may = [
        person.id
        for person in (trust.document.people if trust else ())
        if rule["role"] in person.roles and person.id not in approved and person.identities.isdisjoint(makers)
    ]
    return {"role": rule["role"], "quorum": rule["quorum"], "approved": approved, "may": may}
