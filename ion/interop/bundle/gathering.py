"""What the store, the artifacts and the trust document hold about one decision: the files of its bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ion.audit.checkpoints import Checkpoints
from ion.audit.proving import prove
from ion.errors import IonError
from ion.evidence.artifacts import ArtifactStore
from ion.evidence.envelope import MAX_ENVELOPE, Unverified
from ion.evidence.model_signature import MAX_SIGNATURE, model_signer
from ion.evidence.public_keys import load_public
from ion.evidence.trust import load_trust
from ion.facts import (
    ApprovalGiven,
    CheckpointSigned,
    DatasetRecorded,
    DecisionMade,
    Fact,
    ModelRevoked,
    Promoted,
    RolledBack,
)
from ion.interop.bundle import layout
from ion.interop.bundle.findings import Problem
from ion.interop.bundle.records import key_of, wanted
from ion.interop.bundle.restated import restated_mlbom
from ion.interop.bundle.signed import Statements
from ion.ledger import verify_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.evidence.manifest import Manifest
    from ion.evidence.trust import Trust
    from ion.home import Home
    from ion.interop.bundle.records import Wanted
    from ion.ledger import SignedCheckpoint
    from ion.records import Recorded
    from ion.store import GovernanceStore

F = TypeVar("F", bound=Fact)


@dataclass(frozen=True, slots=True)
class Gathered:
    """The files of a bundle but the model's: path → content; and the model's manifest."""

    files: dict[str, bytes]
    manifest: Manifest
    decision: DecisionMade


def gather(store: GovernanceStore, home: Home, model: str, node: str = "") -> Gathered:
    """Gather the evidence of the decision by which ``model`` may serve at ``node``.

    Args:
        store: of the deployment.
        home: its artifacts, keys and trust document.
        model: model version.
        node: ``ion/node``; may be left out where the model was decided for one node only.

    Raises:
        IonError: ``not-decided``, ``not-approved``, ``which-node``, ``evidence-missing``, ``evidence-differs``,
            ``no-model-signature``, ``no-checkpoint``, and as `ArtifactStore.get`, `load_trust`.
    """
    decision, change = _decision(store, model, node)
    trust, artifacts = load_trust(home), ArtifactStore(home.artifacts)
    manifest = artifacts.get_manifest(model)
    files = {
        layout.MANIFEST: manifest.to_bytes(),
        layout.DECISION: decision.envelope.encode(),
        layout.TRUST: trust.envelope,
        layout.ROOT: load_public(home.root_public).to_pem(),
    }
    for name, path in (("provenance", layout.PROVENANCE), ("checks", layout.CHECKS)):
        if name in decision.evidence:
            files[path] = artifacts.get(str(decision.evidence[name]), limit=MAX_ENVELOPE)
    files[layout.SIGNATURE] = _model_signature(home, artifacts, decision, manifest)
    for approval in _about(store, ApprovalGiven, decision):
        files[layout.approval_path(approval.fact.envelope_digest)] = approval.fact.envelope.encode()
    if change is not None:
        files[layout.PROMOTION] = change.envelope.encode()
    for revocation in _about(store, ModelRevoked, decision)[-1:]:
        files[layout.REVOCATION] = revocation.fact.envelope.encode()
    _add_records(store, home, trust, files, manifest)
    return Gathered(files, manifest, decision)


def _add_records(store: GovernanceStore, home: Home, trust: Trust, files: dict[str, bytes], manifest: Manifest) -> None:
    """Add the facts with their proofs, and the bill of materials that follows from all this."""
    said = Statements(files, trust)
    decision = said.decision()
    if isinstance(decision, Problem):
        raise _differs(decision)
    provenance, checks, (promotion, problems) = (
        said.provenance(decision),
        said.checks(decision),
        said.promotion(decision),
    )
    for answer in (provenance, checks, *problems):
        if isinstance(answer, Problem):
            raise _differs(answer)
    assert not isinstance(provenance, Problem)  # noqa: S101 - for the type checker
    assert not isinstance(checks, Problem)  # noqa: S101 - as above
    signed = said.signed(decision, provenance, checks, promotion)
    records = [_record(store, each) for each in wanted(signed)]
    checkpoint = _checkpoint(store, home, trust, max(record.position for record in records))
    files[layout.CHECKPOINT] = checkpoint.note.to_bytes()
    for record in records:
        proven = prove(store, str(record.position), checkpoint)
        files[layout.record_path(record.position)] = proven.raw
        files[layout.proof_path(record.position)] = proven.proof.to_bytes()
    files[layout.MLBOM] = restated_mlbom(files, manifest, signed, [record.fact for record in records])


def _decision(store: GovernanceStore, model: str, node: str) -> tuple[DecisionMade, Promoted | RolledBack | None]:
    """Return the decision to show, and the newest promotion or rollback that rests on it.

    What serves now rests on the decision that promoted it; a later one counts when it says otherwise.
    """
    decided = [r for r in store.find(DecisionMade, model) if r.fact.model == model and node in {"", r.fact.node}]
    nodes = sorted({record.fact.node for record in decided})
    if not nodes:
        where = f" for {node}" if node else ""
        raise IonError("not-decided", f"no decision was made on model {model[7:19]}{where}", "`ion models` lists them")
    if len(nodes) > 1:
        raise IonError("which-node", f"model {model[7:19]} was decided for {', '.join(nodes)}", "choose one: --node")
    newest = decided[-1].fact
    if newest.verdict != "approve":
        hint = "a bundle shows why a model may serve; `ion models` shows why this one may not"
        raise IonError("not-approved", f"the newest decision for {nodes[0]} is {newest.verdict}", hint)
    changes: list[Recorded[Promoted] | Recorded[RolledBack]] = [
        *(record for record in store.find(Promoted, model) if record.fact.node == nodes[0]),
        *(record for record in store.find(RolledBack, model) if record.fact.node == nodes[0]),
    ]
    of_this = [record for record in changes if record.fact.model == model]
    if not of_this:
        return newest, None
    last = max(of_this, key=lambda record: record.position).fact
    resting = [record.fact for record in decided if record.fact.decision == last.decision]
    return (resting[-1], last) if resting else (newest, None)


def _about(store: GovernanceStore, kind: type[F], decision: DecisionMade) -> list[Recorded[F]]:
    """Return facts about the model and the node of a decision, in store order."""
    about = (decision.model, decision.node)
    found = store.find(kind, decision.model)
    return [
        record for record in found if (getattr(record.fact, "model", ""), getattr(record.fact, "node", "")) == about
    ]


def _model_signature(home: Home, artifacts: ArtifactStore, decision: DecisionMade, manifest: Manifest) -> bytes:
    """Return the signature that the decision names, else one made here, where the key is."""
    if "model-signature" in decision.evidence:
        return artifacts.get(str(decision.evidence["model-signature"]), limit=MAX_SIGNATURE)
    signer = model_signer(home)
    if signer is None:
        hint = "export where governance runs: keys/model.pem is there"
        raise IonError("no-model-signature", "the decision names no signature of the model, and no key is here", hint)
    return signer.sign(manifest)


def _record(store: GovernanceStore, needed: Wanted) -> Recorded[Fact]:
    found: Sequence[Recorded[Fact]] = [
        r for r in store.find(needed.kind, needed.subject) if key_of(r.fact) == needed.key
    ]
    if not found:
        message = f"no {needed.kind.__name__} about {needed.subject} says what was signed"
        raise IonError("evidence-missing", message, "`ion audit verify` says more")
    # Of a dataset, the fact of who wrote it: readers do not know its class.
    written = [r for r in found if isinstance(r.fact, DatasetRecorded) and r.fact.role != "input"]
    return (written or found)[0]


def _checkpoint(store: GovernanceStore, home: Home, trust: Trust, position: int) -> SignedCheckpoint:
    """Return the first checkpoint that covers a position, always the same; make one where there is none yet."""
    root, origin = trust.root("ledger"), store.ledger.origin()
    for _ in range(2):
        for record in store.find(CheckpointSigned, after=position):
            answer = verify_checkpoint(record.fact.note.encode(), root, origin=origin)
            if not isinstance(answer, Unverified) and answer.size >= position:
                return answer
        try:
            Checkpoints.open(store, home).make()
        except IonError as error:
            hint = f"governance signs one within a minute of a fact; here it cannot be signed: {error.message}"
            raise IonError("no-checkpoint", "no checkpoint covers this evidence yet", hint) from error
    raise IonError("no-checkpoint", "no checkpoint covers this evidence", "`ion audit checkpoint` makes one")


def _differs(problem: Problem) -> IonError:
    message = f"what would be {problem.file} does not hold: {problem.message}"
    return IonError("evidence-differs", message, "`ion audit verify` says more")
