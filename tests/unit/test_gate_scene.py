"""A whole serving scene on disk: keys, artifacts, decision, pointer. The other gate tests change one thing in it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ion.evidence import (
    ArtifactStore,
    DecisionStatement,
    EvidenceReference,
    PromotionStatement,
    Signer,
    TrustRoot,
    create_key,
    load_signer,
    sign_statement,
)
from ion.serving import Admitted, Gate, LinearScorer, pointer_path, write_pointer

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


@dataclass
class Scene:
    home: Path
    signer: Signer
    artifacts: ArtifactStore
    now: int = NOW
    files: dict[str, bytes] = field(default_factory=lambda: {"model.json": linear_model()})

    @classmethod
    def set_up(cls, home: Path) -> Scene:
        key = home / "keys" / "decision.pem"
        create_key(key)
        return cls(home, load_signer(f"file:{key}"), ArtifactStore(home / "artifacts"))

    @property
    def pointer(self) -> Path:
        return pointer_path(self.home, NODE)

    @property
    def state(self) -> Path:
        return self.home / "serving" / "gate.json"

    def gate(self, **changes: object) -> Gate:
        arguments: dict[str, object] = {
            "pointer": self.pointer,
            "artifacts": self.artifacts,
            "trust": TrustRoot((self.signer.public,)),
            "node": NODE,
            "state": self.state,
            "clock": lambda: self.now,
        }
        return Gate(**{**arguments, **changes})  # type: ignore[arg-type]

    def decision(self, **changes: object) -> DecisionStatement:
        model = self.artifacts.put_model(self.files).digest
        decision = DecisionStatement(
            ion="patient_tests",
            node="predictions",
            model=model,
            candidate_run="0193-run",
            verdict="approve",
            reasons=("roc_auc 0.99 is at least 0.95",),
            policy_uri="ion:policy/clinical_low_risk",
            policy_digest=DIGEST,
            evidence=(EvidenceReference("ion:evidence/metrics", DIGEST),),
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
