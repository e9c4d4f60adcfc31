"""Shipped fakes and a small governed deployment, for tests of pipelines and of ion itself.

`MemoryReceiver` and `FakeClock` need nothing installed. `Deployment` uses the real store, keys,
artifacts, policies and pointers, only no engine::

    deployment = Deployment.make(tmp_path)
    trained = deployment.train()
    outcome, = deployment.govern()
    served = deployment.serve(rows=5)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ion.agent import Client, Histogram, Model
from ion.agent.code import code_state
from ion.canonical import digest_bytes
from ion.clock import Stamp, now_us
from ion.errors import IonError
from ion.evidence import ArtifactStore, EvidenceReference, TrustRoot, founded_trust, load_signer, load_trust, trust_file
from ion.evidence.files import write_atomic
from ion.evidence.grounds import PROVENANCE
from ion.evidence.keys import create_key
from ion.evidence.provenance import ProvenanceStatement, sign_provenance
from ion.facts import (
    DecisionMade,
    EpochClosed,
    EpochOpened,
    Fact,
    InputsCaptured,
    PredictionsCommitted,
    StatisticsRecorded,
)
from ion.home import Home
from ion.ids import PredictionId, new_id
from ion.points import Points, leaf_digest, read_block, read_column
from ion.records import Record, write_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from ion.agent import DatasetVersion
    from ion.decision import Governor, Outcome, PolicySet, Promotions
    from ion.evidence import Signer
    from ion.evidence.approvals import Word
    from ion.evidence.captures import CaptureKey
    from ion.evidence.trust import Role
    from ion.serving import Gate
    from ion.store import Candidate, GovernanceStore

F = TypeVar("F", bound=Fact)

ION = "patient_tests"
TRAINER, POLICY, SERVING = f"{ION}/model", f"{ION}/approval", f"{ION}/predictions"
FEATURES = ("radius", "texture", "area")
CHECK = "expectations"
DEFINITION: Mapping[str, object] = {
    "ion": ION,
    "nodes": [
        {"name": "model", "kind": "training", "components": ["patients", "features", "model"]},
        {"name": "approval", "kind": "policy", "policy_set": "policies.catalog:clinical_low_risk"},
        {
            "name": "predictions",
            "kind": "inference",
            "mode": "streaming",
            "on_lease_end": "keep",
            "subject": "patient",
        },
    ],
    "edges": [
        {"from": "model", "to": "approval", "message": "model"},
        {"from": "approval", "to": "predictions", "message": "promotion"},
    ],
    "datasets": [
        {"name": "patients", "classification": "pii", "checks": [CHECK]},
        {"name": "features", "classification": "pii", "checks": [CHECK]},
    ],
}
"""A definition like the reference project's."""


class FakeClock:
    """A wall clock that stands still until told: call it for microseconds UTC."""

    def __init__(self, us: int = 1_800_000_000_000_000) -> None:
        self.us = us

    def __call__(self) -> int:
        """Return the time it was told."""
        return self.us

    def advance(self, seconds: float) -> None:
        """Move the time; a negative number sets the clock back."""
        self.us += round(seconds * 1_000_000)


