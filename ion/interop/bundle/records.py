"""Which facts belong in a bundle: each by a key that holds what it must say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.canonical import digest_bytes, digest_json
from ion.evidence.provenance import DATASET
from ion.facts import (
    ApprovalGiven,
    CheckEvaluated,
    DatasetRecorded,
    DecisionMade,
    Fact,
    ModelRecorded,
    ModelRevoked,
    NodeRunEnded,
    NodeRunStarted,
    Promoted,
    RolledBack,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ion.evidence.check_results import CheckStatement
    from ion.evidence.decisions import DecisionStatement
    from ion.evidence.promotions import PromotionStatement
    from ion.evidence.provenance import ProvenanceStatement

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A fact that belongs in a bundle: its kind, what it is found by, and what `key_of` says of it."""

    kind: type[Fact]
    subject: str
    key: Key


@dataclass(frozen=True, slots=True)
class Signed:
    """The signed statements of a bundle, and the envelopes by which facts hold them."""

    decision: DecisionStatement
    provenance: ProvenanceStatement
    checks: CheckStatement | None
    promotion: PromotionStatement | None
    decision_envelope: bytes
    approval_envelopes: tuple[bytes, ...]
    promotion_envelope: bytes
    revocation_envelope: bytes


_FIELDS: dict[type[Fact], tuple[str, ...]] = {
    ModelRecorded: ("node", "model", "run"),
    NodeRunStarted: ("run", "node"),
    NodeRunEnded: ("run", "status"),
    DatasetRecorded: ("digest",),
    CheckEvaluated: ("asset", "name", "dataset"),
    DecisionMade: ("node", "model", "run"),
    ApprovalGiven: ("node", "model"),
    Promoted: ("node", "model"),
    RolledBack: ("node", "model"),
    ModelRevoked: ("node", "model"),
}


def key_of(fact: Fact) -> Key:
    """Return the kind of a fact and what a bundle needs it to say; only the kind for a fact of no use to it."""
    kind = type(fact)
    key = (kind.__name__, *(str(getattr(fact, name)) for name in _FIELDS.get(kind, ())))
    if isinstance(fact, CheckEvaluated):
        return (*key, _said(fact.severity, fact.results, passed=fact.passed))
    if isinstance(fact, DecisionMade | ApprovalGiven | Promoted | RolledBack | ModelRevoked):
        return (*key, digest_bytes(fact.envelope.encode()))
    return key


def wanted(signed: Signed) -> list[Wanted]:
    """Return the facts that must be in a bundle, each once."""
    decision, run = signed.decision, signed.decision.candidate_run
    node, model = f"{decision.ion}/{decision.node}", decision.model
    found = [
        Wanted(ModelRecorded, run, ("ModelRecorded", signed.provenance.node, model, run)),
        Wanted(NodeRunStarted, run, ("NodeRunStarted", run, signed.provenance.node)),
        Wanted(NodeRunEnded, run, ("NodeRunEnded", run, "succeeded")),
        Wanted(DecisionMade, model, ("DecisionMade", node, model, run, digest_bytes(signed.decision_envelope))),
    ]
    used = [f"sha256:{each.digest}" for each in signed.provenance.dependencies if each.algorithm == DATASET]
    found += [Wanted(DatasetRecorded, digest, ("DatasetRecorded", digest)) for digest in dict.fromkeys(used)]
    found += _checks(signed.checks)
    found += _holding(ApprovalGiven, node, model, signed.approval_envelopes)
    if signed.promotion is not None:
        kind = Promoted if signed.promotion.action == "promote" else RolledBack
        found += _holding(kind, node, model, [signed.promotion_envelope])
    if signed.revocation_envelope:
        found += _holding(ModelRevoked, node, model, [signed.revocation_envelope])
    return found


def _checks(statement: CheckStatement | None) -> list[Wanted]:
    found = []
    for each in statement.checks if statement else ():
        if each.passed is not None:
            said = _said(each.severity, each.results, passed=each.passed)
            key = ("CheckEvaluated", each.asset, each.name, each.dataset, said)
            found.append(Wanted(CheckEvaluated, each.dataset, key))
    return found


def _said(severity: str, results: Iterable[Mapping[str, object]], *, passed: bool) -> str:
    return digest_json({"passed": passed, "results": [dict(each) for each in results], "severity": severity})


def _holding(kind: type[Fact], node: str, model: str, envelopes: Iterable[bytes]) -> list[Wanted]:
    """Return facts that hold an envelope and are about the model and the node."""
    return [Wanted(kind, model, (kind.__name__, node, model, digest_bytes(each))) for each in envelopes]
