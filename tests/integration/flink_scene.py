"""A governed streaming node without Dagster: keys, models, signed promotions, patients, and what came of it."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ion.agent import ship_all
from ion.clock import now_us
from ion.evidence import (
    ArtifactStore,
    DecisionStatement,
    EvidenceReference,
    PromotionStatement,
    Signer,
    create_key,
    founded_trust,
    load_signer,
    sign_statement,
)
from ion.facts import Fact
from ion.graph import Definition, define
from ion.home import Home
from ion.ids import new_id
from ion.serving import LinearScorer, pointer_path, write_pointer
from ion.store import GovernanceStore, open_store
from ion.testing import attested
from resources.flink.columns import read_predictions
from resources.flink.deployment import MARK, FlinkDeployment, _marked
from resources.flink.rows import Prediction, SetAside, read_set_aside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NODE = "patient_tests/predictions"
F = TypeVar("F", bound=Fact)
FEATURES = 4
HOUR_US = 3_600_000_000


def linear_model(seed: int) -> bytes:
    rng = random.Random(seed)  # noqa: S311 - test data
    scorer = LinearScorer.create(
        features=[f"f{i}" for i in range(FEATURES)],
        mean=[0.0] * FEATURES,
        scale=[1.0] * FEATURES,
        coefficients=[rng.uniform(-1, 1) for _ in range(FEATURES)],
        intercept=rng.uniform(-1, 1),
        classes=["benign", "malignant"],
    )
    return scorer.to_bytes()


def signer_at(folder: Path) -> Signer:
    create_key(folder / "decision.pem")
    return load_signer(f"file:{folder / 'decision.pem'}")


@dataclass
class Scene:
    root: Path
    options: dict[str, int | float] = field(default_factory=dict)
    subject: str = ""

    def __post_init__(self) -> None:
        self.home = Home(self.root / "home").make()
        founded_trust(self.home)
        self.signer = load_signer(self.home.decision_key_uri)
        self.artifacts = ArtifactStore(self.home.artifacts)
        self.store: GovernanceStore = open_store(f"sqlite:///{self.home.root / 'store.db'}")
        if self.subject:
            nodes = [{"name": "predictions", "kind": "inference", "mode": "streaming", "subject": self.subject}]
            define(self.store, Definition.from_json({"ion": "patient_tests", "nodes": nodes, "edges": []}))
        self.deployment = FlinkDeployment(self.home, NODE, options={"window_s": 1.0, **self.options})
        self.folders = self.deployment.settings.folders.make()
        self.files = 0

    @property
    def pointer(self) -> Path:
        return pointer_path(self.home.root, NODE)

    def promote(self, seed: int, serial: int, *, signer: Signer | None = None, damage: bool = False) -> str:
        """Put a signed pointer in place, to damaged model bytes if so wished; return the model digest."""
        by = signer or self.signer
        manifest = self.artifacts.put_model({"model.json": linear_model(seed)})
        model = manifest.digest
        if damage:
            path = self.artifacts.path(manifest.entries[0].sha256)
            path.write_bytes(path.read_bytes().replace(b'intercept":', b'intercept":1', 1))
        now, run = now_us(), new_id()
        decision = DecisionStatement(
            ion="patient_tests",
            node="predictions",
            model=model,
            candidate_run=run,
            verdict="approve",
            reasons=("good",),
            policy_uri="policy:test",
            policy_digest=model,
            evidence=(EvidenceReference("metrics", model), attested(self.artifacts, by, model=model, run=run, at=now)),
            decided=now,
            expires=now + HOUR_US,
            verifier_version="0",
        )
        digest = self.artifacts.put(sign_statement(decision, by))
        statement = PromotionStatement(
            ion="patient_tests",
            node="predictions",
            action="promote",
            model=model,
            decision=digest,
            serial=serial,
            cause=f"cause-{serial}",
            issued=now,
            lease_end=now + HOUR_US,
            on_lease_end="keep",
        )
        write_pointer(self.pointer, sign_statement(statement, by))
        return model

    def halt(self, serial: int) -> None:
        now = now_us()
        statement = PromotionStatement(
            ion="patient_tests",
            node="predictions",
            action="halt",
            model=None,
            decision=None,
            serial=serial,
            cause=f"halt-{serial}",
            issued=now,
            lease_end=now + HOUR_US,
            on_lease_end="stop",
        )
        write_pointer(self.pointer, sign_statement(statement, self.signer))

    def feed(self, rows: int | list[str]) -> str:
        """Put one file into the inbox; return its name."""
        rng = random.Random(self.files)  # noqa: S311 - test data
        if isinstance(rows, int):
            rows = [",".join(repr(rng.gauss(0, 1)) for _ in range(FEATURES)) for _ in range(rows)]
        name = f"patients-{self.files:05d}.csv"
        self.files += 1
        hidden = self.folders.inbox / f".{name}"
        hidden.write_text("".join(f"{row}\n" for row in rows))
        hidden.rename(self.folders.inbox / name)
        return name

    def start(self) -> None:
        assert self.deployment.start(self.store)
        status = self.deployment.wait_running(90)
        assert status.running, status
        assert status.last is not None
        assert status.last.state == "running", self.log()

    def kill(self, *, jvm_too: bool = True) -> None:
        """SIGKILL every process of the job at once, or only the one that leads."""
        status = self.deployment.status()
        assert status.last is not None
        (os.killpg if jvm_too else os.kill)(status.last.pid, signal.SIGKILL)
        assert until(lambda: not self.deployment.status().running)

    def close(self) -> None:
        status = self.deployment.status()
        if status.running and status.last is not None and status.last.pid:
            with suppress(ProcessLookupError):
                os.killpg(status.last.pid, signal.SIGKILL)
        assert until(lambda: not _marked(f"{MARK}={self.folders.root}".encode()))
        self.store.close()

    def log(self) -> str:
        path = self.folders.logs / "job.log"
        return path.read_text()[-3000:] if path.exists() else ""

    def committed(self) -> list[Prediction]:
        return [
            row
            for path in sorted(self.folders.predictions.glob("*/predictions*"))
            for row in read_predictions(path.read_bytes())
        ]

    def set_aside(self) -> list[SetAside]:
        return [
            row
            for path in sorted(self.folders.quarantine.glob("*/quarantine*"))
            for row in read_set_aside(path.read_bytes())
        ]

    def facts(self, kind: type[F]) -> list[F]:
        """Ship what was spooled and return the facts of a kind, in store order."""
        ship_all(self.home.spool, self.store)
        return [record.fact for record in self.store.find(kind)]

    def in_progress(self) -> list[Path]:
        return [path for root in (self.folders.predictions, self.folders.quarantine) for path in root.rglob(".*")]


def until(condition: Callable[[], bool], timeout: float = 40.0) -> bool:
    """Wait for a condition; False when it did not come."""
    give_up = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True