@dataclass
class MemoryReceiver:
    """A `Receiver` in memory: idempotent by (agent, seq), like the store. ``down`` makes it refuse."""

    down: bool = False
    records: list[Record] = field(default_factory=list)
    blocks: dict[str, bytes] = field(default_factory=dict)
    conflicts: int = 0
    keys: dict[str, CaptureKey] = field(default_factory=dict)

    def keep_capture_keys(self, keys: Sequence[CaptureKey]) -> object:
        """Keep keys.

        Raises:
            ConnectionError: while ``down``.
        """
        if self.down:
            raise ConnectionError("the store is down")
        self.keys.update((key.key_id, key) for key in keys)
        return None

    def append(self, records: Sequence[Record], blocks: Mapping[str, bytes] | None = None) -> object:
        """Take records not yet known, and blocks whose digest is right, be it of bytes or of points.

        Raises:
            ConnectionError: while ``down``.
        """
        if self.down:
            raise ConnectionError("the store is down")
        for digest, body in (blocks or {}).items():
            if digest_bytes(body) == digest or _points_digest(body) == digest:
                self.blocks[digest] = body
        known = {(record.agent, record.seq): record.raw for record in self.records}
        for record in records:
            raw = known.setdefault((record.agent, record.seq), record.raw)
            self.conflicts += raw != record.raw
            if raw is record.raw:
                self.records.append(record)
        return None

    def points(self) -> dict[str, Points]:
        """Return the points of every series, of all runs, in the order told."""
        found: dict[str, list[Points]] = {}
        for fact in self.facts(StatisticsRecorded):
            for row, column in zip(fact.series, read_block(self.blocks[fact.digest]), strict=True):
                found.setdefault(str(row["name"]), []).append(read_column(column))
        return {name: Points.joined(parts) for name, parts in found.items()}

    def facts(self, kind: type[F]) -> list[F]:
        """Return the facts of a kind in order, each fact id once."""
        found: dict[str, F] = {}
        for record in self.records:
            if isinstance(record.fact, kind):
                found.setdefault(record.id, record.fact)
        return list(found.values())


def _points_digest(body: bytes) -> str:
    try:
        return leaf_digest(read_column(column).digest() for column in read_block(body))
    except IonError:
        return ""


@dataclass(frozen=True, slots=True)
class Trained:
    """One training: the candidate (model version, node run) and the datasets it came from."""

    run: str
    model: str
    patients: DatasetVersion
    features: DatasetVersion
    heldout: DatasetVersion

    @property
    def candidate(self) -> tuple[str, str]:
        """(model, run)."""
        return self.model, self.run


@dataclass(frozen=True, slots=True)
class Served:
    """One serving epoch and the predictions in it; ``inputs`` are the rows before capture."""

    run: str
    epoch: str
    model: str
    predictions: tuple[PredictionId, ...]
    inputs: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]
    capture_key: str


def trust_another(home: Home, other: Home) -> None:
    """Let the deployment at ``home`` trust root and keys of another one, founded at ``other``."""
    founded_trust(other)
    for there, here in ((other.root_public, home.root_public), (other.trust_document, home.trust_document)):
        write_atomic(here, there.read_bytes())


def attested(artifacts: ArtifactStore, signer: Signer, *, model: str, run: str, at: int) -> EvidenceReference:
    """Put a signed provenance of a model that a test made by hand; return how a decision names it."""
    statement = ProvenanceStatement(
        node=TRAINER, model=model, run=run, started=at, finished=at, attested=at, version="test"
    )
    return EvidenceReference(PROVENANCE, artifacts.put(sign_provenance(statement, signer)))


