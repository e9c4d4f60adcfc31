"""Whether every decision and every change of what serves is what was signed by a trusted key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.canonical import digest_json
from ion.facts import DecisionMade, Fact, IonDefined, ModelRevoked, NodeHalted, Promoted, RolledBack
from ion.graph.signed import decision_problem, promotion_problem, stop_problem, trusted
from ion.ledger import Problem

if TYPE_CHECKING:
    from ion.evidence.trust_root import TrustRoot
    from ion.home import Home
    from ion.records import Record

_SIGNED = (DecisionMade, Promoted, RolledBack, NodeHalted, ModelRevoked)


def signature_problems(home: Home, records: list[tuple[int, Record]]) -> list[Problem]:
    """Check each signed fact under the trusted key, and each definition against its version."""
    problems = [
        Problem(position, "definition-differs", f"the definition of {record.fact.ion} does not have its version")
        for position, record in records
        if isinstance(record.fact, IonDefined) and digest_json(dict(record.fact.definition)) != record.fact.version
    ]
    signed = [(position, record.fact) for position, record in records if isinstance(record.fact, _SIGNED)]
    trust = trusted(home)
    if isinstance(trust, str):
        return problems + ([Problem(signed[0][0], "trust-missing", trust)] if signed else [])
    decisions = {fact.decision: fact for _, fact in signed if isinstance(fact, DecisionMade)}
    for position, fact in signed:
        problem = _problem(fact, trust, decisions)
        if problem:
            problems.append(Problem(position, "signature", f"{type(fact).__name__}: {problem}"))
    return problems


def _problem(fact: Fact, trust: TrustRoot, decisions: dict[str, DecisionMade]) -> str:
    if isinstance(fact, DecisionMade):
        return decision_problem(fact, trust)
    if isinstance(fact, Promoted | RolledBack):
        return promotion_problem(fact, trust, decisions.get(fact.decision))
    return stop_problem(fact, trust) if isinstance(fact, NodeHalted | ModelRevoked) else ""
