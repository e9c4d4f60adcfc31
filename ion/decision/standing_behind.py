"""Whether people still stand behind what serves: who withdraws, says no or loses the key ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.decision.reopening import withdrawn_support
from ion.facts import DecisionMade, Promoted

if TYPE_CHECKING:
    from ion.decision.promotion import Promotions
    from ion.evidence.trust import Trust
    from ion.store import Current, GovernanceStore


def stand_down_unsupported(store: GovernanceStore, promotions: Promotions, trust: Trust) -> list[Current]:
    """Take every serving model out of service that too few people stand behind now; returns what served.

    Raises:
        IonError: as `Promotions.stand_down`.
    """
    stood_down: list[Current] = []
    for node in dict.fromkeys(record.fact.node for record in store.find(Promoted)):
        current = store.current(node)
        decided = store.latest(DecisionMade, current.decision) if current.model and not current.halted else None
        problem = withdrawn_support(store, trust, decided.fact) if decided is not None else ""
        if problem and promotions.stand_down(node, current.model, reason=problem, by="policy:people"):
            stood_down.append(current)
    return stood_down
