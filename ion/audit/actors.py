"""Who stands behind a fact, and what it rests on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ion.canonical import digest_bytes
from ion.facts import (
    AdmissionRefused,
    AlertRaised,
    ApprovalGiven,
    CaptureErased,
    CheckEvaluated,
    DecisionMade,
    EpochOpened,
    Fact,
    ModelRecorded,
    ModelRevoked,
    NodeHalted,
    NodeRunStarted,
    PolicySetPublished,
    Promoted,
    RetentionApplied,
    ReviewDrawn,
    RolledBack,
    TrustChanged,
)

if TYPE_CHECKING:
    from ion.evidence.trust import Trust
    from ion.records import Recorded

BY_USER = (CaptureErased, ModelRevoked, NodeHalted, PolicySetPublished, RetentionApplied, RolledBack, TrustChanged)
"""Facts whose ``by`` is the operating system's name of a user."""

Kind = Literal["person", "user", "submitter", "policy", "node run", "program"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something.

    Args:
        kind: a ``person`` signed; a ``user`` ran a command and a ``submitter`` started a run, both by the name
            the operating system or the program gave; a ``policy`` decided; a ``node run`` or another ``program``.
        name: as kept.
        key: id of the key that the signature names, where there is one.
    """

    kind: Kind
    name: str
    key: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"kind": self.kind, "name": self.name, "key": self.key or None}


def actor_of(record: Recorded[Fact], trust: Trust | None) -> Actor:
    """Return who did what a fact tells, and the key its signature names; whether that one signed is said elsewhere."""
    fact = record.fact
    key = _key_of(str(getattr(fact, "envelope", "")))
    if isinstance(fact, ApprovalGiven):
        known = trust.person_of(key) if trust else None
        return Actor("person", known.id if known and known.id == fact.person else fact.person, key)
    if isinstance(fact, BY_USER):
        return Actor("user", fact.by, key) if fact.by else Actor("program", record.agent, key)
    if isinstance(fact, NodeRunStarted):
        return Actor("submitter", fact.submitter) if fact.submitter else Actor("program", record.agent)
    if isinstance(fact, DecisionMade):
        return Actor("policy", fact.policy_set, key)
    if isinstance(fact, Promoted | ReviewDrawn):
        return Actor("policy", f"decision {fact.decision}", key)
    run = getattr(fact, "run", "")
    return Actor("node run", str(run)) if run else Actor("program", record.agent, key)


def evidence_of(fact: Fact) -> dict[str, str]:
    """Return name → digest of what a fact rests on: what was decided on, signed, read or named."""
    found: dict[str, object] = {}
    envelope = str(getattr(fact, "envelope", ""))
    if envelope:
        found["envelope"] = digest_bytes(envelope.encode())
    if isinstance(fact, DecisionMade):
        found |= {"policy set": fact.policy_digest, **fact.evidence}
        asked = [str(each) for rule in fact.approvals for each in _list(rule.get("envelopes"))]
        found |= {f"approval {number}": digest for number, digest in enumerate(asked, 1)}
    elif isinstance(fact, ModelRecorded):
        found |= {"model": fact.model, **fact.datasets}
    elif isinstance(fact, CheckEvaluated):
        found["dataset"] = fact.dataset
    elif isinstance(fact, EpochOpened):
        found |= {"decision": fact.decision_digest, **fact.models}
    elif isinstance(fact, AdmissionRefused):
        found["pointer"] = fact.pointer_digest
    elif isinstance(fact, NodeRunStarted):
        found["source"] = fact.code.get("source_digest", "")
    elif isinstance(fact, AlertRaised):
        found["scope"] = fact.scope
    else:
        found |= {name: getattr(fact, name, "") for name in ("model", "digest", "root")}
    return {name: str(digest) for name, digest in found.items() if str(digest).startswith("sha256:")}


def _key_of(envelope: str) -> str:
    """Return the key id an envelope names, whoever signed it; empty where there is none."""
    try:
        return str(json.loads(envelope)["signatures"][0]["keyid"]) if envelope else ""
    except (ValueError, KeyError, IndexError, TypeError):
        return ""


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []
