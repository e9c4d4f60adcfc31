"""Policies about people: nothing serves on a high-risk node that too few of them have signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.decision import Evidence, Policy, Verdict
from ion.evidence.quorum import ApprovalRule

if TYPE_CHECKING:
    from ion.evidence.quorum import Standing
    from ion.evidence.trust import Role

_DAY_US = 86_400_000_000


def people(quorum: int = 2, role: Role = "approver", within_days: int | None = None) -> Policy:
    """Approve when ``quorum`` distinct people in the role have signed, each with an own key; until then, wait.

    Whoever submitted the model does not count, and one signed rejection in the role rejects. A timer
    never approves: with ``within_days``, a model that is not approved by then is rejected.
    """
    rule = ApprovalRule(role, quorum)
    within_us = None if within_days is None else within_days * _DAY_US
    parameters: dict[str, object] = {"quorum": quorum, "role": role, "within_days": within_days}

    def judge(evidence: Evidence) -> tuple[Verdict, str]:
        found = evidence.standing(rule)
        if found is None:
            return "reject", "nothing says who may approve: there is no trust document"
        if not evidence.submitters:
            return "reject", "nobody knows who submitted the model, so nobody can be kept from approving an own one"
        if found.rejected:
            no = found.rejected[0].statement
            return "reject", f"{no.person} rejected it: {no.reason}"
        if found.met:
            return "approve", f"{_names(found)} approved it ({quorum} asked for)"
        missing = quorum - len(found.approved)
        waits = f"{len(found.approved)} of {quorum} approvals by people in the role {role}"
        given = f" ({_names(found)})" if found.approved else ""
        ignored = f"; not counted: {', '.join(found.ignored)}" if found.ignored else ""
        if within_us is not None and evidence.at >= evidence.made + within_us:
            return "reject", f"{waits}{given} after {within_days} days{ignored}"
        return "defer", f"{waits}{given}, {missing} more to come{ignored}"

    return Policy("people", parameters, judge, approvals=rule, within_us=within_us)


def _names(found: Standing) -> str:
    return " and ".join(given.statement.person for given in found.approved)
