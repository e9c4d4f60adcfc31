"""How a model came to serve: the decision, the promotion it caused, and who approved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.facts import DecisionMade, ModelRevoked, Promoted, RolledBack
from ion.graph.approved import approvals_of
from ion.graph.signed import decision_problem, promotion_problem, stop_problem
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.graph.inquiry import Answer, Inquiry
    from ion.graph.serving_epoch import Serving
    from ion.records import Recorded


@dataclass(frozen=True, slots=True)
class Admission:
    """The promotion or rollback an epoch rested on, and its decision; None where no fact tells."""

    promoted: Recorded[Promoted] | Recorded[RolledBack] | None
    decision: Recorded[DecisionMade] | None

    @property
    def run(self) -> str:
        """The node run that made the admitted model; empty when unknown."""
        if self.promoted:
            return self.promoted.fact.run
        return self.decision.fact.run if self.decision else ""


def admission_of(inquiry: Inquiry, serving: Serving) -> Admission:
    """Look up by what authority an epoch served its model, and check the signatures."""
    if serving.opened is None:
        return Admission(None, None)
    epoch = serving.opened.fact
    first = next((r for r in inquiry.find(Promoted, epoch.cause) if r.fact.node == epoch.node), None)
    back = next((r for r in inquiry.find(RolledBack, epoch.cause) if r.fact.node == epoch.node), None)
    promoted = first or back
    decisions = inquiry.find(DecisionMade, promoted.fact.decision if promoted else epoch.cause)
    decision = decisions[0] if decisions else None
    if promoted is None:
        inquiry.hole("promotion", epoch.cause, f"no fact says that {epoch.node} was to serve this model")
    if decision is None:
        inquiry.hole("decision", epoch.cause, "no fact holds the decision by which the model was admitted")
    _check_agreement(inquiry, serving, promoted, decision)
    return Admission(promoted, decision)


def decision_answers(inquiry: Inquiry, serving: Serving, admission: Admission) -> list[Answer]:
    """Return every decision on the candidate for this node, the admitting one marked."""
    if admission.decision is None:
        return []
    chosen = admission.decision.fact
    records = [
        record
        for record in inquiry.find(DecisionMade, chosen.model)
        if (record.fact.run, record.fact.node) == (chosen.run, chosen.node)
    ]
    return [_decision(inquiry, serving, admission, record) for record in records]


def approval_answers(inquiry: Inquiry, admission: Admission) -> list[Answer]:
    """Return who approved: people with what they signed, or the policy set alone."""
    if admission.decision is None or admission.decision.fact.verdict != "approve":
        return []
    return approvals_of(inquiry, admission.decision)


def _decision(inquiry: Inquiry, serving: Serving, admission: Admission, record: Recorded[DecisionMade]) -> Answer:
    fact = record.fact
    problem = inquiry.trust if isinstance(inquiry.trust, str) else decision_problem(fact, inquiry.trust)
    if problem:
        inquiry.hole("decision signature", fact.decision, problem)
    answer: Answer = {
        "decision": fact.decision,
        "node": fact.node,
        "verdict": fact.verdict,
        "at": rfc3339(record.us),
        "expires": rfc3339(fact.expires),
        "policy_set": fact.policy_set,
        "policy_digest": fact.policy_digest,
        "reasons": [dict(reason) for reason in fact.reasons],
        "evidence": dict(fact.evidence),
        "envelope_digest": fact.envelope_digest,
        "signature": problem or "verified",
        "admitted": admission.decision is not None and record.position == admission.decision.position,
    }
    trust = inquiry.trust
    for promoted in inquiry.find(Promoted, fact.model):
        if (promoted.fact.node, promoted.fact.decision) != (serving.node, fact.decision):
            continue
        trouble = trust if isinstance(trust, str) else promotion_problem(promoted.fact, trust, fact)
        if trouble:
            inquiry.hole("promotion signature", promoted.fact.cause, trouble)
        answer["promotion"] = {
            "serial": promoted.fact.serial,
            "at": rfc3339(promoted.us),
            "previous": promoted.fact.previous,
            "signature": trouble or "verified",
        }
    answer |= _later(inquiry, serving, fact)
    return answer


def _later(inquiry: Inquiry, serving: Serving, decision: DecisionMade) -> Answer:
    """Return when the node went back to the model by this decision, and when the model was withdrawn from it."""
    answer: Answer = {}
    trust = inquiry.trust
    rollbacks: list[Answer] = []
    for back in inquiry.find(RolledBack, decision.model):
        if (back.fact.node, back.fact.decision) != (serving.node, decision.decision):
            continue
        trouble = trust if isinstance(trust, str) else promotion_problem(back.fact, trust, decision)
        if trouble:
            inquiry.hole("rollback signature", back.fact.cause, trouble)
        rollbacks.append(_change(back, trouble) | {"previous": back.fact.previous})
    if rollbacks:
        answer["rollbacks"] = rollbacks
    for revoked in inquiry.find(ModelRevoked, decision.model):
        if revoked.fact.node == serving.node:
            trouble = trust if isinstance(trust, str) else stop_problem(revoked.fact, trust)
            if trouble:
                inquiry.hole("revocation signature", revoked.fact.cause, trouble)
            answer["revoked"] = _change(revoked, trouble)
    return answer


def _change(record: Recorded[RolledBack] | Recorded[ModelRevoked], trouble: str) -> Answer:
    return {
        "serial": record.fact.serial,
        "at": rfc3339(record.us),
        "by": record.fact.by,
        "reason": record.fact.reason,
        "signature": trouble or "verified",
    }


def _check_agreement(
    inquiry: Inquiry,
    serving: Serving,
    promoted: Recorded[Promoted] | Recorded[RolledBack] | None,
    decision: Recorded[DecisionMade] | None,
) -> None:
    """Note where the epoch, the promotion and the decision speak of different things."""
    assert serving.opened is not None  # noqa: S101 - asked before
    epoch, about = serving.opened.fact, serving.prediction.epoch
    if promoted and promoted.fact.model not in serving.models.values():
        inquiry.hole("models", about, f"the epoch did not serve the promoted model {promoted.fact.model}")
    if promoted and promoted.fact.serial != epoch.serial:
        inquiry.hole(
            "promotion", epoch.cause, f"the epoch says serial {epoch.serial}, the promotion {promoted.fact.serial}"
        )
    if decision is None:
        return
    if decision.fact.verdict != "approve":
        inquiry.hole(
            "decision", decision.fact.decision, f"its verdict is {decision.fact.verdict}, and yet the model served"
        )
    if decision.fact.envelope_digest != epoch.decision_digest:
        inquiry.hole("decision", decision.fact.decision, "the gate admitted by another signed decision than this one")
    if serving.opened.us > decision.fact.expires:
        inquiry.hole("decision", decision.fact.decision, "it had expired when the epoch opened")
