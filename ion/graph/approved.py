"""Who approved: the people whose signed statements a decision rests on, each verified again, or nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.clock import rfc3339
from ion.errors import IonError
from ion.evidence.approvals import Given, verify_approval
from ion.evidence.envelope import Unverified
from ion.evidence.quorum import ApprovalRule, standing
from ion.evidence.statements import verify_decision
from ion.evidence.trust import ROLES
from ion.facts import ApprovalGiven

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.evidence.trust import Trust
    from ion.facts import DecisionMade
    from ion.graph.inquiry import Answer, Inquiry
    from ion.records import Recorded


def approvals_of(inquiry: Inquiry, decided: Recorded[DecisionMade]) -> list[Answer]:
    """Return by whom a model was approved; under an SLA that is the policy set, and the answer says that no person did.

    An approval that is missing, does not verify or does not count is a hole in the inquiry.
    """
    fact = decided.fact
    answer: Answer = {
        "policy_set": fact.policy_set,
        "policy_digest": fact.policy_digest,
        "decision": fact.decision,
        "at": rfc3339(decided.us),
        "expires": rfc3339(fact.expires),
    }
    if fact.automatic:
        label = f"automatic, under the SLA of policy set {fact.policy_set}"
        return [{"kind": "automatic", "label": label, **answer, "people": []}]
    return [_by_people(inquiry, fact, answer, asked) for asked in fact.approvals]


def _by_people(inquiry: Inquiry, fact: DecisionMade, answer: Answer, asked: Mapping[str, object]) -> Answer:
    named = asked.get("envelopes")
    digests = [_digest(each) for each in named] if isinstance(named, list | tuple) else []
    records = {r.fact.envelope_digest: r for r in inquiry.find(ApprovalGiven, fact.model)}
    people = []
    given: list[Given] = []
    for digest in digests:
        record = records.get(digest)
        if record is None:
            inquiry.hole("approval", fact.decision, f"no fact holds the approval {digest} that the decision names")
            continue
        told, verified = _person(inquiry, record)
        people.append(told)
        given += [verified] if verified else []
    problem = _problem(inquiry, fact, asked, given)
    if problem:
        inquiry.hole("approvals", fact.decision, problem)
    names = " and ".join(str(person["person"]) for person in people) or "nobody"
    label = f"approved by {names}; {asked['quorum']} in the role {asked['role']} were asked for"
    return {
        "kind": "people",
        "label": label,
        **answer,
        "role": asked["role"],
        "quorum": asked["quorum"],
        "people": people,
        "problem": problem,
    }


def _person(inquiry: Inquiry, record: Recorded[ApprovalGiven]) -> tuple[Answer, Given | None]:
    """Return what is told of one approval, and the statement if its signature holds and the fact says the same."""
    fact = record.fact
    problem, given = approval_problem(fact, inquiry.people)
    if problem:
        inquiry.hole("approval signature", fact.approval, problem)
    known = inquiry.people.person(fact.person) if inquiry.people else None
    told: Answer = {
        "approval": fact.approval,
        "person": fact.person,
        "name": known.name if known else "",
        "roles": list(known.roles) if known else [],
        "word": fact.verdict,
        "reason": fact.reason,
        "at": rfc3339(fact.issued),
        "until": rfc3339(fact.until),
        "key": fact.key,
        "envelope_digest": fact.envelope_digest,
        "signature": problem or "verified",
    }
    return told, given


def approval_problem(fact: ApprovalGiven, trust: Trust | None) -> tuple[str, Given | None]:
    """Return why a person's word is not what was signed (empty when it is), and the verified statement."""
    if trust is None:
        return "nothing says whose signatures count", None
    envelope = fact.envelope.encode()
    if digest_bytes(envelope) != fact.envelope_digest:
        return "its envelope does not have the digest the fact names", None
    answer = verify_approval(envelope, trust)
    if isinstance(answer, Unverified):
        return answer.reason, None
    said = answer.statement
    signed = (said.id, said.address, said.model, said.person, said.word, said.reason, said.issued, said.until)
    told = (fact.approval, fact.node, fact.model, fact.person, fact.verdict, fact.reason, fact.issued, fact.until)
    if (*signed, answer.key_id) != (*told, fact.key):
        return "the fact says something else than what was signed", None
    return "", answer


def _problem(inquiry: Inquiry, fact: DecisionMade, asked: Mapping[str, object], given: Sequence[Given]) -> str:
    """Return why the approvals did not suffice when it was decided; empty when they did."""
    if inquiry.people is None:
        return "nothing says whose signatures count"
    role = next((role for role in ROLES if role == asked.get("role")), None)
    quorum = asked.get("quorum")
    if role is None or not isinstance(quorum, int):
        return "the decision does not say what was asked of people"
    try:
        decision = verify_decision(fact.envelope.encode(), inquiry.people.root("decision"))
    except IonError as error:
        return error.message
    if isinstance(decision, Unverified):
        return decision.reason
    found = standing(
        given,
        inquiry.people,
        ApprovalRule(role, quorum),
        model=fact.model,
        node=fact.node,
        at=decision.decided,
        submitters=decision.submitters,
    )
    if found.met:
        return ""
    return "; ".join([f"{len(found.approved)} of {quorum} approvals count", *found.ignored])


def _digest(value: object) -> str:
    return f"sha256:{value.get('sha256', '')}" if isinstance(value, dict) else ""
