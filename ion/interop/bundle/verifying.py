"""The whole verification of a bundle, in order; nothing but the folder is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ion.canonical import digest_bytes
from ion.clock import now_us, rfc3339
from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.manifest import Manifest
from ion.evidence.public_keys import PublicKey
from ion.evidence.trust import verify_trust
from ion.evidence.trust_root import TrustRoot
from ion.interop.bundle import layout
from ion.interop.bundle.findings import Problem, Step, Verification
from ion.interop.bundle.folder import model_problems, read_folder
from ion.interop.bundle.holding import holding_problems
from ion.interop.bundle.proven import Proven, prove_all
from ion.interop.bundle.records import wanted
from ion.interop.bundle.restated import restated_mlbom
from ion.interop.bundle.signed import Statements
from ion.interop.bundle.standards import schema_problem, signing_problem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ion.evidence.decisions import DecisionStatement
    from ion.evidence.trust import Trust
    from ion.interop.bundle.folder import Contents
    from ion.interop.bundle.records import Signed

__all__ = ["Problem", "Step", "Verification", "verify_bundle"]

_UNCHECKED = "not checked: what it needs did not hold"
STEPS = (
    "files", "trust", "decision", "evidence", "manifest", "model", "model signature", "approvals", "provenance",
    "checks", "promotion", "ledger", "bill of materials", "today",
)  # fmt: skip
"""In this order; the last is about the present, all others about the time of the decision."""


@dataclass(slots=True)
class _Steps:
    """The steps so far, by name."""

    taken: dict[str, Step] = field(default_factory=dict)

    def take(self, name: str, told: str, problems: Iterable[Problem]) -> bool:
        """Note a step; says whether it held."""
        step = Step(name, told, tuple(problems))
        self.taken[name] = step
        return step.ok

    def all(self) -> tuple[Step, ...]:
        """Return every step, also those not taken."""
        return tuple(self.taken.get(name, Step(name, _UNCHECKED, checked=False)) for name in STEPS)


def verify_bundle(
    folder: Path,
    *,
    root: PublicKey | None = None,
    trust: Trust | None = None,
    now: int | None = None,
    standards: bool = True,
) -> Verification:
    """Check everything a bundle says, at the time of its decision and now.

    Args:
        folder: the bundle.
        root: the key that must have signed its trust document; without it the bundle vouches for itself.
        trust: a newer trust document, verified, by which it must hold now.
        now: microseconds UTC, by default the time of this machine.
        standards: also ask model-signing and the CycloneDX schema (the extra ``evidence``).

    Raises:
        IonError: ``no-bundle``, ``extra-missing``.
    """
    at = now_us() if now is None else now
    steps, contents = _Steps(), read_folder(folder)
    listed = [Problem(path, message) for path, message in contents.problems]
    seen = {problem.file for problem in listed}
    absent = [path for path in layout.REQUIRED if path not in contents.files and path not in seen]
    listed += [Problem(path, "it is missing") for path in absent]
    steps.take("files", _files(len(contents.files) + len(contents.model)), listed)
    own, problems = _own_trust(contents, root)
    steps.take("trust", _trusted(own), problems)
    decision: DecisionStatement | None = None
    if own is not None:
        decision = _check(folder, steps, contents, own, standards=standards)
    if own is not None and decision is not None:
        problems = holding_problems(contents.files, trust or own, decision, at)
        steps.take("today", f"at {rfc3339(at)}", problems)
    warnings = () if root or trust else ("the bundle vouches for itself: give the root's public key that you trust",)
    if decision is None:
        return Verification(steps.all(), warnings)
    return Verification(
        steps.all(),
        warnings,
        model=decision.model,
        node=f"{decision.ion}/{decision.node}",
        decision=digest_bytes(contents.files[layout.DECISION]),
        decided=decision.decided,
        expires=decision.expires,
    )


def _check(
    folder: Path, steps: _Steps, contents: Contents, trust: Trust, *, standards: bool
) -> DecisionStatement | None:
    """Take the steps about the time of the decision; returns the decision when there is one."""
    said = Statements(contents.files, trust)
    decision = said.decision()
    if isinstance(decision, Problem):
        steps.take("decision", "", [decision])
        return None
    late = trust.document.expires <= decision.decided
    problems = [Problem(layout.TRUST, "it had expired when the decision was made")] if late else []
    steps.take("decision", f"approved for {decision.ion}/{decision.node}, {rfc3339(decision.decided)}", problems)
    steps.take("evidence", f"{len(decision.evidence)} digests", said.named(decision))
    manifest = _manifest(steps, contents, decision)
    if manifest is not None:
        found = model_problems(folder, contents.model, manifest)
        held = steps.take("model", _files(len(manifest.entries)), [Problem(*each) for each in found])
        problems = said.model_signature(manifest)
        if held and not problems and standards:
            problem = signing_problem(folder, trust.document.models)
            problems = [Problem(layout.SIGNATURE, problem)] if problem else []
        steps.take("model signature", "OpenSSF model-signing" if standards else "", problems)
    given, problems = said.approvals(decision)
    told = "by policies alone" if decision.automatic else f"{len(given)} by people"
    steps.take("approvals", told, problems or said.grounds(decision))
    signed = _statements(steps, said, decision)
    if signed is None:
        return decision
    proven = prove_all(contents.files, trust.root("ledger"), wanted(signed))
    told = f"{len(proven.facts)} facts under a checkpoint of {proven.size}"
    if steps.take("ledger", told, proven.problems) and manifest is not None:
        steps.take(
            "bill of materials", "CycloneDX 1.6", _mlbom(contents, manifest, signed, proven, standards=standards)
        )
    return decision


def _statements(steps: _Steps, said: Statements, decision: DecisionStatement) -> Signed | None:
    """Take the steps about what else governance signed; returns the statements when all hold."""
    provenance, checks = said.provenance(decision), said.checks(decision)
    promotion, problems = said.promotion(decision)
    steps.take("promotion", promotion.action if promotion else "not promoted", problems)
    told = f"run {decision.candidate_run}"
    steps.take("provenance", told, [provenance] if isinstance(provenance, Problem) else [])
    told = "none required" if checks is None else "" if isinstance(checks, Problem) else checks.result.lower()
    steps.take("checks", told, [checks] if isinstance(checks, Problem) else [])
    if isinstance(provenance, Problem) or isinstance(checks, Problem) or problems:
        return None
    return said.signed(decision, provenance, checks, promotion)


def _manifest(steps: _Steps, contents: Contents, decision: DecisionStatement) -> Manifest | None:
    data = contents.files.get(layout.MANIFEST, b"")
    try:
        manifest = Manifest.from_bytes(data)
    except IonError as error:
        steps.take("manifest", "", [Problem(layout.MANIFEST, error.message)])
        return None
    same = digest_bytes(data) == decision.model
    problems = [] if same else [Problem(layout.MANIFEST, "it is not that of the model decided on")]
    steps.take("manifest", decision.model, problems)
    return manifest if same else None


def _mlbom(contents: Contents, manifest: Manifest, signed: Signed, proven: Proven, *, standards: bool) -> list[Problem]:
    data = contents.files.get(layout.MLBOM, b"")
    if data != restated_mlbom(contents.files, manifest, signed, proven.facts.values()):
        return [Problem(layout.MLBOM, "it does not say what manifest, facts and statements say")]
    problem = schema_problem(data) if standards else ""
    return [Problem(layout.MLBOM, problem)] if problem else []


def _own_trust(contents: Contents, root: PublicKey | None) -> tuple[Trust | None, list[Problem]]:
    """Return the bundle's trust document under its root key, which must be ``root`` if that is given."""
    pem, envelope = contents.files.get(layout.ROOT, b""), contents.files.get(layout.TRUST, b"")
    try:
        loaded = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        loaded = None
    key = PublicKey.of(loaded) if isinstance(loaded, Ed25519PublicKey) else None
    if key is None or key.to_pem() != pem:
        return None, [Problem(layout.ROOT, "it is not an ed25519 public key in PEM form")]
    if root is not None and root != key:
        return None, [Problem(layout.ROOT, f"it is {key.key_id}, not the root key that is trusted")]
    answer = verify_trust(envelope, TrustRoot((key,)), 0)  # when it expires is looked at with the decision
    if isinstance(answer, Unverified):
        return None, [Problem(layout.TRUST, f"by the key in {layout.ROOT}: {answer.reason}")]
    if not answer.document.services.get("decision") or not answer.document.services.get("ledger"):
        return None, [Problem(layout.TRUST, "it names no keys of governance")]
    return answer, []


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _trusted(trust: Trust | None) -> str:
    return "" if trust is None else f"version {trust.document.version}, root {trust.signed_by}"
