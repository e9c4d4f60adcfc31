"""When a decision is made again: because of what people said since, who lost the right to say it, or their time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.decision.people import NO_OF_ANY, approvals_end, required_by_trust, said_by_people
from ion.decision.spoken import approvals_given, of_people, submitters_of, with_people
from ion.errors import IonError
from ion.evidence.decisions import DecisionStatement
from ion.evidence.envelope import unverified_payload
from ion.evidence.in_toto import PAYLOAD_TYPE
from ion.evidence.parsing import MAX_INTEGER
from ion.evidence.quorum import ApprovalRule, standing
from ion.evidence.trust import ROLES
from ion.facts import ApprovalGiven, DecisionMade, NodeRunStarted

if TYPE_CHECKING:
    from ion.decision.evidence import Evidence
    from ion.decision.policy import PolicySet
    from ion.evidence.trust import Trust
    from ion.facts import ModelRecorded
    from ion.records import Recorded
    from ion.store import Candidate, Command, GovernanceStore


def newest_decision(store: GovernanceStore | Command, candidate: Candidate, node: str) -> Recorded[DecisionMade] | None:
    """Return the newest decision on a candidate for ``ion/node``, or None."""
    about = (candidate.model, candidate.run, node)
    found = store.find(DecisionMade, candidate.model, newest_first=True)
    return next((r for r in found if (r.fact.model, r.fact.run, r.fact.node) == about), None)


def newest_word(store: GovernanceStore | Command, model: str) -> int:
    """Return the position of what was last said about a model; 0 when nobody said anything."""
    found = store.find(ApprovalGiven, model, limit=1, newest_first=True)
    return found[0].position if found else 0


def governance_now(store: GovernanceStore | Command, trust: Trust | None) -> int:
    """Return the time people are counted at (µs UTC): the wall clock, floored at the latest signed time known.

    A clock that is set back revives no approval.
    """
    known = [trust.document.issued if trust else 0]
    known += [_decided_at(record) for record in store.find(DecisionMade, limit=1, newest_first=True)]
    known += [record.us for record in store.find(ApprovalGiven, limit=1, newest_first=True)]
    return max(now_us(), *known)


def _decided_at(record: Recorded[DecisionMade]) -> int:
    try:
        payload = unverified_payload(record.fact.envelope.encode(), PAYLOAD_TYPE)
        return DecisionStatement.from_payload(payload).decided
    except IonError:  # the audit says what is wrong with it
        return record.us


def reopened(
    store: GovernanceStore,
    facts: tuple[ModelRecorded, NodeRunStarted],
    newest: Recorded[DecisionMade],
    policies: PolicySet,
    trust: Trust | None,
) -> bool:
    """Say whether what people said asks for another decision on a candidate.

    One that was put off, or that people rejected, when their words now come to something else; an approved one
    when too few stand behind it, or when somebody has signed for longer.

    Args:
        store: where the words are.
        facts: of the candidate.
        newest: the newest decision on it for a node.
        policies: what decides now.
        trust: names the people.
    """
    decided = newest.fact
    at = governance_now(store, trust)
    evidence = with_people(of_people(store, *facts), store, trust, decided.node, at)
    if decided.verdict == "approve":
        return trust is not None and (
            bool(withdrawn_support(store, trust, decided))
            or (newest_word(store, decided.model) > newest.position and _prolonged(evidence, decided))
        )
    besides = required_by_trust(trust, decided.node, policies)
    names = {policy.name for policy in (*policies.policies, *besides) if policy.approvals} | {"objection", "trust"}
    said = [(str(r.get("policy")), str(r.get("verdict")), str(r.get("message"))) for r in decided.reasons]
    said = [reason for reason in said if reason[0] in names]
    says = said_by_people(evidence, policies, besides)
    if decided.verdict == "defer":
        return Counter(said) != Counter((reason.policy, str(reason.verdict), reason.message) for reason in says)
    return "reject" in {verdict for _, verdict, _ in said} and "reject" not in {reason.verdict for reason in says}


def _prolonged(evidence: Evidence, decided: DecisionMade) -> bool:
    rules = asked_by(decided)
    ends = approvals_end(evidence, rules)
    return bool(rules) and len(ends) == len(rules) and min(ends) > decided.expires


def withdrawn_support(store: GovernanceStore, trust: Trust, decided: DecisionMade) -> str:
    """Return why too few people stand behind an approving decision now; empty when enough do.

    Approvals that have only run out are left to the gate, which knows their end: nobody took them back.
    Where nobody was asked, an approver's signed no is enough.
    """
    lasting = [
        replace(given, statement=replace(given.statement, until=MAX_INTEGER))
        for given in approvals_given(store, trust, decided.model, decided.node)
    ]
    started = store.latest(NodeRunStarted, decided.run)
    makers = submitters_of(started.fact) if started else ()
    for rule in asked_by(decided) or [NO_OF_ANY]:
        found = standing(
            lasting, trust, rule, model=decided.model, node=decided.node, at=MAX_INTEGER - 1, submitters=makers
        )
        noes = [f"{given.statement.person} rejected it: {given.statement.reason}" for given in found.rejected]
        if decided.approvals and not found.met:
            why = "; ".join([*noes, *found.ignored])
            count = f"{len(found.approved)} of {rule.quorum} people in the role {rule.role} stand behind it"
            return f"{count}: {why}"[:500]
        if noes:
            return noes[0][:500]
    return ""


def asked_by(decided: DecisionMade) -> list[ApprovalRule]:
    """Return the rules of a decision; one that cannot be read is met by nobody."""
    found: list[ApprovalRule] = []
    for asked in decided.approvals:
        role = next((role for role in ROLES if role == asked.get("role")), None)
        quorum = asked.get("quorum")
        readable = role is not None and isinstance(quorum, int)
        found.append(ApprovalRule(role or "approver", quorum if readable and isinstance(quorum, int) else 0))
    return found
