"""The catalogue: every candidate, how it was judged, where it serves and for how many predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.facts import (
    DecisionMade,
    EpochOpened,
    ModelRecorded,
    ModelRevoked,
    NodeRunStarted,
    PredictionsCommitted,
    Promoted,
    RolledBack,
)
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.graph.inquiry import Answer
    from ion.records import Recorded
    from ion.store import Candidate, GovernanceStore


@dataclass(frozen=True, slots=True)
class Use:
    """One epoch in which a candidate served, and how many predictions were committed in it."""

    node: str
    epoch: str
    role: str
    opened: int
    predictions: int

    def as_dict(self) -> Answer:
        """Return the JSON form."""
        return {
            "node": self.node,
            "epoch": self.epoch,
            "role": self.role,
            "opened": rfc3339(self.opened),
            "predictions": self.predictions,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """One candidate. Times are microseconds UTC; ``verdict`` is empty while undecided, ``decided`` then 0.

    ``serving`` are the nodes it serves at now, ``revoked`` those it was withdrawn from for good.
    """

    model: str
    run: str
    node: str
    name: str
    trained: int
    format: str
    metrics: Mapping[str, object]
    verdict: str
    reasons: Sequence[Mapping[str, object]]
    decision: str
    policy_set: str
    policy_digest: str
    automatic: bool
    approvals: Sequence[Mapping[str, object]]
    decided: int
    expires: int
    serving: tuple[str, ...]
    revoked: tuple[str, ...]
    used: tuple[Use, ...]
    links: Mapping[str, object]
    dagster_run: str

    @property
    def predictions(self) -> int:
        """How many predictions this candidate had a part in."""
        return sum(use.predictions for use in self.used)

    def as_dict(self) -> Answer:
        """Return the JSON form."""
        return {
            "name": self.name,
            "model": self.model,
            "node": self.node,
            "run": self.run,
            "trained": rfc3339(self.trained),
            "format": self.format,
            "metrics": dict(self.metrics),
            "verdict": self.verdict or None,
            "reasons": [dict(reason) for reason in self.reasons],
            "decision": self.decision or None,
            "policy_set": self.policy_set or None,
            "policy_digest": self.policy_digest or None,
            "automatic": self.automatic,
            "approvals": [dict(asked) for asked in self.approvals],
            "decided": rfc3339(self.decided) if self.decided else None,
            "expires": rfc3339(self.expires) if self.expires else None,
            "serving": list(self.serving),
            "revoked": list(self.revoked),
            "predictions": self.predictions,
            "used": [use.as_dict() for use in self.used],
            "links": dict(self.links),
            "dagster_run": self.dagster_run or None,
        }


def catalogue(store: GovernanceStore) -> list[Entry]:
    """Return every candidate, newest first."""
    uses = _uses(store)
    made = {(r.fact.model, r.fact.run): r for r in reversed(store.find(ModelRecorded))}
    return [
        _entry(store, candidate, made[candidate.model, candidate.run], uses)
        for candidate in reversed(store.candidates())
        if (candidate.model, candidate.run) in made
    ]


def _entry(
    store: GovernanceStore,
    candidate: Candidate,
    made: Recorded[ModelRecorded],
    uses: Mapping[tuple[str, str], list[Use]],
) -> Entry:
    started = store.latest(NodeRunStarted, candidate.run)
    decisions = [r for r in store.find(DecisionMade, candidate.model) if r.fact.run == candidate.run]
    newest = decisions[-1] if decisions else None
    promoted_to = {r.fact.node for r in store.find(Promoted, candidate.model) if r.fact.run == candidate.run}
    current = {node: store.current(node) for node in sorted(promoted_to)}
    return Entry(
        model=candidate.model,
        run=candidate.run,
        node=candidate.node,
        name=made.fact.name,
        trained=made.us,
        format=made.fact.format,
        metrics=made.fact.metrics,
        verdict=newest.fact.verdict if newest else "",
        reasons=newest.fact.reasons if newest else (),
        decision=newest.fact.decision if newest else "",
        policy_set=newest.fact.policy_set if newest else "",
        policy_digest=newest.fact.policy_digest if newest else "",
        automatic=newest.fact.automatic if newest else False,
        approvals=newest.fact.approvals if newest else (),
        decided=newest.us if newest else 0,
        expires=newest.fact.expires if newest else 0,
        serving=tuple(
            node
            for node, now in current.items()
            if (now.model, now.run) == (candidate.model, candidate.run) and not now.halted
        ),
        revoked=tuple(sorted({r.fact.node for r in store.find(ModelRevoked, candidate.model)})),
        used=tuple(uses.get((candidate.model, candidate.run), ())),
        links=made.fact.links,
        dagster_run=started.fact.engine_run if started and started.fact.engine == "dagster" else "",
    )


def _uses(store: GovernanceStore) -> dict[tuple[str, str], list[Use]]:
    """Return (model, run) → the epochs it served in.

    The same bytes may have been made by several runs; which of them an epoch used, its promotion tells.
    """
    counts: dict[str, int] = {}
    for committed in store.find(PredictionsCommitted):
        counts[committed.fact.epoch] = counts.get(committed.fact.epoch, 0) + committed.fact.rows
    promoted: dict[tuple[str, str], Promoted | RolledBack] = {}
    promoted.update({(r.fact.cause, r.fact.node): r.fact for r in store.find(Promoted)})
    promoted.update({(r.fact.cause, r.fact.node): r.fact for r in store.find(RolledBack)})
    makers = {r.fact.model: r.fact.run for r in reversed(store.find(ModelRecorded))}
    found: dict[tuple[str, str], list[Use]] = {}
    for record in store.find(EpochOpened):
        epoch = record.fact
        promotion = promoted.get((epoch.cause, epoch.node))
        for role, digest in epoch.models.items():
            model = str(digest)
            run = promotion.run if promotion and promotion.model == model else makers.get(model, "")
            use = Use(epoch.node, epoch.epoch, role, record.us, counts.get(epoch.epoch, 0))
            found.setdefault((model, run), []).append(use)
    return found
