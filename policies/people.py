"""Policies about people: nothing serves on a high-risk node that too few of them have signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.decision import ApprovalRule, asking

if TYPE_CHECKING:
    from ion.decision import Policy
    from ion.evidence.trust import Role


def people(quorum: int = 2, role: Role = "approver", within_days: int | None = None) -> Policy:
    """Approve when ``quorum`` distinct people in the role have signed, each with an own key; until then, wait.

    Whoever submitted the model does not count, and one signed rejection in the role rejects. A timer
    never approves: with ``within_days``, a model that is not approved by then is rejected.
    """
    return asking("people", ApprovalRule(role, quorum), within_days)
