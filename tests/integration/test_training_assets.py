"""The training node in Dagster with real Spark and MLflow: what one run leaves behind, and how it fails."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
import mlflow
import pytest

from gov_assets.patient_tests import assets
from gov_assets.patient_tests.data import FEATURES, LABEL
from gov_assets.patient_tests.search import heldout_metrics
from ion.agent import read_parquet
from ion.dagster.io import ParquetIOManager
from ion.evidence.artifacts import ArtifactStore
from ion.facts import (
    CheckEvaluated,
    ComponentRan,
    DatasetRecorded,
    ModelRecorded,
    NodeRunEnded,
    NodeRunStarted,
    ParamRecorded,
    SignatureRecorded,
    TrialRecorded,
)
from ion.home import Home
from ion.serving import LinearScorer
from ion.store import open_store
from resources.mlflow import MlflowTracking
from resources.spark import SparkResource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.store import GovernanceStore

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@dataclass(frozen=True, slots=True)
class Trained:
    """One finished Dagster run of the three assets, and the home it wrote to."""

    result: dg.ExecuteInProcessResult
    home: Home
    store: GovernanceStore


def train(config: dict[str, object], tracking_uri: str = "") -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [assets.patients, assets.features, assets.model],
        resources={
            "pyspark": SparkResource(),
            "mlflow": MlflowTracking(experiment="patient_tests", tracking_uri=tracking_uri),
            "io_manager": ParquetIOManager(),
        },
        run_config={"ops": {"patient_tests__model": {"config": config}}},
        raise_on_error=False,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ION_HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("ION_STORE_URL", "MLFLOW_TRACKING_URI", "ION_MLFLOW_URL"):
            patch.delenv(name, raising=False)
        config = {"features": 10, "reg_params": [0.01, 10.0], "elastic_net_params": [0.0], "folds": 2}
        result = train(config)
        store = open_store(Home.find().store_url)
        yield Trained(result, Home.find(), store)
        store.close()


def candidate(trained: Trained) -> ModelRecorded:
    (recorded,) = trained.store.find(ModelRecorded)
    return recorded.fact


def test_one_run_makes_one_candidate_of_a_node_run_that_succeeded(trained: Trained) -> None:
    assert trained.result.success
    run = candidate(trained).run
    assert [record.fact.status for record in trained.store.find(NodeRunEnded, run)] == ["succeeded"]
    (started,) = trained.store.find(NodeRunStarted, run)
    assert started.fact.node == "patient_tests/model"
    assert started.fact.node_kind == "training"
    assert started.fact.engine_run == trained.result.run_id
    assert str(started.fact.code["source_digest"]).startswith("sha256:")


def test_reported_metrics_follow_from_the_artifact_and_the_held_out_rows(trained: Trained) -> None:
    made = candidate(trained)
    artifacts = ArtifactStore(trained.home.artifacts)
    scorer = LinearScorer.from_bytes(artifacts.get_model(made.model)["model.json"])
    digest = str(made.datasets["heldout"])
    recorded = trained.store.find(DatasetRecorded, digest)[0].fact
    heldout = read_parquet(artifacts.get(recorded.uri.removeprefix("artifact:")), digest)
    assert len(heldout) == recorded.rows == 140
    assert heldout_metrics(scorer, heldout) == made.metrics
    assert made.metrics["roc_auc"] > 0.95  # type: ignore[operator]  # metrics are numbers
    assert tuple(made.features) == FEATURES
    assert made.label == LABEL


def test_everything_the_search_knew_is_on_record(trained: Trained) -> None:
    run = candidate(trained).run
    params = {record.fact.name: record.fact.value for record in trained.store.find(ParamRecorded, run)}
    assert params["features"] == 10
    assert params["label_noise"] == 0.0
    trials = [record.fact for record in trained.store.find(TrialRecorded, run)]
    assert [trial.params["regParam"] for trial in trials] == [0.01, 10.0]
    assert sum(trial.selected for trial in trials) == 1
    components = {record.fact.component: record.fact for record in trained.store.find(ComponentRan, run)}
    assert {"vector_assembler", "standard_scaler", "logistic_regression", "cross_validator"} <= set(components)
    assert components["logistic_regression"].details["features"] == list(FEATURES[:10])
    difference = trained.store.points(run, "export_max_abs_diff")
    assert difference.values[0] <= 1e-12
    signatures = {record.fact.name: record.fact for record in trained.store.find(SignatureRecorded, run)}
    assert set(signatures) == {*FEATURES, "prediction"}
    assert {signature.role for signature in signatures.values()} == {"training"}
    assert {sum(signature.counts) for signature in signatures.values()} == {429}


def test_every_check_speaks_of_the_very_dataset_version_that_was_read(trained: Trained) -> None:
    for name in ("patients", "features"):
        (check,) = [r.fact for r in trained.store.find(CheckEvaluated) if r.fact.asset == f"patient_tests/{name}"]
        versions = [r.fact for r in trained.store.find(DatasetRecorded, f"patient_tests/{name}")]
        assert {version.digest for version in versions} == {check.dataset}
        assert {version.role for version in versions} == {"output", "input"}
        assert check.passed
        assert len(check.results) > 60


def test_mlflow_holds_the_finished_run_and_the_registered_version(trained: Trained) -> None:
    made = candidate(trained)
    client = mlflow.MlflowClient(trained.home.mlflow_url)
    run = client.get_run(str(made.links["mlflow_run"]))
    assert run.info.status == "FINISHED"
    assert run.data.tags["dagster_run_id"] == trained.result.run_id
    assert run.data.tags["ion.node_run"] == made.run
    assert run.data.tags["ion.dataset"] == trained.store.find(CheckEvaluated)[-1].fact.dataset
    assert run.data.tags["git.dirty"] in {"true", "false", "unknown"}
    assert run.data.metrics == pytest.approx(made.metrics, abs=0)
    version = client.get_model_version(str(made.links["mlflow_model"]), str(made.links["mlflow_version"]))
    assert version.run_id == run.info.run_id
    assert version.tags["ion.model"] == made.model


def test_the_page_shows_plots_and_candidates_and_no_patient(trained: Trained) -> None:
    events = trained.result.asset_materializations_for_node("patient_tests__model")
    metadata = events[0].metadata
    assert metadata["ROC, held out"].value.startswith("![ROC curve")  # type: ignore[union-attr]  # markdown
    assert len(metadata["candidates"].value) == 2  # type: ignore[arg-type]  # a table
    shown = json.dumps([str(event) for event in trained.result.all_events])
    facts = b"".join(raw for _, raw, _ in trained.store.entries())
    assert "wdbc-" not in shown
    assert b"wdbc-" not in facts


def test_without_mlflow_training_fails_clearly_and_makes_no_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ION_HOME", str(tmp_path))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    began = time.monotonic()
    result = train({}, tracking_uri=f"http://127.0.0.1:{port}")
    assert time.monotonic() - began < 30
    assert not result.success
    assert "mlflow-unreachable" in str(result.failure_data_for_node("patient_tests__model").error)  # type: ignore[union-attr]
    store = open_store(Home.find().store_url)
    assert store.find(ModelRecorded) == []
    ended = [record.fact for record in store.find(NodeRunEnded)]
    assert [end.status for end in ended] == ["failed"]
    assert "mlflow-unreachable" in ended[0].error
    store.close()
