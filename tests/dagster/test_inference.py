"""Batch inference: through the gate or not at all, and every scored row accounted for."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd
import pytest

import ion
from ion import testing
from ion.dagster import inference
from ion.dagster.governing import decision_signer
from ion.evidence.artifacts import ArtifactStore
from ion.evidence.captures import read_directory
from ion.facts import (
    AdmissionRefused,
    EpochClosed,
    EpochOpened,
    InputsCaptured,
    MessageReceived,
    NodeRunEnded,
    PredictionsCommitted,
    Promoted,
    RolledBack,
    SignatureRecorded,
    StatisticsRecorded,
)
from ion.ids import PredictionId
from ion.replay import Eraser, replay
from ion.serving import load_scorer, open_block, pointer_path
from ion.serving.captured import CapturedRow, capture_aad
from ion.serving.promoting import open_promotions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conftest import Scene


def promoted(scene: Scene) -> Sequence[dg.AssetsDefinition]:
    ion = scene.ion()
    scene.train(ion)
    scene.decided(1)
    return ion


def failure(done: dg.ExecuteInProcessResult) -> str:
    assert not done.success
    (failed,) = [event for event in done.all_events if event.is_step_failure]
    return str(failed.step_failure_data.error)


def captured(scene: Scene) -> list[CapturedRow]:
    """Open what was captured with the key that the store holds."""
    rows: list[CapturedRow] = []
    for fact in scene.facts(InputsCaptured):
        block = scene.store.block(fact.block)
        assert block is not None
        ids = {section.key_id for section in read_directory(block).sections}
        assert fact.key == "" or ids == {fact.key}
        keys = [key for key in map(scene.store.capture_key, ids) if key is not None]
        texts = open_block(block, keys, capture_aad(fact.epoch, fact.first))
        assert len(texts) == fact.rows == fact.last - fact.first + 1
        rows += [CapturedRow.from_text(text) for text in texts]
    return rows


def test_every_scored_row_is_a_prediction_that_can_be_asked_about_and_computed_again(scene: Scene) -> None:
    ion = promoted(scene)
    done = scene.served(ion)
    assert done.success
    frame = done.asset_value(ion[2].key)
    (opened,) = scene.facts(EpochOpened)
    (committed,) = scene.facts(PredictionsCommitted)
    (cause,) = scene.facts(Promoted)
    assert list(frame["prediction_id"]) == [f"{opened.epoch}:{seq}" for seq in range(240)]
    assert (committed.epoch, committed.first, committed.last, committed.rows) == (opened.epoch, 0, 239, 240)
    assert (opened.cause, opened.serial, dict(opened.models)) == (cause.cause, 1, {"champion": cause.model})
    assert [fact.reason for fact in scene.facts(EpochClosed, opened.epoch)] == ["the run ended"]
    assert len(scene.facts(MessageReceived, opened.run)) == 1
    position = scene.store.prediction_position(PredictionId(opened.epoch, 239))
    assert position is not None
    assert scene.store.record_at(position).fact == committed
    assert scene.store.prediction_position(PredictionId(opened.epoch, 240)) is None

    rows = captured(scene)
    truth = testing.patients()
    assert [row.inputs for row in rows] == [tuple(row) for row in truth[list(testing.FEATURES)].to_numpy().tolist()]
    assert [row.score for row in rows] == list(frame["score"])
    model = ArtifactStore(scene.home.artifacts).get_model(cause.model)
    scorer = load_scorer("ion-linear/1", model)
    assert [scorer.score_row(row.inputs) for row in rows] == [row.score for row in rows]

    series = {row["name"] for fact in scene.facts(StatisticsRecorded, opened.epoch) for row in fact.series}
    assert series == {"predictions", "mean score"}
    (signature,) = scene.facts(SignatureRecorded, opened.epoch)
    assert sum(signature.counts) + signature.below + signature.above == 240
    event = scene.events("ward/scores")[0].asset_materialization
    assert event is not None
    assert event.metadata["first prediction"].value == f"{opened.epoch}:0"
    assert event.metadata["model digest"].value == cause.model
    assert [fact.status for fact in scene.facts(NodeRunEnded, opened.run)] == ["succeeded"]


def about_people(change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame) -> dg.AssetsDefinition:
    """Scores of an ION that declares whose row each is: two rows of each patient."""

    @inference(ion="ward", model="recommender", classification="pii", subject="patient")
    def scores(scorer: ion.Scorer, patients: pd.DataFrame) -> pd.DataFrame:
        scored = patients.assign(score=scorer.score(patients[list(scorer.features)].to_numpy()))
        return change(scored.assign(patient=[index // 2 for index in range(len(scored))]))

    return scores


def test_each_persons_rows_of_a_batch_are_sealed_apart_and_one_person_can_be_erased(scene: Scene) -> None:
    made = [*promoted(scene)[:2], about_people()]
    scene.define(made)
    assert scene.served(made).success
    assert len(captured(scene)) == 240
    (opened,) = scene.facts(EpochOpened)
    eraser = Eraser(scene.store, scene.home, reason="request 7", by="ada")
    assert len(eraser.subject("ward/scores", "3").keys) == 1
    client = scene.client()
    found = [replay(scene.store, scene.home, PredictionId(opened.epoch, seq), client) for seq in range(5, 9)]
    client.close()
    assert [each.verdict for each in found] == ["identical", "unavailable", "unavailable", "identical"]
    assert {each.reason.partition(":")[0] for each in found} == {"", "erased"}
    assert scene.served(made).success  # seen again: captured again, under another key
    assert len(eraser.subject("ward/scores", "3").keys) == 1


def test_a_batch_that_does_not_say_whose_row_it_is_is_no_batch(scene: Scene) -> None:
    made = promoted(scene)
    for change in (lambda frame: frame.drop(columns="patient"), lambda frame: frame.head(7)):
        done = scene.served([*made[:2], about_people(change)])
        assert "no-subject" in failure(done)
    assert scene.facts(InputsCaptured) == []
    assert scene.facts(PredictionsCommitted) == []


def test_a_second_run_is_another_epoch(scene: Scene) -> None:
    ion = promoted(scene)
    assert scene.served(ion).success
    assert scene.served(ion).success
    first, second = scene.facts(EpochOpened)
    assert first.epoch != second.epoch
    assert first.run != second.run


def test_rows_and_frames_score_alike(scene: Scene) -> None:
    promoted(scene)

    @inference(ion="ward", model="recommender", classification="pii")
    def scores(scorer: ion.Scorer) -> pd.DataFrame:
        rows = testing.patients().head(3)
        numbers = rows[list(scorer.features)]
        one_by_one = [scorer.score_row(row) for row in numbers.to_numpy().tolist()]
        assert one_by_one == list(scorer.score(numbers))  # type: ignore[arg-type]  # a frame is welcome, too
        assert {scorer.label(score) for score in one_by_one} <= set(scorer.classes)
        assert scorer.digest.startswith("sha256:")
        assert scorer.format == "ion-linear/1"
        return pd.concat([rows, rows])

    done = scene.run([scores])
    assert done.success
    assert len(captured(scene)) == 6
    assert done.asset_value(scores.key)["prediction_id"].nunique() == 6


def test_nothing_is_served_before_an_approval(scene: Scene) -> None:
    ion = scene.ion()
    scene.train(ion, weight=-1.0)
    assert "no model was ever approved" in failure(scene.served(ion))
    scene.decided(1)
    assert "the gate refused" in failure(scene.served(ion))
    assert [fact.step for fact in scene.facts(AdmissionRefused)] == ["pointer"]
    assert scene.facts(EpochOpened) == []


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_tampered_pointer_is_refused(scene: Scene) -> None:
    ion = promoted(scene)
    flip(pointer_path(scene.home.root, "ward/scores"))
    assert "the gate refused" in failure(scene.served(ion))
    (refused,) = scene.facts(AdmissionRefused)
    assert refused.step == "pointer"
    assert refused.pointer_digest.startswith("sha256:")
    assert scene.facts(PredictionsCommitted) == []
    assert scene.facts(NodeRunEnded, refused.run)[0].status == "failed"


def test_a_tampered_artifact_is_refused(scene: Scene) -> None:
    ion = promoted(scene)
    (cause,) = scene.facts(Promoted)
    artifacts = ArtifactStore(scene.home.artifacts)
    digest = artifacts.get_manifest(cause.model).entries[0].sha256
    (file,) = scene.home.artifacts.rglob(digest.removeprefix("sha256:"))
    flip(file)
    assert "the gate refused" in failure(scene.served(ion))
    (refused,) = scene.facts(AdmissionRefused)
    assert refused.step == "artifact"
    assert scene.facts(EpochOpened) == []


def test_a_halted_node_serves_nothing(scene: Scene) -> None:
    ion = promoted(scene)
    keeper = open_promotions(scene.home, scene.store, decision_signer(scene.home))
    keeper.halt("ward/scores", reason="too many false alarms", by="test")
    assert "the gate refused" in failure(scene.served(ion))
    assert [fact.step for fact in scene.facts(AdmissionRefused)] == ["halt"]


def test_a_model_revoked_while_it_scores_commits_nothing(scene: Scene) -> None:
    """A batch under way ends within two seconds; the next one does not start."""
    promoted(scene)
    (cause,) = scene.facts(Promoted)
    keeper = open_promotions(scene.home, scene.store, decision_signer(scene.home))
    took: list[float] = []

    @inference(ion="ward", model="recommender", classification="pii")
    def scores(scorer: ion.Scorer) -> pd.DataFrame:
        scorer.score_row([1.0, 2.0, 3.0])
        keeper.revoke("ward/scores", cause.model, reason="mislabelled rows", by="test")
        began = time.monotonic()
        try:
            while time.monotonic() < began + 30:
                scorer.score_row([1.0, 2.0, 3.0])
        finally:
            took.append(time.monotonic() - began)
        raise AssertionError("it was never told")

    assert "at step revoke" in failure(scene.run([scores]))
    assert max(took) < 2.0
    (opened,) = scene.facts(EpochOpened)
    assert [fact.reason for fact in scene.facts(EpochClosed, opened.epoch)] == ["the run failed"]
    assert scene.facts(PredictionsCommitted) == []
    assert "at step revoke" in failure(scene.run([scores]))
    assert [fact.step for fact in scene.facts(AdmissionRefused)] == ["revoke", "revoke"]


def test_what_was_scored_is_not_committed_after_a_halt(scene: Scene) -> None:
    """Nothing was scored since, and still the rows are not handed on."""
    promoted(scene)
    keeper = open_promotions(scene.home, scene.store, decision_signer(scene.home))

    @inference(ion="ward", model="recommender", classification="pii")
    def scores(scorer: ion.Scorer) -> pd.DataFrame:
        frame = testing.patients().assign(score=scorer.score(testing.patients()[list(testing.FEATURES)].to_numpy()))
        keeper.halt("ward/scores", reason="wrong unit", by="test")
        return frame

    assert "at step halt" in failure(scene.run([scores]))
    assert scene.facts(PredictionsCommitted) == []


def test_a_batch_node_falls_back_where_it_declares_so(scene: Scene) -> None:
    ion_assets = promoted(scene)

    @inference(ion="ward", model="recommender", classification="pii", on_revocation="fall_back")
    def scores(scorer: ion.Scorer) -> pd.DataFrame:
        return testing.patients().assign(score=scorer.score(testing.patients()[list(testing.FEATURES)].to_numpy()))

    scene.define([*ion_assets[:2], scores])
    scene.train(ion_assets, weight=1.5)
    scene.decided(2)
    first, second = scene.facts(Promoted)
    keeper = open_promotions(scene.home, scene.store, decision_signer(scene.home))
    keeper.revoke("ward/scores", second.model, reason="mislabelled rows", by="test")
    assert scene.run([scores]).success
    (opened,) = scene.facts(EpochOpened)
    (back,) = scene.facts(RolledBack)
    assert (opened.models["champion"], opened.cause, opened.serial) == (first.model, back.cause, 4)


def test_a_scoring_that_raises_commits_nothing_and_closes_its_epoch(scene: Scene) -> None:
    promoted(scene)

    @inference(ion="ward", model="recommender", classification="pii")
    def scores(scorer: ion.Scorer) -> pd.DataFrame:
        scorer.score_row([1.0, 2.0, 3.0])
        raise ArithmeticError("half way through")

    assert "half way" in failure(scene.run([scores]))
    (opened,) = scene.facts(EpochOpened)
    assert [fact.reason for fact in scene.facts(EpochClosed, opened.epoch)] == ["the run failed"]
    assert scene.facts(PredictionsCommitted) == []
    assert scene.facts(InputsCaptured) == []


# What Dagster's own storage shows -----------------------------------------------------------------


def everything_dagster_keeps(root: Path) -> str:
    """Return all text in all files under a Dagster home: event logs, runs, ticks, captured output."""
    texts: list[str] = []
    for path in sorted(root.rglob("*")):
        if path.suffix == ".db":
            with sqlite3.connect(path) as database:
                tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                for table in tables:
                    texts += [json.dumps(row, default=repr) for row in database.execute(f'SELECT * FROM "{table}"')]  # noqa: S608 - its own table names
        elif path.is_file():
            texts.append(path.read_bytes().decode(errors="replace"))
    return "\n".join(texts)


def secrets_and_values(scene: Scene) -> list[str]:
    """Return every measured value of every patient to eight digits, and the body of every key."""
    frame = testing.patients()[list(testing.FEATURES)]
    values = [f"{value:.6f}"[:8] for value in frame.to_numpy().ravel()]
    pem = (scene.home.keys / "decision.pem").read_text().splitlines()
    secrets = [line for line in pem if line and not line.startswith("-")]
    for fact in scene.facts(InputsCaptured):
        key = scene.store.capture_key(fact.key)
        assert key is not None
        secrets.append(key.secret.hex())
    return values + secrets


def test_dagster_keeps_no_secret_and_no_row_of_a_patient(scene: Scene) -> None:
    ion = promoted(scene)
    assert scene.served(ion).success
    scene.train(ion, weight=-1.0)
    scene.decided(2)
    text = everything_dagster_keeps(Path(scene.instance.root_directory))
    assert "roc_auc" in text
    wanted = secrets_and_values(scene)
    assert len(wanted) > 700
    assert [value for value in wanted if value in text] == []


def test_the_search_for_rows_would_find_one(scene: Scene) -> None:
    value = f"{testing.patients()['radius'][0]:.12f}"

    @dg.asset
    def leak() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"first row": value})

    assert scene.run([leak]).success
    assert value[:8] in everything_dagster_keeps(Path(scene.instance.root_directory))


@pytest.mark.parametrize("asset", ["patients", "recommender"])
def test_what_trains_never_reads_or_makes_a_key(scene: Scene, asset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ion = scene.ion()
    scene.run(ion, "patients")
    keys = scene.home.keys
    monkeypatch.setenv("ION_DECISION_KEY", f"file:{scene.home.root / 'nowhere.pem'}")  # reading it would fail
    assert scene.run(ion, asset).success
    assert not keys.exists()
    assert not scene.home.trust_document.exists()
