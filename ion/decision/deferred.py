"""Decisions that were put off until people have spoken: what was asked of them, and when to decide again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.decision.policy import Reason
from ion.errors import IonError
from ion.evidence.decisions import RequiredApprovals
from ion.evidence.quorum import ApprovalRule
from ion.facts import ApprovalGiven, DecisionMade, ModelRecorded, NodeRunStarted, TrustChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ion.decision.evidence import Evidence
    from ion.decision.policy import PolicySet
    from ion.evidence.trust import Trust
    from ion.records import Recorded
    from ion.store import Candidate, Command, GovernanceStore


def newest_decision(store: GovernanceStore | Command, candidate: Candidate, node: str) -> Recorded[DecisionMade] | None:
    """Return the newest decision on a candidate for ``ion/node``, or None."""
    about = (candidate.model, candidate.run, node)
    found = store.find(DecisionMade, candidate.model, newest_first=True)
    return next((r for r in found if (r.fact.model, r.fact.run, r.fact.node) == about), None)


def overtaken(store: GovernanceStore, decided: Recorded[DecisionMade], policy_set: Callable[[str], PolicySet]) -> bool:
    """Say whether a deferring decision may now be another: people or the trust document changed, or time is up."""
    fact = decided.fact
    given = store.find(ApprovalGiven, fact.model, after=decided.position)
    if any(record.fact.node == fact.node for record in given) or store.find(
        TrustChanged, after=decided.position, limit=1
    ):
        return True
    deadline = deadline_of(store, fact, policy_set)
    return deadline is not None and now_us() >= deadline


def deadline_of(store: GovernanceStore, decided: DecisionMade, policy_set: Callable[[str], PolicySet]) -> int | None:
    """Return when the policies stop waiting for people (µs UTC), or None when they never do."""
    judging = store.latest(NodeRunStarted, decided.decision)
    reference = str(judging.fact.config.get("policy_reference", "")) if judging else ""
    try:
        waits = [policy.within_us for policy in policy_set(reference).policies if policy.within_us is not None]
    except IonError:  # the set is gone: whoever decides next will say so
        return None
    made = [r.us for r in store.find(ModelRecorded, decided.model) if r.fact.run == decided.run]
    return min(made) + min(waits) if waits and made else None


def asked_of_people(policies: PolicySet, trust: Trust | None, node: str) -> tuple[ApprovalRule, ...]:
    """Return what the policy set asks of people, and what the trust document asks for the node besides."""
    asked = [ApprovalRule(each.role, each.quorum) for each in trust.requirements(node)] if trust else []
    return tuple(dict.fromkeys((*policies.approvals, *asked)))


def required_by_trust(evidence: Evidence, policies: PolicySet, rules: Sequence[ApprovalRule]) -> tuple[Reason, ...]:
    """Return a reason for each rule that only the trust document sets: approved when met, else put off."""
    found: list[Reason] = []
    for rule in rules:
        counted = evidence.standing(rule)
        if rule in policies.approvals or counted is None:
            continue
        count = f"{len(counted.approved)} of {rule.quorum} approvals by people in the role {rule.role}"
        if counted.rejected:
            no = counted.rejected[0].statement
            found.append(Reason("trust", "reject", f"{no.person} rejected it: {no.reason}"))
        elif counted.met:
            found.append(Reason("trust", "approve", f"{count}, as the trust document asks"))
        else:
            ignored = f"; not counted: {', '.join(counted.ignored)}" if counted.ignored else ""
            found.append(Reason("trust", "defer", f"{count}; the trust document asks for them{ignored}"))
    return tuple(found)


def required_approvals(evidence: Evidence, rules: Sequence[ApprovalRule]) -> list[tuple[RequiredApprovals, list[str]]]:
    """Return what each rule asked of people with the approvals that count, and who gave them."""
    found: list[tuple[RequiredApprovals, list[str]]] = []
    for rule in rules:
        counted = evidence.standing(rule)
        approved = counted.approved if counted else ()
        required = RequiredApprovals(rule.role, rule.quorum, tuple(given.digest for given in approved))
        found.append((required, [given.statement.person for given in approved]))
    return found


def approvals_end(evidence: Evidence, rules: Sequence[ApprovalRule]) -> list[int]:
    """Return until when each rule is met by what people have signed so far (µs UTC)."""
    standings = [evidence.standing(rule) for rule in rules]
    return [counted.until for counted in standings if counted and counted.met]
