"""What people say to a candidate, as a verdict: enough approve, one says no, or it waits. A timer only denies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.decision.policy import Policy, Reason
from ion.evidence.decisions import RequiredApprovals
from ion.evidence.quorum import ApprovalRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.decision.evidence import Evidence
    from ion.decision.policy import PolicySet, Verdict
    from ion.evidence.quorum import Standing
    from ion.evidence.trust import Trust

_DAY_US = 86_400_000_000
NO_OF_ANY = ApprovalRule("approver", 1)
"""Whose no counts where nobody was asked."""


def asking(name: str, rule: ApprovalRule, within_days: int | None = None) -> Policy:
    """Return the policy that a rule about people is met.

    Args:
        name: of the policy.
        rule: how many people in which role.
        within_days: how long after the model was recorded it waits for them; then it rejects. None waits for good.
    """
    within_us = None if within_days is None else within_days * _DAY_US
    parameters: dict[str, object] = {"quorum": rule.quorum, "role": rule.role, "within_days": within_days}

    def judge(evidence: Evidence) -> tuple[Verdict, str]:
        return _judged(evidence, rule, within_us)

    return Policy(name, parameters, judge, approvals=rule, within_us=within_us)


def required_by_trust(trust: Trust | None, node: str, policies: PolicySet) -> tuple[Policy, ...]:
    """Return what the trust document asks of people for ``ion/node`` beyond what the policy set asks."""
    required = trust.requirements(node) if trust else ()
    return tuple(
        asking("trust", ApprovalRule(each.role, each.quorum))
        for each in required
        if not any(rule.role == each.role and rule.quorum >= each.quorum for rule in policies.approvals)
    )


def asked_of_people(policies: PolicySet, besides: Sequence[Policy]) -> tuple[ApprovalRule, ...]:
    """Return what the policy set and the policies ``besides`` ask of people, each rule once."""
    return tuple(dict.fromkeys(p.approvals for p in (*policies.policies, *besides) if p.approvals is not None))


def objection(evidence: Evidence, rules: Sequence[ApprovalRule]) -> Reason | None:
    """Return an approver's signed no to a candidate that nobody had to approve; None when there is none.

    Where people are asked, their own rule says so.
    """
    if any(rule.role == NO_OF_ANY.role for rule in rules):
        return None
    found = evidence.standing(NO_OF_ANY)
    if found is None or not found.rejected:
        return None
    return Reason("objection", "reject", _no(found))


def said_by_people(evidence: Evidence, policies: PolicySet, besides: Sequence[Policy]) -> tuple[Reason, ...]:
    """Return what the policies about people say, without the others."""
    asking_people = [policy for policy in (*policies.policies, *besides) if policy.approvals]
    says = [policy.evaluate(evidence) for policy in asking_people]
    no = objection(evidence, asked_of_people(policies, besides))
    return (*says, no) if no else tuple(says)


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


def _judged(evidence: Evidence, rule: ApprovalRule, within_us: int | None) -> tuple[Verdict, str]:
    found = evidence.standing(rule)
    if found is None:
        return "reject", "nothing says who may approve: there is no trust document"
    if not evidence.submitters:
        return "reject", "nobody knows who submitted the model, so nobody can be kept from approving an own one"
    if found.rejected:
        return "reject", _no(found)
    if found.met:
        return "approve", f"{_names(found)} approved it ({rule.quorum} asked for)"
    counted = f"{len(found.approved)} of {rule.quorum} approvals by people in the role {rule.role}"
    given = f" ({_names(found)})" if found.approved else ""
    ignored = f"; not counted: {', '.join(found.ignored)}" if found.ignored else ""
    if within_us is not None and evidence.at >= evidence.made + within_us:
        return "reject", f"{counted}{given} after {within_us // _DAY_US} days{ignored}"
    return "defer", f"{counted}{given}, {rule.quorum - len(found.approved)} more to come{ignored}"


def _no(found: Standing) -> str:
    said = found.rejected[0].statement
    return f"{said.person} rejected it: {said.reason}"


def _names(found: Standing) -> str:
    return " and ".join(given.statement.person for given in found.approved)
