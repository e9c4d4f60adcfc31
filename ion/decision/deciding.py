"""From a judgement to a signed decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.decision.people import approvals_end, required_approvals
from ion.evidence.statements import DecisionStatement, EvidenceReference, sign_statement
from ion.facts import DecisionMade
from ion.ids import new_id
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.decision.evidence import Evidence
    from ion.decision.policy import Policy, PolicySet, Reason, Verdict
    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.keys import Signer
    from ion.evidence.quorum import ApprovalRule

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict on a candidate, and everything it was reached on.

    Args:
        evidence: what policies looked at.
        policies: what judged.
        rules: what was asked of people.
        verdict: of all of them.
        reasons: one a policy.
        digests: name → digest of the evidence, what governance attested included.
    """

    evidence: Evidence
    policies: PolicySet
    rules: tuple[ApprovalRule, ...]
    verdict: Verdict
    reasons: tuple[Reason, ...]
    digests: Mapping[str, str]

    @property
    def automatic(self) -> bool:
        """Whether policies alone decided: nobody was asked, and nobody objected."""
        return not self.rules and not any(reason.policy == "objection" for reason in self.reasons)

    @property
    def expires(self) -> int:
        """From when on the verdict admits nothing (µs UTC): the policy set's time, or the end of people's approvals."""
        ends = approvals_end(self.evidence, self.rules) if self.verdict == "approve" else []
        return min([self.evidence.at + self.policies.valid_days * _DAY_US, *ends])

    def waits_until(self, besides: Sequence[Policy]) -> int | None:
        """Return when the first policy stops waiting for people (µs UTC); None when none does."""
        waits = [policy.within_us for policy in (*self.policies.policies, *besides) if policy.within_us is not None]
        return self.evidence.made + min(waits) if waits and self.verdict == "defer" else None


def signed_decision(
    judgement: Judgement, serving_node: str, version: str, signer: Signer, artifacts: ArtifactStore
) -> DecisionMade:
    """Return a judgement on a candidate for ``ion/node`` as a signed fact; its envelope is put in ``artifacts``.

    Raises:
        IonError: ``bad-statement`` or ``bad-envelope`` when it cannot be signed.
    """
    evidence, policies = judgement.evidence, judgement.policies
    candidate = evidence.candidate
    asked = required_approvals(evidence, judgement.rules)
    ion, _, node = serving_node.partition("/")
    statement = DecisionStatement(
        ion=ion,
        node=node,
        model=candidate.model,
        candidate_run=candidate.run,
        verdict=judgement.verdict,
        reasons=tuple(f"{reason.policy}: {reason.message}" for reason in judgement.reasons),
        policy_uri=f"policy:{policies.name}",
        policy_digest=policies.digest(version),
        evidence=tuple(EvidenceReference(f"ion:{name}", digest) for name, digest in judgement.digests.items()),
        decided=evidence.at,
        expires=judgement.expires,
        verifier_version=version,
        automatic=judgement.automatic,
        submitters=tuple(evidence.submitters),
        approvals=tuple(required for required, _ in asked),
        formats=tuple(policies.formats),
    )
    envelope = sign_statement(statement, signer)
    return DecisionMade(
        decision=new_id(),
        node=serving_node,
        model=candidate.model,
        run=candidate.run,
        verdict=judgement.verdict,
        reasons=[reason.as_dict() for reason in judgement.reasons],
        policy_set=policies.name,
        policy_digest=statement.policy_digest,
        evidence=dict(judgement.digests),
        expires=statement.expires,
        envelope=envelope.decode(),
        envelope_digest=artifacts.put(envelope),
        automatic=statement.automatic,
        approvals=[{**required.to_json(), "people": people} for required, people in asked],
    )