@dataclass
class Deployment:
    """The ION ``patient_tests`` on a real store, with real keys and artifacts, and no engine.

    ``materializations`` stands for Dagster's event log: (model, run) → storage id.
    """

    home: Home
    store: GovernanceStore
    client: Client
    signer: Signer
    artifacts: ArtifactStore
    materializations: dict[tuple[str, str], int] = field(default_factory=dict)
    source: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def make(cls, root: Path, store_url: str = "") -> Deployment:
        """Make a deployment under ``root`` (its own SQLite store by default) and define the ION.

        Raises:
            IonError: as `ion.store.open_store`, `ion.evidence.create_key`.
        """
        from ion.graph.definition import Definition, define
        from ion.store import open_store

        home = Home(root).make()
        store = open_store(store_url or f"sqlite:///{root / 'store.db'}")
        founded_trust(home)
        define(store, Definition.from_json(dict(DEFINITION)))
        signer, artifacts = load_signer(home.decision_key_uri), ArtifactStore(home.artifacts)
        return cls(home, store, Client(home, "test", store), signer, artifacts)

    @property
    def trust(self) -> TrustRoot:
        """What a gate of this deployment trusts."""
        return load_trust(self.home).root("decision")

    def train(  # noqa: PLR0913 - what a training tells, by name
        self,
        *,
        weight: float = 1.0,
        seed: int = 7,
        status: str = "succeeded",
        code: Mapping[str, object] | None = None,
        checks: Mapping[str, bool | None] | None = None,
        reported: Mapping[str, float] | None = None,
        materialized: bool = True,
        links: Mapping[str, str] | None = None,
        submitter: str = "",
    ) -> Trained:
        """Tell everything one training tells, and ship it.

        Args:
            weight: what the true coefficients are multiplied by; -1 makes the model always wrong.
            seed: of the rows; another seed is another dataset version.
            status: how the node run ends.
            code: state of the source; by default committed.
            checks: dataset name → passed; None leaves the check out. By default both pass.
            reported: metrics to report instead of the true ones.
            materialized: whether Dagster's event log shall hold the model.
            links: where other systems show the model.
            submitter: who asked for the run.
        """
        from ion.serving.measure import measure
        from ion.serving.scorer import LINEAR_FORMAT

        rows = patients(seed)
        heldout, model_file = rows.iloc[::3].reset_index(drop=True), linear_model(weight)
        state = {"git": True, "dirty": False, "commit": "c0ffee" * 6, "source_digest": digest_bytes(b"source")}
        with self.client.node_run(
            TRAINER, kind="training", code=state if code is None else code, submitter=submitter
        ) as run:
            raw = run.dataset(f"{ION}/patients", rows, role="output", classification="pii", component="patients")
            run.use_dataset(raw, role="input", component="features")
            made = rows.assign(area=rows["area"] * 1.0, scaled=rows["radius"] / 10)
            features = run.dataset(f"{ION}/features", made, role="output", classification="pii", component="features")
            run.use_dataset(features, role="input", component="model")
            kept = run.dataset(f"{ION}/heldout", heldout, role="heldout", classification="pii", component="model")
            for version in (raw, features):
                name = version.name.partition("/")[2]
                passed = True if checks is None else checks.get(name)
                if passed is not None:
                    results = [{"expectation": "expect_column_values_to_not_be_null", "success": passed}]
                    run.check(version.name, CHECK, version.digest, passed=passed, severity="ERROR", results=results)
            run.param("weight", weight, component="model")
            run.stat("loss", 0.25)
            metrics = dict(measure(LINEAR_FORMAT, {"model.json": model_file}, heldout, "malignant"))
            run.trial({"weight": weight}, metrics, selected=True)
            run.component("model", "asset", {"status": "succeeded"})
            model = run.model(
                "recommender",
                Model(
                    files={"model.json": model_file},
                    format=LINEAR_FORMAT,
                    metrics=metrics if reported is None else reported,
                    heldout=kept,
                    label="malignant",
                    features=FEATURES,
                    signature={n: Histogram.spanning(rows[n].to_numpy()) for n in FEATURES},
                    links=links or {},
                ),
                {features.name: features.digest},
            )
            run.send(POLICY, "model", model)
            run.end(status, "" if status == "succeeded" else "the training failed")
        self.client.ship()
        if materialized:
            self.materializations[model, run.id] = len(self.materializations) + 1
        return Trained(run.id, model, raw, features, kept)

    def candidate(self, trained: Trained) -> Candidate:
        """Return the store's row of a candidate."""
        found = [c for c in self.store.candidates() if (c.model, c.run) == trained.candidate]
        return found[0]

    def promotions(self) -> Promotions:
        """Return what promotes, halts, revokes and publishes here."""
        from ion.serving.promoting import open_promotions

        return open_promotions(self.home, self.store, self.signer)

    def gate(self) -> Gate:
        """Return the gate of the serving node, as its process would open it."""
        from ion.serving import Gate, pointer_path

        pointer, state = pointer_path(self.home.root, SERVING), self.home.root / "serving" / SERVING / "accepted.json"
        return Gate(pointer, self.artifacts, trust_file(self.home), SERVING, state)

    def governor(self, policy_set: Callable[[str], PolicySet] | None = None) -> Governor:
        """Return a governor; ``policy_set`` replaces how policy sets are found."""
        from ion.decision import Governor, load_policy_set
        from ion.evidence.model_signature import model_signer
        from ion.graph.definition import assignments
        from ion.serving.measure import measure

        return Governor(
            self.store,
            self.artifacts,
            self.signer,
            measure=measure,
            assignments=lambda node: assignments(self.store, node),
            policy_set=policy_set or load_policy_set,
            materialization=lambda model: self.materializations.get((model.model, model.run)),
            source_now=lambda _: self.source,
            promotions=self.promotions(),
            version="test",
            models=model_signer(self.home),
            trust=trust_file(self.home),
        )

    def introduce(self, person: str, *, role: Role = "approver", aliases: Sequence[str] = ()) -> Signer:
        """Name a person with a new key in the trust document, and return the key."""
        from ion.evidence.trust_changes import with_person
        from ion.evidence.trust_signing import TrustPlace

        path = self.home.root.parent / f"{self.home.root.name}-people" / f"{person}-{new_id()}.pem"
        key = create_key(path)
        name, since = person.title(), now_us() - 86_400_000_000
        TrustPlace.of(self.home).sign(
            load_signer(f"file:{self.home.keys / 'root.pem'}"),
            lambda document: with_person(
                document, person, name=name, roles=(role,), aliases=tuple(aliases), key=key, at=since
            ),
        )
        return load_signer(f"file:{path}")

    def speak(self, signer: Signer, model: str, word: Word = "approve", **changes: object) -> str:
        """Let the person with this key say something about a model for `SERVING`; returns the statement's id.

        ``changes`` replace fields of the `ApprovalStatement`.
        """
        from dataclasses import replace

        from ion.decision.approving import Approving
        from ion.evidence.approvals import ApprovalStatement, sign_approval
        from ion.graph.definition import assignments

        trust = load_trust(self.home)
        person = trust.person_of(signer.public.key_id)
        ion, _, node = SERVING.partition("/")
        statement = ApprovalStatement(
            id=new_id(),
            ion=ion,
            node=node,
            model=model,
            person=person.id if person else "nobody",
            word=word,
            reason="it was tried",
            issued=now_us(),
            until=now_us() + 3_600_000_000,
        )
        statement = replace(statement, **changes)  # type: ignore[arg-type] # the caller's to get right
        taken = Approving(self.store, self.artifacts, trust, lambda node: assignments(self.store, node))
        return taken.record(sign_approval(statement, signer)).id

    def govern(self, policy_set: Callable[[str], PolicySet] | None = None) -> list[Outcome]:
        """Do what the policy sensor does: listen to people, then decide whatever is to be decided, oldest first."""
        from ion.decision.listening import Listening

        governor, listening = self.governor(policy_set), Listening()
        listening.listen(governor)
        waiting = [*self.store.candidates(undecided_only=True), *listening.about]
        return [outcome for candidate in waiting for outcome in governor.consider(candidate)]

    def serve(
        self, rows: int = 5, *, capture: bool = True, closed: bool = True, subjects: Sequence[str] = ()
    ) -> Served:
        """Tell everything a serving process tells about one epoch of the current model, and ship it.

        ``subjects`` says whose each row is; without, all rows share a capture key.

        Raises:
            IonError: what the current model's artifact says, when nothing was promoted yet.
        """
        from ion.agent.capture_keys import KeyDrop
        from ion.decision import promotion_message
        from ion.serving.capture import seal
        from ion.serving.captured import CapturedRow, capture_aad
        from ion.serving.keyring import Keyring
        from ion.serving.scorer import LINEAR_FORMAT, load_scorer
        from ion.serving.subject import SubjectTags

        current = self.store.current(SERVING)
        scorer = load_scorer(LINEAR_FORMAT, self.artifacts.get_model(current.model))
        decided = self.store.latest(DecisionMade, current.decision)
        inputs = tuple(tuple(map(float, row)) for row in patients(99)[list(FEATURES)].to_numpy()[:rows])
        scores = tuple(scorer.score_row(row) for row in inputs)
        epoch, started = new_id(), now_us()
        keyring = Keyring(KeyDrop(self.client), SERVING, SubjectTags.of(self.home))
        key = keyring.of_rows(epoch, subjects) if subjects else keyring.shared(epoch)
        key_id = "" if isinstance(key, list) else key.key_id
        with self.client.node_run(SERVING, kind="inference", engine="flink") as run:
            run.received(promotion_message(current.cause, SERVING))
            run.emit(
                EpochOpened(
                    epoch=epoch,
                    run=run.id,
                    node=SERVING,
                    subtask=0,
                    attempt=0,
                    models={"champion": current.model},
                    decision_digest=decided.fact.envelope_digest if decided else "",
                    cause=current.cause,
                    serial=current.serial,
                )
            )
            file_digest = digest_bytes(repr(scores).encode())
            run.emit(
                PredictionsCommitted(
                    epoch=epoch,
                    run=run.id,
                    first=0,
                    last=rows - 1,
                    rows=rows,
                    file="part-0",
                    file_digest=file_digest,
                    sources=[{"file": "patients-0.csv", "first": 1, "last": rows, "rows": rows}],
                    us_first=started,
                    us_last=now_us(),
                )
            )
            if capture:
                texts = [CapturedRow(row, score).to_text() for row, score in zip(inputs, scores, strict=True)]
                block = seal(texts, key, capture_aad(epoch, 0))
                run.emit(
                    InputsCaptured(
                        epoch=epoch,
                        run=run.id,
                        first=0,
                        last=rows - 1,
                        rows=rows,
                        key=key_id,
                        block=digest_bytes(block),
                    ),
                    block=block,
                )
            run.signature("score", Histogram.of(scores, [0.0, 0.25, 0.5, 0.75, 1.0]), role="prediction", epoch=epoch)
            run.stat("predictions", rows, epoch=epoch)
            if closed:
                run.emit(EpochClosed(epoch=epoch, run=run.id, reason="the run ended"))
        self.client.ship()
        ids = tuple(PredictionId(epoch, seq) for seq in range(rows))
        return Served(run.id, epoch, current.model, ids, inputs, scores, key_id)

    def close(self) -> None:
        """End the agent and release the store."""
        self.client.close()
        self.store.close()


