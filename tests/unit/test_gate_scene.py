"""A whole serving scene on disk: trust, people, artifacts, decision, pointer. The other gate tests change one thing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ion.evidence import (
    ArtifactStore,
    DecisionStatement,
    EvidenceReference,
    PromotionStatement,
    Signer,
    sign_statement,
    write_public,
)
from ion.evidence.approvals import ApprovalStatement, sign_approval
from ion.evidence.files import write_atomic
from ion.evidence.trust import Person, TrustDocument, TrustedKey, TrustFile, sign_trust
from ion.evidence.trust_root import Window
from ion.serving import Admitted, Gate, LinearScorer, pointer_path, write_pointer
from ion.testing import attested

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000_000_000
DAY = 86_400_000_000
NODE = "patient_tests/predictions"
DIGEST = "sha256:" + "7" * 64


def linear_model(seed: float = 0.25, features: int = 30) -> bytes:
    return LinearScorer.create(
        features=[f"feature_{number}" for number in range(features)],
        mean=[number / 0.7 for number in range(features)],
        scale=[1.0 + number / 7 for number in range(features)],
        coefficients=[seed * (number - 14) / 3 for number in range(features)],
        intercept=-seed,
        classes=("benign", "malignant"),
    ).to_bytes()


def signer_of(number: int) -> Signer:
    """A key that is the same in every test."""
    return Signer.of(Ed25519PrivateKey.from_private_bytes(number.to_bytes(32)))


ROOT, DECISION, ANNA, BEN, CARL = (signer_of(number) for number in range(1, 6))


def key(signer: Signer, **window: int | None) -> TrustedKey:
    return TrustedKey(signer.public, Window(**window))  # type: ignore[arg-type]


PEOPLE = (
    Person("anna", "Anna", ("approver",), ("anna@ward.example",), (key(ANNA),)),
    Person("ben", "Ben", ("approver",), (), (key(BEN),)),
    Person("carl", "Carl", ("submitter", "approver"), (), (key(CARL),)),
)


@dataclass
class Scene:
    home: Path
    signer: Signer
    artifacts: ArtifactStore
    now: int = NOW
    files: dict[str, bytes] = field(default_factory=lambda: {"model.json": linear_model()})

    @classmethod
    def set_up(cls, home: Path) -> Scene:
        scene = cls(home, DECISION, ArtifactStore(home / "artifacts"))
        write_public(scene.root_public, ROOT.public)
        scene.trust_in()
        return scene

    @property
    def pointer(self) -> Path:
        return pointer_path(self.home, NODE)

    @property
    def state(self) -> Path:
        return self.home / "serving" / "gate.json"

    @property
    def trust(self) -> Path:
        return self.home / "trust" / "trust.json"

    @property
    def root_public(self) -> Path:
        return self.home / "trust" / "root.pub.pem"

    def trust_in(self, *keys: TrustedKey, root: Signer = ROOT, **changes: object) -> TrustDocument:
        """Let the root name these decision keys (by default the scene's own) and the people."""
        document = TrustDocument(
            version=1,
            issued=NOW - 3_000_000,
            expires=NOW + 1000 * DAY,
            people=PEOPLE,
            services={"decision": keys or (key(self.signer),)},
        )
        document = replace(document, **changes)  # type: ignore[arg-type]
        self.trust.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.trust, sign_trust(document, root))
        return document

    def gate(self, **changes: object) -> Gate:
        arguments: dict[str, object] = {
            "pointer": self.pointer,
            "artifacts": self.artifacts,
            "trust": TrustFile(self.trust, self.root_public),
            "node": NODE,
            "state": self.state,
            "clock": lambda: self.now,
        }
        return Gate(**{**arguments, **changes})  # type: ignore[arg-type]

    def approval(self, person: str, by: Signer, model: str = "", **changes: object) -> str:
        """Put an approval and return its digest."""
        statement = ApprovalStatement(
            id=f"approval-of-{person}",
            ion="patient_tests",
            node="predictions",
            model=model or self.artifacts.put_model(self.files).digest,
            person=person,
            word="approve",
            reason="looked at it",
            issued=NOW - 2_500_000,
            until=NOW + 20 * DAY,
        )
        return self.artifacts.put(sign_approval(replace(statement, **changes), by))  # type: ignore[arg-type]

    def decision(self, **changes: object) -> DecisionStatement:
        model = self.artifacts.put_model(self.files).digest
        run = "0193-run"
        origin = attested(self.artifacts, self.signer, model=str(changes.get("model", model)), run=run, at=NOW - DAY)
        decision = DecisionStatement(
            ion="patient_tests",
            node="predictions",
            model=model,
            candidate_run=run,
            verdict="approve",
            reasons=("roc_auc 0.99 is at least 0.95",),
            policy_uri="ion:policy/clinical_low_risk",
            policy_digest=DIGEST,
            evidence=(EvidenceReference("ion:evidence/metrics", DIGEST), origin),
            decided=NOW - 2_000_000,
            expires=NOW + 30 * DAY,
            verifier_version="0.1.0",
        )
        return replace(decision, **changes)  # type: ignore[arg-type]

    def promotion(self, about: DecisionStatement | None = None, /, **changes: object) -> PromotionStatement:
        about = about or self.decision()
        promotion = PromotionStatement(
            ion="patient_tests",
            node="predictions",
            action="promote",
            model=about.model,
            decision=self.artifacts.put(sign_statement(about, self.signer)),
            serial=1,
            cause="decision-1",
            issued=NOW - 1_000_000,
            lease_end=NOW + DAY,
            on_lease_end="keep",
        )
        return replace(promotion, **changes)  # type: ignore[arg-type]

    def point(self, promotion: PromotionStatement | None = None, signer: Signer | None = None) -> PromotionStatement:
        promotion = promotion or self.promotion()
        write_pointer(self.pointer, sign_statement(promotion, signer or self.signer))
        return promotion

    def scorer(self) -> LinearScorer:
        return LinearScorer.from_bytes(self.files["model.json"])

    def halt(self, serial: int) -> PromotionStatement:
        return self.point(
            self.promotion(action="halt", model=None, decision=None, serial=serial, cause=f"halt-{serial}")
        )


def test_the_scene_as_set_up_is_admitted(tmp_path: Path) -> None:
    scene = Scene.set_up(tmp_path)
    promotion = scene.point()
    admission = scene.gate().admit()
    assert isinstance(admission, Admitted), admission
    assert (admission.model, admission.serial, admission.decision) == (promotion.model, 1, promotion.decision)
    assert admission.files == scene.files
    assert admission.format == "ion-linear/1"
    assert admission.scorer.digest == promotion.model
