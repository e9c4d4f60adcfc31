"""Whether everything that was signed is what the facts tell: decisions, changes, approvals, publications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.audit.attested import publication_problem
from ion.canonical import digest_json
from ion.errors import IonError
from ion.evidence.public_keys import load_public
from ion.evidence.trust import Trust, verify_trust
from ion.evidence.trust_root import TrustRoot
from ion.facts import (
    ApprovalGiven,
    DecisionMade,
    Fact,
    IonDefined,
    ModelRevoked,
    NodeHalted,
    PolicySetPublished,
    Promoted,
    RolledBack,
    TrustChanged,
)
from ion.graph.approved import approval_problem
from ion.graph.signed import decision_problem, people_of, promotion_problem, stop_problem, trusted
from ion.ledger import Problem

if TYPE_CHECKING:
    from ion.home import Home
    from ion.records import Record

_SIGNED = (DecisionMade, Promoted, RolledBack, NodeHalted, ModelRevoked, ApprovalGiven, PolicySetPublished)


def signature_problems(home: Home, records: list[tuple[int, Record]]) -> list[Problem]:
    """Check each signed fact under the keys that count, and each definition against its version."""
    problems = [
        Problem(position, "definition-differs", f"the definition of {record.fact.ion} does not have its version")
        for position, record in records
        if isinstance(record.fact, IonDefined) and digest_json(dict(record.fact.definition)) != record.fact.version
    ]
    signed = [(position, record.fact) for position, record in records if isinstance(record.fact, _SIGNED)]
    root = trusted(home)
    if isinstance(root, str):
        return problems + ([Problem(signed[0][0], "trust-missing", root)] if signed else [])
    decisions = {fact.decision: fact for _, fact in signed if isinstance(fact, DecisionMade)}
    trusts = _trusts(home, records)
    for position, fact in signed:
        problem = (
            _approval_problem(fact, position, trusts, people_of(home))
            if isinstance(fact, ApprovalGiven)
            else _problem(fact, root, decisions)
        )
        if problem:
            problems.append(Problem(position, "signature", f"{type(fact).__name__}: {problem}"))
    return problems


def _problem(fact: Fact, root: TrustRoot, decisions: dict[str, DecisionMade]) -> str:
    if isinstance(fact, DecisionMade):
        return decision_problem(fact, root)
    if isinstance(fact, Promoted | RolledBack):
        return promotion_problem(fact, root, decisions.get(fact.decision))
    if isinstance(fact, PolicySetPublished):
        return publication_problem(fact, root)
    return stop_problem(fact, root) if isinstance(fact, NodeHalted | ModelRevoked) else ""


def _trusts(home: Home, records: list[tuple[int, Record]]) -> list[tuple[int, Trust]]:
    """Return the trust documents the pinned root signed, each from the position on where it came into force."""
    try:
        root = TrustRoot((load_public(home.root_public),))
    except IonError:
        return []
    found: list[tuple[int, Trust]] = []
    for position, record in records:
        if isinstance(record.fact, TrustChanged):
            trust = verify_trust(record.fact.envelope.encode(), root, 0)
            if isinstance(trust, Trust):
                found.append((position, trust))
    return found


def _approval_problem(fact: ApprovalGiven, position: int, trusts: list[tuple[int, Trust]], now: Trust | None) -> str:
    """Return why an approval was not signed by who it names; who left since did sign it then."""
    then = next((trust for since, trust in reversed(trusts) if since < position), None)
    problem, _ = approval_problem(fact, now)
    return problem and approval_problem(fact, then)[0] if then else problem
