"""The observation sensor: assets that know nothing of ion, killed runs, and windows of streamed predictions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd
import pytest

from ion import testing
from ion.canonical import digest_bytes
from ion.dagster import dataset, observation, windows
from ion.facts import (
    CheckEvaluated,
    CheckObserved,
    EpochOpened,
    GapNoted,
    MaterializationObserved,
    NodeRunEnded,
    NodeRunStarted,
    PredictionsCommitted,
    SignatureRecorded,
    SignaturesRecorded,
)
from ion.ids import new_id

if TYPE_CHECKING:
    from conftest import Scene

    from ion.agent import NodeRun


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["north", "south"]))
def census() -> None:
    """Know nothing of ion."""


@dg.asset_check(asset=census)
def plausible() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)


def test_what_ion_did_not_run_is_observed_exactly_once(scene: Scene) -> None:
    done = dg.materialize([census], instance=scene.instance, partition_key="north")
    checked = dg.materialize([plausible], instance=scene.instance, selection=dg.AssetSelection.all_asset_checks())
    cursor = scene.observe()
    scene.observe(cursor)
    scene.observe(None)
    (seen,) = scene.facts(MaterializationObserved)
    assert (seen.asset, seen.partition, seen.step, seen.dagster_run) == ("census", "north", "census", done.run_id)
    (record,) = scene.events("census")
    assert seen.storage_id == record.storage_id
    (check,) = scene.facts(CheckObserved)
    assert (check.asset, check.name, check.passed, check.severity) == ("census", "plausible", False, "WARN")
    assert check.dagster_run == checked.run_id
    assert scene.facts(GapNoted) == []


def test_what_was_reported_without_a_run_is_observed_too(scene: Scene) -> None:
    scene.instance.report_runless_asset_event(dg.AssetMaterialization("census"))
    scene.instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=dg.AssetKey("census"), check_name="plausible", passed=True, metadata={})
    )
    scene.observe()
    assert [fact.asset for fact in scene.facts(MaterializationObserved)] == ["census"]
    assert [(fact.name, fact.passed) for fact in scene.facts(CheckObserved)] == [("plausible", True)]


def test_our_own_are_not_observed_again(scene: Scene) -> None:
    scene.train(scene.ion())
    scene.decided(1)
    scene.observe()
    assert len(scene.facts(CheckEvaluated)) == 1
    assert scene.facts(MaterializationObserved) == []
    assert scene.facts(CheckObserved) == []
    assert scene.facts(GapNoted) == []


def test_our_own_without_their_facts_are_one_gap(scene: Scene) -> None:
    lost = new_id()
    for asset in ("patients", "features"):
        scene.instance.report_runless_asset_event(dg.AssetMaterialization(asset, tags={"ion/node_run": lost}))
    scene.observe(scene.observe())
    scene.observe()
    (gap,) = scene.facts(GapNoted)
    assert (gap.scope, gap.what, gap.count) == (lost, "node run", 1)
    assert scene.facts(MaterializationObserved) == []


def test_a_burst_larger_than_one_look_is_read_in_full(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "_BATCH", 2)
    for number in range(5):
        scene.instance.report_runless_asset_event(dg.AssetMaterialization(f"census_{number}"))
    scene.instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=dg.AssetKey("census_0"), check_name="late", passed=True, metadata={})
    )
    cursor = None
    for _ in range(4):
        cursor = scene.observe(cursor)
    assert [fact.asset for fact in scene.facts(MaterializationObserved)] == [f"census_{n}" for n in range(5)]
    assert len(scene.facts(CheckObserved)) == 1


def test_facts_still_in_a_spool_are_shipped_before_they_are_missed(scene: Scene) -> None:
    from ion.agent import open_client

    offline = open_client(scene.home, name="offline", ship=False)
    run = offline.node_run("ward/recommender", kind="training", engine="dagster", engine_run="elsewhere")
    scene.instance.report_runless_asset_event(dg.AssetMaterialization("census", tags={"ion/node_run": run.id}))
    run.end()
    offline.close()
    assert scene.facts(NodeRunStarted) == []
    scene.observe()
    assert len(scene.facts(NodeRunStarted)) == 1
    assert scene.facts(GapNoted) == []


def test_a_killed_dagster_run_ends_its_node_run_as_failed(scene: Scene) -> None:
    @dg.job
    def training_job() -> None:
        """Stand for any job."""

    killed = scene.instance.create_run_for_job(training_job, status=dg.DagsterRunStatus.STARTED)
    client = scene.client()
    run = client.node_run("ward/recommender", kind="training", engine="dagster", engine_run=killed.run_id)
    client.close()  # and no word more
    cursor = scene.observe()
    assert scene.facts(NodeRunEnded) == []
    assert json.loads(cursor)["open_runs"] == [run.id]
    scene.instance.report_run_failed(killed, "the worker was killed")
    cursor = scene.observe(cursor)
    scene.observe(cursor)
    scene.observe(None)
    (ended,) = scene.facts(NodeRunEnded)
    assert (ended.run, ended.status) == (run.id, "failed")
    assert killed.run_id in ended.error
    assert json.loads(cursor)["open_runs"] == []


def test_datasets_alone_end_with_their_dagster_run(scene: Scene) -> None:
    @dataset(ion="ward", classification="pii")
    def patients() -> pd.DataFrame:
        return testing.patients()

    assert scene.run([patients]).success
    assert scene.facts(NodeRunEnded) == []
    scene.observe()
    assert [fact.status for fact in scene.facts(NodeRunEnded)] == ["succeeded"]


def test_a_cursor_of_another_version_is_read(scene: Scene) -> None:
    cursor = scene.observe(json.dumps({"events": 0, "something_else": 3}))
    assert set(json.loads(cursor)) == {"events", "check_events", "runs", "windows", "open_runs"}


# Windows of streamed predictions ------------------------------------------------------------------


def open_epoch(run: NodeRun, model: str = "sha256:" + "0" * 64) -> str:
    epoch = new_id()
    run.emit(
        EpochOpened(
            epoch=epoch,
            run=run.id,
            node=run.node,
            subtask=0,
            attempt=0,
            models={"champion": model},
            decision_digest="sha256:00",
            cause=new_id(),
            serial=1,
        )
    )
    return epoch


def commit(run: NodeRun, epoch: str, first: int, rows: int, file: str = "part") -> None:
    run.emit(
        PredictionsCommitted(
            epoch=epoch,
            run=run.id,
            first=first,
            last=first + rows - 1,
            rows=rows,
            file=f"{file}-{first}",
            file_digest=digest_bytes(f"{epoch}{first}".encode()),
            sources=[],
            us_first=1,
            us_last=2,
        )
    )


def test_one_event_per_window_and_node(scene: Scene) -> None:
    client = scene.client()
    run = client.node_run("ward/stream", kind="inference", engine="flink")
    epoch = open_epoch(run)
    for first in (0, 10, 20):
        commit(run, epoch, first, 10)
    batch = client.node_run("ward/scores", kind="inference")
    commit(batch, open_epoch(batch), 0, 5, file="artifact:sha256:00")
    client.ship()
    cursor = scene.observe()
    cursor = scene.observe(cursor)
    (window,) = scene.events("ward/stream")
    assert window.asset_materialization is not None
    assert window.asset_materialization.metadata["dagster/row_count"].value == 30
    assert window.asset_materialization.metadata["newest prediction"].value == f"{epoch}:29"
    assert window.asset_materialization.metadata["files"].value == 3
    assert scene.events("ward/scores") == [], "a batch run shows itself"
    commit(run, epoch, 30, 4)
    client.ship()
    scene.observe(cursor)
    assert len(scene.events("ward/stream")) == 2
    newest = scene.events("ward/stream")[0].asset_materialization
    assert newest is not None
    assert newest.metadata["dagster/row_count"].value == 4
    client.close()
    scene.observe(cursor)
    assert scene.facts(MaterializationObserved) == [], "our own windows are no strangers"


def test_predictions_whose_epoch_is_still_to_come_wait_and_hold_up_none_before_them(scene: Scene) -> None:
    client = scene.client()
    run = client.node_run("ward/stream", kind="inference", engine="flink")
    epoch, late = open_epoch(run), new_id()
    commit(run, epoch, 0, 10)
    commit(run, late, 0, 7)
    client.close()
    after = windows.report_windows(scene.store, scene.instance, 0)
    assert len(scene.events("ward/stream")) == 1
    other = scene.client()
    run = other.node_run("ward/stream", kind="inference", engine="flink")
    run.emit(
        EpochOpened(
            epoch=late,
            run=run.id,
            node=run.node,
            subtask=0,
            attempt=0,
            models={"champion": "sha256:00"},
            decision_digest="sha256:00",
            cause=new_id(),
            serial=1,
        )
    )
    other.close()
    windows.report_windows(scene.store, scene.instance, after)
    newest, first = (record.asset_materialization for record in scene.events("ward/stream"))
    assert newest is not None
    assert first is not None
    assert (first.metadata["dagster/row_count"].value, newest.metadata["dagster/row_count"].value) == (10, 7)


@pytest.mark.parametrize(("edges", "compared"), [([0.0, 5.0, 10.0], True), ([0.0, 1.0, 2.0, 3.0], False)])
def test_a_window_compares_histograms_of_the_same_bins_only(
    scene: Scene, edges: list[float], *, compared: bool
) -> None:
    client = scene.client()
    with client.node_run("ward/recommender", kind="training") as trainer:
        model = trainer.model("ward/recommender", scene.assets.fitted(trainer, testing.patients(), 1.0, "ward"))
        trainer.emit(
            SignatureRecorded(run=trainer.id, name="radius", role="training", edges=[0.0, 5.0, 10.0], counts=[3, 9])
        )
    run = client.node_run("ward/stream", kind="inference", engine="flink")
    epoch = open_epoch(run, model)
    run.emit(
        SignaturesRecorded(
            run=run.id,
            epoch=epoch,
            inputs={"radius": {"edges": edges, "counts": [1] * (len(edges) - 1), "below": 0, "above": 0}},
            predictions={},
        )
    )
    commit(run, epoch, 0, 2)
    client.close()
    scene.observe()
    (window,) = scene.events("ward/stream")
    assert window.asset_materialization is not None
    shown = window.asset_materialization.metadata.get("inputs: training and inference")
    assert (shown is not None) is compared
    if shown is not None:
        assert "| radius | `▃█` | `██` |" in str(shown.value)
