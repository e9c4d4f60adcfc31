"""Whether what a bundle proves still holds: now, and under the trust document of now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.manifest import Manifest
from ion.evidence.quorum import ApprovalRule, standing
from ion.evidence.trust_document import ROLES
from ion.interop.bundle import layout
from ion.interop.bundle.findings import Problem
from ion.interop.bundle.signed import Statements
from ion.ledger import verify_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.evidence.decisions import DecisionStatement, RequiredApprovals
    from ion.evidence.trust import Trust
    from ion.evidence.trust_document import Requirement


def holding_problems(files: Mapping[str, bytes], trust: Trust, decision: DecisionStatement, at: int) -> list[Problem]:
    """Find what does not hold at the time ``at`` (µs UTC) under ``trust``."""
    if at >= trust.document.expires:
        return [Problem(layout.TRUST, f"the trust document expired {rfc3339(trust.document.expires)}")]
    try:
        problems = _signatures(Statements(files, trust), decision)
    except IonError as error:  # a trust document without keys of governance or people
        return [Problem(layout.TRUST, error.message)]
    if at >= decision.expires:
        problems.append(Problem(layout.DECISION, f"the decision expired {rfc3339(decision.expires)}"))
    if layout.REVOCATION in files:
        problems.append(Problem(layout.REVOCATION, "the model was revoked for this node"))
    return problems + _people(Statements(files, trust), decision, at)


def _signatures(said: Statements, decision: DecisionStatement) -> list[Problem]:
    """Verify all signatures again: keys may have been revoked since, for the time they signed at, too."""
    answers = (said.decision(), said.provenance(decision), said.checks(decision))
    problems = [answer for answer in answers if isinstance(answer, Problem)]
    problems += said.promotion(decision)[1]
    checkpoint = verify_checkpoint(said.files.get(layout.CHECKPOINT, b""), said.trust.root("ledger"))
    if isinstance(checkpoint, Unverified):
        problems.append(Problem(layout.CHECKPOINT, checkpoint.reason))
    try:
        manifest = Manifest.from_bytes(said.files.get(layout.MANIFEST, b""))
    except IonError as error:
        return [*problems, Problem(layout.MANIFEST, error.message)]
    return problems + said.model_signature(manifest)


def _people(said: Statements, decision: DecisionStatement, at: int) -> list[Problem]:
    """Count the people again, as of now."""
    given, problems = said.approvals(decision)
    node = f"{decision.ion}/{decision.node}"
    rules: list[RequiredApprovals | Requirement] = [*decision.approvals, *said.trust.requirements(node)]
    for asked in rules:
        role = next((role for role in ROLES if role == asked.role), None)
        if role is None:
            problems.append(Problem(layout.DECISION, f"it asks for people in an unknown role, {asked.role}"[:200]))
            continue
        rule = ApprovalRule(role, asked.quorum)
        stands = standing(
            given, said.trust, rule, model=decision.model, node=node, at=at, submitters=decision.submitters
        )
        if not stands.met:
            told = f"{len(stands.approved)} of {rule.quorum} approvals by a {role} count"
            problems.append(Problem(layout.APPROVALS, "; ".join((told, *stands.ignored))[:500]))
    return problems
