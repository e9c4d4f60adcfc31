"""Whether a signed fact is what its signature covers: envelope verified, and every field the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.decision.in_force import action_of
from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.statements import verify_decision, verify_promotion
from ion.evidence.trust import load_trust
from ion.facts import ModelRevoked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.evidence.statements import DecisionStatement
    from ion.evidence.trust import Trust
    from ion.evidence.trust_root import TrustRoot
    from ion.facts import DecisionMade, NodeHalted, Promoted, RolledBack
    from ion.home import Home

APPROVAL = "ion:approval:"
"""How the evidence of a decision names what somebody signed: ``ion:approval:<person>:<id>``."""


def trusted(home: Home) -> TrustRoot | str:
    """Return the keys this deployment trusts for decisions, or why there are none."""
    try:
        return load_trust(home).root("decision")
    except IonError as error:
        return error.message


def people_of(home: Home) -> Trust | None:
    """Return the trust document, which names the people who sign, or None where there is none to believe."""
    try:
        return load_trust(home)
    except IonError:
        return None


def decision_problem(fact: DecisionMade, trust: TrustRoot) -> str:
    """Return why a decision is not what was signed; empty when it is."""
    envelope = fact.envelope.encode()
    if digest_bytes(envelope) != fact.envelope_digest:
        return "its envelope does not have the digest the fact names"
    statement = verify_decision(envelope, trust)
    if isinstance(statement, Unverified):
        return statement.reason
    signed = {
        "node": f"{statement.ion}/{statement.node}",
        "model": statement.model,
        "run": statement.candidate_run,
        "verdict": statement.verdict,
        "reasons": list(statement.reasons),
        "policy_set": statement.policy_uri,
        "policy_digest": statement.policy_digest,
        "evidence": {item.uri: item.digest for item in statement.evidence},
        "expires": statement.expires,
        "automatic": statement.automatic,
        "approvals": [{**each.to_json(), "people": _people(statement, each.envelopes)} for each in statement.approvals],
    }
    told = {
        "node": fact.node,
        "model": fact.model,
        "run": fact.run,
        "verdict": fact.verdict,
        "reasons": [f"{reason.get('policy')}: {reason.get('message')}" for reason in fact.reasons],
        "policy_set": f"policy:{fact.policy_set}",
        "policy_digest": fact.policy_digest,
        "evidence": {f"ion:{name}": digest for name, digest in fact.evidence.items()},
        "expires": fact.expires,
        "automatic": fact.automatic,
        "approvals": [dict(each) for each in fact.approvals],
    }
    return _difference(told, signed)


def _people(statement: DecisionStatement, envelopes: Sequence[str]) -> list[str]:
    """Return whose approvals these are, as the signed evidence names them."""
    named = {item.digest: item.uri.rpartition(":")[0] for item in statement.evidence if item.uri.startswith(APPROVAL)}
    return [named.get(digest, "").removeprefix(APPROVAL) for digest in envelopes]


def promotion_problem(fact: Promoted | RolledBack, trust: TrustRoot, decision: DecisionMade | None) -> str:
    """Return why a promotion or rollback is not what was signed, or not what ``decision`` allowed; empty when it is."""
    statement = verify_promotion(fact.envelope.encode(), trust)
    if isinstance(statement, Unverified):
        return statement.reason
    if decision is None:
        return f"no fact holds the decision {fact.decision} it rests on"
    signed = {
        "action": statement.action,
        "node": statement.address,
        "model": statement.model,
        "serial": statement.serial,
        "cause": statement.cause,
        "decision": statement.decision,
    }
    told = {
        "action": action_of(fact),
        "node": fact.node,
        "model": fact.model,
        "serial": fact.serial,
        "cause": fact.cause,
        "decision": decision.envelope_digest,
    }
    allowed = {"verdict": decision.verdict, "node": decision.node, "model": decision.model, "run": decision.run}
    wanted = {"verdict": "approve", "node": fact.node, "model": fact.model, "run": fact.run}
    return _difference(told, signed) or _difference(wanted, allowed, "its decision says")


def stop_problem(fact: NodeHalted | ModelRevoked, trust: TrustRoot) -> str:
    """Return why a halt or a revocation is not what was signed; empty when it is."""
    statement = verify_promotion(fact.envelope.encode(), trust)
    if isinstance(statement, Unverified):
        return statement.reason
    signed = {
        "action": statement.action,
        "node": statement.address,
        "model": statement.model,
        "serial": statement.serial,
        "cause": statement.cause,
    }
    model = fact.model if isinstance(fact, ModelRevoked) else None
    told = {
        "action": action_of(fact),
        "node": fact.node,
        "model": model,
        "serial": fact.serial,
        "cause": fact.cause,
    }
    return _difference(told, signed)


def _difference(told: Mapping[str, object], signed: Mapping[str, object], where: str = "the signature covers") -> str:
    for name, value in told.items():
        if signed[name] != value:
            return f"{name} is {value!r}, {where} {signed[name]!r}"[:300]
    return ""
