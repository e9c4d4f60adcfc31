"""The signed decision: a SLSA Verification Summary (v1) with an extension block. docs/spec/decision.md."""

from __future__ import annotations

from typing import Literal

from ion.clock import rfc3339
from ion.evidence.in_toto import (
    BAD_STATEMENT,
    check,
    digest_set,
    from_digest_set,
    from_rfc3339,
    predicate_of,
    statement_form,
    subject_of,
)
from ion.evidence.parsing import MAX_INTEGER, Fields, is_digest
from ion.ids import checked_node
from ion.values import dataclass

DECISION_TYPE = "https://slsa.dev/verification_summary/v1"
EXTENSION = "urn:dagster-ion:decision:v1"
VERIFIER = "urn:dagster-ion:verifier/"

Verdict = Literal["approve", "reject", "defer"]
_VERDICTS: tuple[Verdict, ...] = ("approve", "reject", "defer")


@dataclass(frozen=True, slots=True)
class EvidenceReference:
    """One thing a decision looked at: a URI that says what it is, and its digest."""

    uri: str
    digest: str

    def __post_init__(self) -> None:
        """Refuse evidence that names nothing or fixes no bytes."""
        check(bool(self.uri), "evidence has no URI")
        check(is_digest(self.digest), "evidence has no sha256 digest")

    @classmethod
    def parse(cls, value: object) -> EvidenceReference:
        """Parse one entry of ``inputAttestations``.

        Raises:
            IonError: ``bad-statement``.
        """
        fields = Fields.of(value, "evidence", BAD_STATEMENT)
        return cls(fields.text("uri"), from_digest_set(fields))


@dataclass(frozen=True, slots=True)
class RequiredApprovals:
    """What a policy asked of people, and the digests of the approvals that met it."""

    role: str
    quorum: int
    envelopes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a rule that asks for nobody."""
        check(bool(self.role) and 0 < self.quorum <= MAX_INTEGER, "approvals by nobody are asked for")
        check(all(is_digest(digest) for digest in self.envelopes), "an approval has no sha256 digest")

    def to_json(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"envelopes": [digest_set(each) for each in self.envelopes], "quorum": self.quorum, "role": self.role}

    @classmethod
    def parse(cls, value: object) -> RequiredApprovals:
        """Parse what `to_json` made.

        Raises:
            IonError: ``bad-statement``.
        """
        fields = Fields.of(value, "approvals", BAD_STATEMENT)
        envelopes = tuple(
            "sha256:" + Fields.of(item, "approval", BAD_STATEMENT).text("sha256") for item in fields.items("envelopes")
        )
        return cls(fields.text("role"), fields.integer("quorum"), envelopes)


@dataclass(frozen=True, slots=True)
class DecisionStatement:
    """A policy set's verdict on one candidate for one node. Times are microseconds UTC.

    Args:
        ion: the ION.
        node: the node within it where the model would serve.
        model: model version (manifest digest), the statement's subject.
        candidate_run: the node run that made the model; with it, the candidate.
        verdict: only ``approve`` is SLSA's PASSED.
        reasons: one sentence each, for people.
        policy_uri: names the policy set.
        policy_digest: its digest, parameters and code included.
        evidence: all that was looked at.
        decided: when.
        expires: from when on the verdict no longer admits the model.
        verifier_version: version of dagster-ion that decided.
        automatic: approved by policies alone; no person looked.
        submitters: the names of who made the model, who may not approve it.
        approvals: what was asked of people, and what they signed.
        formats: model formats that the policy set names, beside those that are no code (docs/spec/decision.md).
    """

    ion: str
    node: str
    model: str
    candidate_run: str
    verdict: Verdict
    reasons: tuple[str, ...]
    policy_uri: str
    policy_digest: str
    evidence: tuple[EvidenceReference, ...]
    decided: int
    expires: int
    verifier_version: str
    automatic: bool = True
    submitters: tuple[str, ...] = ()
    approvals: tuple[RequiredApprovals, ...] = ()
    formats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values the gate could never accept, before they are signed."""
        checked_node(f"{self.ion}/{self.node}")
        check(self.verdict in _VERDICTS, "unknown verdict")
        for digest in (self.model, self.policy_digest):
            check(is_digest(digest), "a digest is not a sha256 digest")
        check(bool(self.candidate_run and self.policy_uri and self.verifier_version), "a name is empty")
        check(0 <= self.decided < self.expires <= MAX_INTEGER, "it expires before it was decided")
        check(self.verdict != "approve" or bool(self.evidence), "an approval without evidence")
        check(not (self.automatic and self.approvals), "an automatic decision that people approved")

    def to_payload(self) -> dict[str, object]:
        """Return the in-toto Statement as JSON values."""
        address = f"{self.ion}/{self.node}"
        predicate: dict[str, object] = {
            "verifier": {"id": VERIFIER + self.verifier_version},
            "timeVerified": rfc3339(self.decided),
            "resourceUri": f"ion:{address}",
            "policy": {"uri": self.policy_uri, "digest": digest_set(self.policy_digest)},
            "inputAttestations": [{"uri": item.uri, "digest": digest_set(item.digest)} for item in self.evidence],
            "verificationResult": "PASSED" if self.verdict == "approve" else "FAILED",
            # We judge by the policy named above and claim no SLSA level.
            "verifiedLevels": [] if self.verdict == "approve" else ["FAILED"],
            EXTENSION: {
                "approvals": [each.to_json() for each in self.approvals],
                "automatic": self.automatic,
                "candidateRun": self.candidate_run,
                "expires": self.expires,
                "formats": list(self.formats),
                "ion": self.ion,
                "node": self.node,
                "reasons": list(self.reasons),
                "submitters": list(self.submitters),
                "verdict": self.verdict,
            },
        }
        return statement_form(address, self.model, DECISION_TYPE, predicate)

    @classmethod
    def from_payload(cls, payload: dict[str, object]) -> DecisionStatement:
        """Parse exactly what `to_payload` makes.

        Raises:
            IonError: ``bad-statement``.
        """
        predicate = predicate_of(payload, DECISION_TYPE)
        verifier = predicate.inner("verifier").text("id")
        policy = predicate.inner("policy")
        evidence = [EvidenceReference.parse(item) for item in predicate.items("inputAttestations")]
        ours = predicate.inner(EXTENSION)
        check(verifier.startswith(VERIFIER), "another verifier decided")
        statement = cls(
            ion=ours.text("ion"),
            node=ours.text("node"),
            model=subject_of(payload),
            candidate_run=ours.text("candidateRun"),
            verdict=ours.choice("verdict", _VERDICTS),
            reasons=ours.texts("reasons"),
            policy_uri=policy.text("uri"),
            policy_digest=from_digest_set(policy),
            evidence=tuple(evidence),
            decided=from_rfc3339(predicate.text("timeVerified")),
            expires=ours.integer("expires"),
            verifier_version=verifier.removeprefix(VERIFIER),
            automatic=ours.flag("automatic"),
            submitters=ours.texts("submitters"),
            approvals=tuple(RequiredApprovals.parse(item) for item in ours.items("approvals")),
            formats=ours.texts("formats"),
        )
        check(statement.to_payload() == payload, "it is not in the one form it is signed in")
        return statement