@dataclass(frozen=True, slots=True)
class History:
    """A small complete story: a promoted model that served, and a bad one that was rejected."""

    deployment: Deployment
    trained: Trained
    approved: Outcome
    served: Served
    bad: Trained
    rejected: Outcome


def make_history(root: Path, store_url: str = "") -> History:
    """Make a deployment under ``root``: define, train, approve, promote, serve 5, train badly, reject."""
    deployment = Deployment.make(root, store_url)
    trained = deployment.train()
    (approved,) = deployment.govern()
    served = deployment.serve()
    bad = deployment.train(weight=-1.0)
    (rejected,) = deployment.govern()
    return History(deployment, trained, approved, served, bad, rejected)


def patients(seed: int = 7, rows: int = 240) -> pd.DataFrame:
    """Return rows of `FEATURES` and the label ``malignant`` (0 or 1), the same for the same seed."""
    import numpy as np
    import pandas as pd

    generator = np.random.default_rng(seed)
    data = generator.normal(10.0, 2.0, size=(rows, len(FEATURES)))
    truth = (data.sum(axis=1) + generator.normal(0.0, 0.3, rows) > 10.0 * len(FEATURES)).astype(int)
    return pd.DataFrame(data, columns=list(FEATURES)).assign(malignant=truth)


def linear_model(weight: float = 1.0) -> bytes:
    """Return ``model.json`` of a model that is right about `patients` when ``weight`` is positive."""
    from ion.serving.scorer import LinearScorer

    return LinearScorer.create(
        features=FEATURES,
        mean=[10.0] * 3,
        scale=[2.0] * 3,
        coefficients=[weight * 4.0] * 3,
        intercept=0.0,
        classes=("benign", "malignant"),
    ).to_bytes()


def committed_code(project: Path, *folders: str) -> dict[str, object]:
    """Return the real code state of ``folders`` in ``project``; see `ion.agent.code.code_state`."""
    return code_state(project, folders)


def written(fact: Fact, seq: int = 0, *, agent: str = "agent-1", us: int = 1, fact_id: str = "") -> Record:
    """Return a record of a fact by ``agent``; its id is ``agent:seq`` unless given."""
    return write_record(fact, fact_id=fact_id or f"{agent}:{seq}", agent=agent, seq=seq, stamp=Stamp(us))
