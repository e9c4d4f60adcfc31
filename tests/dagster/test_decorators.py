"""What the decorators record and show of assets that run in a real Dagster instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd
import pytest

import ion
from ion import IonError, testing
from ion.agent import dataset_digest
from ion.canonical import digest_bytes
from ion.dagster import dataset, inference, streaming, training
from ion.dagster.declaration import declarations, definitions_of
from ion.evidence.artifacts import ArtifactStore
from ion.facts import (
    CheckEvaluated,
    ComponentRan,
    DatasetRecorded,
    DecisionMade,
    MessageSent,
    ModelRecorded,
    NodeRunEnded,
    NodeRunStarted,
    ParamRecorded,
)

if TYPE_CHECKING:
    from conftest import Scene


def test_a_dataset_is_recorded_by_its_content(scene: Scene) -> None:
    assets = scene.ion()
    done = scene.run(assets, "patients", ops={"ward__patients": {"seed": 3}})
    assert done.success
    frame = testing.patients(3)
    digest = dataset_digest(frame)

    (recorded,) = scene.facts(DatasetRecorded)
    assert (recorded.name, recorded.role, recorded.digest) == ("ward/patients", "output", digest)
    assert (recorded.rows, recorded.classification, recorded.component) == (240, "pii", "patients")
    kept = ArtifactStore(scene.home.artifacts).get(recorded.uri.removeprefix("artifact:"))
    assert recorded.uri == "artifact:" + digest_bytes(kept)

    (event,) = (record.asset_materialization for record in scene.events("ward/patients"))
    assert event is not None
    assert event.tags is not None
    assert event.tags["ion/node_run"] == recorded.run
    assert event.tags["dagster/data_version"] == digest
    assert event.metadata["dataset digest"].value == digest
    assert event.metadata["dagster/row_count"].value == 240
    assert event.metadata["classification"].value == "pii"
    columns = event.metadata["dagster/column_schema"].value
    assert isinstance(columns, dg.TableSchema)
    assert [column.name for column in columns.columns] == list(frame.columns)

    (check,) = scene.facts(CheckEvaluated)
    assert (check.asset, check.name, check.dataset, check.passed) == ("ward/patients", "enough_rows", digest, True)
    (evaluation,) = done.get_asset_check_evaluations()
    assert evaluation.passed
    assert evaluation.metadata["dataset digest"].value == digest
    assert evaluation.metadata["ion/node_run"].value == recorded.run


@pytest.mark.parametrize(("rows", "passed"), [(240, True), (241, False)])
def test_a_failed_expectation_is_evidence_and_not_an_error(scene: Scene, rows: int, *, passed: bool) -> None:
    done = scene.run(scene.ion(rows=rows), "patients")
    assert done.success
    (check,) = scene.facts(CheckEvaluated)
    (evaluation,) = done.get_asset_check_evaluations()
    assert check.passed is evaluation.passed is passed


def test_a_suite_without_expectations_has_not_passed(scene: Scene) -> None:
    class Nothing:
        name = "nothing"

        def __call__(self, frame: pd.DataFrame) -> list[object]:  # noqa: ARG002
            return []

    @dataset(ion="ward", classification="public", expectations=Nothing())  # type: ignore[arg-type]
    def patients() -> pd.DataFrame:
        return testing.patients()

    done = scene.run([patients])
    assert [evaluation.passed for evaluation in done.get_asset_check_evaluations()] == [False]
    assert [check.passed for check in scene.facts(CheckEvaluated)] == [False]


def test_a_warning_stays_a_warning(scene: Scene) -> None:
    @dataset(ion="ward", classification="public", expectations=scene.assets.AtLeast(1000, severity="WARN"))
    def patients() -> pd.DataFrame:
        return testing.patients()

    (evaluation,) = scene.run([patients]).get_asset_check_evaluations()
    assert evaluation.severity is dg.AssetCheckSeverity.WARN
    assert [(check.passed, check.severity) for check in scene.facts(CheckEvaluated)] == [(False, "WARN")]


def test_a_training_makes_a_candidate_of_exactly_what_it_read(scene: Scene) -> None:
    assets = scene.ion()
    dagster_run = scene.train(assets, weight=2.0)

    (model,) = scene.facts(ModelRecorded)
    (started,) = [fact for fact in scene.facts(NodeRunStarted) if fact.node == "ward/recommender"]
    assert (model.node, model.name, model.run) == ("ward/recommender", "ward/recommender", started.run)
    assert model.datasets["ward/patients"] == dataset_digest(testing.patients())
    assert model.datasets["heldout"] == dataset_digest(testing.patients().iloc[::3].reset_index(drop=True))
    files = ArtifactStore(scene.home.artifacts).get_model(model.model)
    assert dict(files) == {"model.json": testing.linear_model(2.0)}

    assert (started.engine, started.engine_run, started.node_kind) == ("dagster", dagster_run, "training")
    assert started.code["git"] is False
    assert started.code["folders"] == ["ward"]
    assert started.config == {
        "ops": {
            "ward__patients": {"config": {"seed": 7}},
            "ward__recommender": {"config": {"weight": 2.0, "registered_as": ""}},
        }
    }
    assert [(fact.name, fact.value) for fact in scene.facts(ParamRecorded, started.run)] == [("weight", 2.0)]
    (sent,) = scene.facts(MessageSent)
    assert (sent.sender, sent.receiver, sent.message_kind, sent.subject) == (
        "ward/recommender",
        "ward/approval",
        "model",
        model.model,
    )
    assert [fact.status for fact in scene.facts(NodeRunEnded, started.run)] == ["succeeded"]

    (event,) = (record.asset_materialization for record in scene.events("ward/recommender"))
    assert event is not None
    assert event.tags is not None
    assert event.tags["ion/node_run"] == started.run
    assert event.tags["dagster/data_version"] == model.model
    assert event.metadata["metric roc_auc"].value == model.metrics["roc_auc"]
    (candidate,) = scene.store.candidates()
    assert (candidate.model, candidate.run, candidate.verdict) == (model.model, started.run, "")


def test_a_training_that_raises_leaves_a_failed_run_and_no_candidate(scene: Scene) -> None:
    @training(ion="ward", policy=scene.policy_sets.careful)
    def recommender(run: ion.NodeRun) -> ion.Model:
        run.param("tried", 1)
        raise ZeroDivisionError("the learning rate was zero")

    scene.define([recommender, scene.ion()[2]])
    assert not scene.run([recommender]).success
    (ended,) = scene.facts(NodeRunEnded)
    assert ended.status == "failed"
    assert ended.error == "ZeroDivisionError", "its message may quote a row"
    assert [fact.details["status"] for fact in scene.facts(ComponentRan)] == ["failed"]
    assert scene.store.candidates() == []
    assert scene.events("ward/recommender") == []


class BrokenDisk(dg.IOManager):
    def handle_output(self, context: dg.OutputContext, obj: object) -> None:  # noqa: ARG002
        raise OSError("no space left on device")

    def load_input(self, context: dg.InputContext) -> object:  # noqa: ARG002
        return testing.patients()


def test_a_failing_io_manager_after_the_body_makes_no_evidence(scene: Scene) -> None:
    assets = scene.ion()
    done = scene.run(assets, "patients", "recommender", resources={"io_manager": BrokenDisk()})
    assert not done.success
    assert scene.store.candidates() == []
    assert scene.events("ward/patients") == []


def test_a_candidate_whose_materialization_failed_stays_undecided(scene: Scene) -> None:
    @training(ion="ward", policy=scene.policy_sets.careful)
    def recommender(run: ion.NodeRun) -> ion.Model:
        run.model("ward/recommender", scene.assets.fitted(run, testing.patients(), 1.0, "ward"))
        raise OSError("died after telling of the model")

    scene.define([recommender, scene.ion()[2]])
    assert not scene.run([recommender]).success
    (lost,) = scene.store.candidates()
    scene.train(scene.ion(), weight=2.0)
    (decision,) = scene.decided(1)
    assert decision.run != lost.run
    assert [candidate.run for candidate in scene.store.candidates(undecided_only=True)] == [lost.run]


def test_what_is_no_frame_or_no_model_is_refused(scene: Scene) -> None:
    @dataset(ion="ward", classification="public")
    def patients() -> pd.DataFrame:
        return [1, 2, 3]  # type: ignore[return-value]

    @training(ion="ward", policy=scene.policy_sets.careful)
    def recommender(run: ion.NodeRun) -> ion.Model:  # noqa: ARG001
        return {"weights": [1]}  # type: ignore[return-value]

    for asset, code in ((patients, "not-a-frame"), (recommender, "not-a-model")):
        done = scene.run([asset])
        assert not done.success
        (failure,) = [event for event in done.all_events if event.is_step_failure]
        cause = failure.step_failure_data.error.cause  # type: ignore[union-attr]
        assert cause is not None
        assert cause.cls_name == "IonError"
        assert code in cause.message or "returned a" in cause.message
    assert {fact.status for fact in scene.facts(NodeRunEnded)} == {"failed"}


def test_serving_a_model_that_nobody_trains_is_said_at_once() -> None:
    spec = streaming(ion="ward", name="scores", model="recomender", classification="pii")
    with pytest.raises(IonError, match="no training asset of ward is called") as misspelt:
        definitions_of(declarations([spec]))
    assert misspelt.value.code == "no-training"


def test_declarations_refuse_what_cannot_be_governed() -> None:
    with pytest.raises(IonError, match="unknown classification") as bad:
        dataset(ion="ward", classification="secret")
    assert bad.value.code == "bad-classification"
    with pytest.raises(IonError, match="unknown classification"):
        streaming(ion="ward", name="scores", model="recommender", classification="secret")
    with pytest.raises(IonError, match="does not take the model") as deaf:

        @inference(ion="ward", model="recommender", classification="pii")
        def scores(patients: pd.DataFrame) -> pd.DataFrame:
            return patients

    assert deaf.value.code == "no-scorer"
    with pytest.raises(IonError, match="TYPE_CHECKING") as unread:

        @dataset(ion="ward", classification="pii")
        def patients(config: Absent) -> pd.DataFrame:  # type: ignore[name-defined]  # noqa: F821 - that is the point
            return pd.DataFrame(config)

    assert unread.value.code == "unresolved-annotation"


def test_assets_of_one_node_in_one_dagster_run_share_its_run(scene: Scene) -> None:
    @dataset(ion="ward", node="recommender", classification="pii")
    def patients() -> pd.DataFrame:
        return testing.patients()

    @dataset(ion="ward", node="recommender", classification="pii")
    def features(patients: pd.DataFrame) -> pd.DataFrame:
        return patients.assign(double=patients["area"] * 2)

    @training(ion="ward", policy=scene.policy_sets.careful)
    def recommender(run: ion.NodeRun, features: pd.DataFrame) -> ion.Model:
        return scene.assets.fitted(run, features, 1.0, "ward")  # type: ignore[no-any-return]

    assert scene.run([patients, features, recommender]).success
    (started,) = scene.facts(NodeRunStarted)
    parts = {fact.component: fact.details["status"] for fact in scene.facts(ComponentRan, started.run)}
    assert parts == {"patients": "succeeded", "features": "succeeded", "recommender": "succeeded"}
    assert [fact.status for fact in scene.facts(NodeRunEnded, started.run)] == ["succeeded"]
    assert {fact.run for fact in scene.facts(DatasetRecorded)} == {started.run}

    assert scene.run([patients, features, recommender]).success
    assert len(scene.facts(NodeRunStarted)) == 2


def test_a_retried_training_succeeds_in_the_end(scene: Scene) -> None:
    attempts: list[int] = []

    @training(ion="ward", policy=scene.policy_sets.careful)
    def recommender(context: dg.AssetExecutionContext, run: ion.NodeRun) -> ion.Model:
        attempts.append(context.retry_number)
        model = scene.assets.fitted(run, testing.patients(), 1.0 if context.retry_number else 9.0, "ward")
        if context.retry_number == 0:
            run.model("ward/recommender", model)  # told, and then lost
            raise dg.RetryRequested(max_retries=1)
        return model  # type: ignore[no-any-return]

    scene.define([recommender, scene.ion()[2]])
    assert scene.run([recommender]).success
    assert attempts == [0, 1]
    (started,) = scene.facts(NodeRunStarted)
    assert [fact.status for fact in scene.facts(NodeRunEnded, started.run)] == ["failed", "succeeded"]
    first, second = scene.store.candidates()
    assert first.run == second.run
    (decision,) = scene.decided(1)
    scene.tick()
    assert [decision.model] == [fact.model for fact in scene.facts(DecisionMade)] == [second.model]


def test_a_retried_dataset_ends_its_node_run_as_succeeded(scene: Scene) -> None:
    @dataset(ion="ward", classification="pii")
    def patients(context: dg.AssetExecutionContext) -> pd.DataFrame:
        if context.retry_number == 0:
            raise dg.RetryRequested(max_retries=1)
        return testing.patients()

    assert scene.run([patients]).success
    assert [fact.status for fact in scene.facts(NodeRunEnded)] == ["failed"]
    cursor = scene.observe()
    scene.observe(cursor)
    assert [fact.status for fact in scene.facts(NodeRunEnded)] == ["failed", "succeeded"]


def test_config_and_resources_pass_through_and_no_secret_of_a_resource_is_recorded(scene: Scene) -> None:
    done = dg.materialize(
        [scene.assets.lit_ion(scene.policy_sets.careful)],
        instance=scene.instance,
        resources={"bulb": scene.assets.Lamp.configure_at_launch()},
        run_config={
            "ops": {"ward__recommender": {"config": {"weight": 3.0}}},
            "resources": {"bulb": {"config": {"password": "hunter2-of-the-lamp"}}},
        },
    )
    assert done.success
    told = {fact.name: fact.value for fact in scene.facts(ParamRecorded)}
    assert told == {"light": 0.5, "key": "ward/recommender"}
    (model,) = scene.facts(ModelRecorded)
    assert ArtifactStore(scene.home.artifacts).get_model(model.model)["model.json"] == testing.linear_model(3.0)
    facts = b"".join(raw for _, raw, _ in scene.store.entries())
    assert b'"weight":3' in facts
    assert b"hunter2" not in facts


def test_every_partition_is_a_dataset_version_of_its_own(scene: Scene) -> None:
    wards = dg.StaticPartitionsDefinition(["1.1", "1.2", "a/b"])

    @dataset(ion="ward", classification="pii", partitions_def=wards)
    def patients(context: dg.AssetExecutionContext) -> pd.DataFrame:
        return testing.patients(seed=len(context.partition_key) + ord(context.partition_key[-1]))

    @dataset(ion="ward", classification="pii", partitions_def=wards)
    def features(patients: pd.DataFrame) -> pd.DataFrame:
        return patients.assign(double=patients["area"] * 2)

    for key in wards.get_partition_keys():
        assert scene.run([patients, features], "patients", partition_key=key).success
    for key in wards.get_partition_keys():
        assert scene.run([patients, features], "features", partition_key=key).success
    written = [fact for fact in scene.facts(DatasetRecorded) if fact.role == "output" and fact.name == "ward/patients"]
    read = [fact for fact in scene.facts(DatasetRecorded) if fact.role == "input"]
    assert len({fact.digest for fact in written}) == 3
    assert [fact.digest for fact in read] == [fact.digest for fact in written]
    files = sorted(path.name for path in (scene.home.root / "data" / "ward" / "patients").iterdir())
    assert files == ["1.1.parquet", "1.2.parquet", "a%2Fb.parquet"]


def test_several_partitions_at_once_are_refused_and_not_mixed(scene: Scene) -> None:
    @dataset(ion="ward", classification="pii", partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
    def patients() -> pd.DataFrame:
        return testing.patients()

    @dataset(ion="ward", classification="pii")
    def features(patients: pd.DataFrame) -> pd.DataFrame:
        return patients

    for key in ("a", "b"):
        assert scene.run([patients], partition_key=key).success
    done = scene.run([patients, features], "features")
    assert not done.success
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    assert "at once are no dataset version" in str(failure.step_failure_data.error)


def test_models_named_apart_have_their_own_approval_and_deployment(scene: Scene) -> None:
    @training(ion="ward", policy=scene.policy_sets.careful, approval="risk_approval", deployment="risk_deployment")
    def risk(run: ion.NodeRun) -> ion.Model:
        return scene.assets.fitted(run, testing.patients(), 1.0, "ward")  # type: ignore[no-any-return]

    @inference(ion="ward", model="risk", classification="pii", deployment="risk_deployment")
    def scores(scorer: ion.Scorer) -> pd.DataFrame:
        return testing.patients().assign(score=scorer.score(testing.patients()[list(scorer.features)]))

    stream = streaming(ion="ward", name="stream", model="risk", classification="pii", deployment="risk_deployment")
    assert scores.asset_deps[scores.key] == {dg.AssetKey(["ward", "risk_deployment"])}
    assert [dep.asset_key for dep in stream.deps] == [dg.AssetKey(["ward", "risk_deployment"])]
    (definition,) = definitions_of(declarations([risk, scores, stream]))
    assert {(node.name, node.kind) for node in definition.nodes} == {
        ("risk", "training"),
        ("risk_approval", "policy"),
        ("scores", "inference"),
        ("stream", "inference"),
    }
    assert [assignment.serving_node for assignment in definition.assignments("risk")] == ["ward/scores", "ward/stream"]
    scene.define([risk, scores])
    assert scene.run([risk]).success
    scene.decided(1)
    assert len(scene.events("ward/risk_approval", observed=True)) == 1, "no declared check: rejected, and shown there"
