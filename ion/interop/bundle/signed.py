"""The signed statements of a bundle under a trust document: each verified, and all about one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.evidence.approvals import Given, verify_approval
from ion.evidence.check_results import verify_checks
from ion.evidence.envelope import Unverified
from ion.evidence.grounds import Grounds, uphold
from ion.evidence.model_signature import model_signature_problem
from ion.evidence.provenance import DATASET, verify_provenance
from ion.evidence.statements import verify_decision, verify_promotion
from ion.interop.bundle import layout
from ion.interop.bundle.findings import Problem
from ion.interop.bundle.records import Signed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.evidence.check_results import CheckStatement
    from ion.evidence.decisions import DecisionStatement
    from ion.evidence.manifest import Manifest
    from ion.evidence.promotions import PromotionStatement
    from ion.evidence.provenance import ProvenanceStatement
    from ion.evidence.trust import Trust

_NAMED = {
    "ion:provenance": layout.PROVENANCE,
    "ion:checks": layout.CHECKS,
    "ion:model-signature": layout.SIGNATURE,
}
_APPROVAL, _DATASET, _CHECK = "ion:approval:", "ion:dataset:", "ion:check:"


@dataclass(frozen=True, slots=True)
class Statements:
    """Reads the statements in ``files`` (path → content) as far as ``trust`` lets them be believed."""

    files: Mapping[str, bytes]
    trust: Trust

    def decision(self) -> DecisionStatement | Problem:
        """Return the decision, if it approves."""
        said = verify_decision(self.files.get(layout.DECISION, b""), self.trust.root("decision"))
        if isinstance(said, Unverified):
            return Problem(layout.DECISION, said.reason)
        return said if said.verdict == "approve" else Problem(layout.DECISION, f"the verdict is {said.verdict}")

    def named(self, decision: DecisionStatement) -> list[Problem]:
        """Find files that are not those the decision names by digest, and evidence that disagrees with them."""
        digests = {item.uri: item.digest for item in decision.evidence}
        problems: list[Problem] = []
        for uri, path in _NAMED.items():
            held = digest_bytes(self.files[path]) if path in self.files else ""
            if uri not in digests and path == layout.CHECKS and held:
                problems.append(Problem(path, "the decision names no check results"))
            if uri in digests and held != digests[uri]:
                problems.append(Problem(path, "it is not the file that the decision names by digest"))
        if "ion:provenance" not in digests:
            problems.append(Problem(layout.DECISION, "it names no provenance"))
        if digests.get("ion:model") != decision.model:
            problems.append(Problem(layout.DECISION, "its evidence is of another model"))
        return problems

    def approvals(self, decision: DecisionStatement) -> tuple[list[Given], list[Problem]]:
        """Return what people signed, and the files that are not their word on this model for this node."""
        given: list[Given] = []
        found = {path for path in self.files if path.startswith(layout.APPROVALS)}
        absent = sorted(_approvals_of(decision) - found)
        problems = [Problem(path, "the decision names it, and it is not there") for path in absent]
        for path in sorted(found):
            answer = verify_approval(self.files[path], self.trust)
            if digest_bytes(self.files[path]) != layout.approval_digest(path):
                problems.append(Problem(path, "it is not the approval that its name says"))
            elif isinstance(answer, Unverified):
                problems.append(Problem(path, answer.reason))
            elif (answer.statement.model, answer.statement.address) != (
                decision.model,
                f"{decision.ion}/{decision.node}",
            ):
                problems.append(Problem(path, f"{answer.statement.person} speaks of another model or node"))
            else:
                given.append(answer)
        return given, problems

    def grounds(self, decision: DecisionStatement) -> list[Problem]:
        """Return why the gate would not take decision, approvals and provenance together; empty when it would.

        What people said that the decision does not name, they said later.
        """
        steps: list[str] = []
        envelopes = tuple(self.files[path] for path in sorted(_approvals_of(decision)) if path in self.files)
        provenance = self.files.get(layout.PROVENANCE, b"")
        grounds = Grounds(decision, self.files[layout.DECISION], envelopes, provenance)
        node = f"{decision.ion}/{decision.node}"
        answer = uphold(grounds, self.trust, model=decision.model, node=node, at=steps.append)
        if not isinstance(answer, Unverified):
            return []
        file = {"approvals": layout.APPROVALS, "provenance": layout.PROVENANCE}.get(steps[-1], layout.DECISION)
        return [Problem(file, answer.reason)]

    def provenance(self, decision: DecisionStatement) -> ProvenanceStatement | Problem:
        """Return where the model came from, if that is the candidate and the data that were decided on."""
        said = verify_provenance(self.files.get(layout.PROVENANCE, b""), self.trust.root("decision"))
        if isinstance(said, Unverified):
            return Problem(layout.PROVENANCE, said.reason)
        if (said.model, said.run) != (decision.model, decision.candidate_run):
            return Problem(layout.PROVENANCE, "it is of another model or node run")
        used = {f"sha256:{each.digest}" for each in said.dependencies if each.algorithm == DATASET}
        if used != {item.digest for item in decision.evidence if item.uri.startswith(_DATASET)}:
            return Problem(layout.PROVENANCE, "it names other datasets than the decision")
        return said

    def checks(self, decision: DecisionStatement) -> CheckStatement | Problem | None:
        """Return the results of the checks, if they are those decided on; None when none were required."""
        decided = {item.digest for item in decision.evidence if item.uri.startswith(_CHECK)}
        if layout.CHECKS not in self.files:
            return Problem(layout.CHECKS, "the decision names results of checks") if decided else None
        said = verify_checks(self.files[layout.CHECKS], self.trust.root("decision"))
        if isinstance(said, Unverified):
            return Problem(layout.CHECKS, said.reason)
        if (said.model, said.run) != (decision.model, decision.candidate_run):
            return Problem(layout.CHECKS, "they are of another model or node run")
        if decided != {each.evidence for each in said.checks if each.passed is not None}:
            return Problem(layout.CHECKS, "the decision rests on other results")
        return said

    def model_signature(self, manifest: Manifest) -> list[Problem]:
        """Return why the model's signature does not hold; empty when it does."""
        data = self.files.get(layout.SIGNATURE, b"")
        problem = model_signature_problem(data, manifest, self.trust.document.models)
        return [Problem(layout.SIGNATURE, problem)] if problem else []

    def promotion(self, decision: DecisionStatement) -> tuple[PromotionStatement | None, list[Problem]]:
        """Return the promotion or rollback that rests on the decision, and what is wrong with it or a revocation."""
        problems: list[Problem] = []
        found: dict[str, PromotionStatement] = {}
        node = f"{decision.ion}/{decision.node}"
        for path in (layout.PROMOTION, layout.REVOCATION):
            if path in self.files:
                said = verify_promotion(self.files[path], self.trust.root("decision"))
                if isinstance(said, Unverified):
                    problems.append(Problem(path, said.reason))
                elif (said.address, said.model) != (node, decision.model):
                    problems.append(Problem(path, "it is about another model or node"))
                elif (said.action == "revoke") != (path == layout.REVOCATION):
                    problems.append(Problem(path, f"it is another kind of statement: {said.action}"))
                else:
                    found[path] = said
        promotion = found.get(layout.PROMOTION)
        if promotion is not None and promotion.decision != digest_bytes(self.files[layout.DECISION]):
            problems.append(Problem(layout.PROMOTION, "it rests on another decision"))
        return promotion, problems

    def signed(
        self,
        decision: DecisionStatement,
        provenance: ProvenanceStatement,
        checks: CheckStatement | None,
        promotion: PromotionStatement | None,
    ) -> Signed:
        """Return the statements with their envelopes, as the ledger must hold them."""
        approvals = (data for path, data in sorted(self.files.items()) if path.startswith(layout.APPROVALS))
        return Signed(
            decision=decision,
            provenance=provenance,
            checks=checks,
            promotion=promotion,
            decision_envelope=self.files[layout.DECISION],
            approval_envelopes=tuple(approvals),
            promotion_envelope=self.files.get(layout.PROMOTION, b""),
            revocation_envelope=self.files.get(layout.REVOCATION, b""),
        )


def _approvals_of(decision: DecisionStatement) -> set[str]:
    """Return where the statements of people lie that the decision names."""
    named = [digest for asked in decision.approvals for digest in asked.envelopes]
    named += [item.digest for item in decision.evidence if item.uri.startswith(_APPROVAL)]
    return {layout.approval_path(digest) for digest in named}
