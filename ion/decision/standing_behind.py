"""Whether people still stand behind what serves: who withdraws, says no or loses the key ends it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.decision.evidence import approvals_given, submitters_of
from ion.evidence.parsing import MAX_INTEGER
from ion.evidence.quorum import ApprovalRule, standing
from ion.evidence.trust import ROLES
from ion.facts import DecisionMade, NodeRunStarted, Promoted

if TYPE_CHECKING:
    from ion.decision.promotion import Promotions
    from ion.evidence.trust import Trust
    from ion.store import GovernanceStore


def stand_down_unsupported(store: GovernanceStore, promotions: Promotions, trust: Trust) -> list[str]:
    """Take every serving model out of service that too few people stand behind now; returns the nodes.

    Approvals that have only run out are left to the gate, which knows their end: nobody took them back.

    Raises:
        IonError: as `Promotions.stand_down`.
    """
    stood_down: list[str] = []
    for node in dict.fromkeys(record.fact.node for record in store.find(Promoted)):
        current = store.current(node)
        decided = store.latest(DecisionMade, current.decision) if current.model and not current.halted else None
        problem = _problem(store, trust, decided.fact) if decided is not None else ""
        if problem and promotions.stand_down(node, current.model, reason=problem, by="policy:people"):
            stood_down.append(node)
    return stood_down


def _problem(store: GovernanceStore, trust: Trust, decided: DecisionMade) -> str:
    """Return why too few people stand behind a decision; empty when enough do, or none were asked."""
    if not decided.approvals:
        return ""
    started = store.latest(NodeRunStarted, decided.run)
    lasting = [
        replace(given, statement=replace(given.statement, until=MAX_INTEGER))
        for given in approvals_given(store, trust, decided.model, decided.node)
    ]
    for asked in decided.approvals:
        role = next(role for role in ROLES if role == asked["role"])
        quorum = asked["quorum"]
        found = standing(
            lasting,
            trust,
            ApprovalRule(role, quorum if isinstance(quorum, int) else 0),
            model=decided.model,
            node=decided.node,
            at=now_us(),
            submitters=submitters_of(started.fact) if started else (),
        )
        if not found.met:
            noes = [f"{given.statement.person} rejected it" for given in found.rejected]
            why = "; ".join([*noes, *found.ignored])
            return f"{len(found.approved)} of {quorum} people in the role {role} stand behind it: {why}"[:500]
    return ""
