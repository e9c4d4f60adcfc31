"""MLflow runs become facts: everything they logged, with steps and times; twice changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ion.agent import Client
from ion.errors import IonError
from ion.facts import EventRecorded, GapNoted, NodeRunEnded, NodeRunStarted, ParamRecorded, StatisticsRecorded
from ion.home import Home
from ion.store import open_store
from resources.mlflow import autolog, mirror_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.agent import NodeRun
    from ion.store import GovernanceStore

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")]

NODE = "wines/growers"
START = 1_800_000_000_000


@pytest.fixture(autouse=True)
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("ION_HOME", str(tmp_path))
    mlflow.set_tracking_uri(uri)
    yield
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GovernanceStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


@pytest.fixture
def agent(tmp_path: Path, store: GovernanceStore) -> Iterator[Client]:
    opened = Client(Home(tmp_path), "mirror", store)
    yield opened
    opened.close()


def a_run(status: str = "FINISHED") -> str:
    server = mlflow.MlflowClient()
    experiment = mlflow.set_experiment("wines").experiment_id
    run = server.create_run(experiment, tags={"team": "red", "mlflow.user": "ann"}, run_name="first").info.run_id
    server.log_param(run, "depth", 5)
    server.log_param(run, "api_key", "hunter2")
    server.log_param(run, "data", "/home/ann/wines/all.csv")
    for step in range(30):
        server.log_metric(run, "loss", 1 / (step + 1), timestamp=START + step // 3, step=step)
    server.log_metric(run, "auc", 0.75, timestamp=START)
    server.log_metric(run, "broken", float("nan"), timestamp=START)
    child = server.create_run(experiment, tags={"mlflow.parentRunId": run}, run_name="fold").info.run_id
    server.log_metric(child, "auc", 0.5, timestamp=START)
    server.set_terminated(child)
    if status != "RUNNING":
        server.set_terminated(run, status)
    return str(run)


KINDS = (NodeRunStarted, ParamRecorded, EventRecorded, StatisticsRecorded, GapNoted, NodeRunEnded)


def test_a_run_is_mirrored_whole_and_only_once(store: GovernanceStore, agent: Client) -> None:
    source = a_run()
    mirrored = mirror_run(agent, NODE, source)
    assert agent.ship()
    assert (mirrored.params, mirrored.points) == (3, 32)
    (started,) = store.find(NodeRunStarted, mirrored.run)
    assert (started.fact.engine, started.fact.engine_run, started.fact.submitter) == ("mlflow", source, "ann")
    assert {r.fact.name: r.fact.value for r in store.find(ParamRecorded, mirrored.run)} == {
        "depth": "5",
        "api_key": "***",
        "data": "<path>",
    }
    loss, steps = (store.points(mirrored.run, name) for name in ("loss", "loss/step"))
    assert loss.values.tolist() == [1 / (step + 1) for step in range(30)]
    assert loss.times.tolist() == [(START + step // 3) * 1000 for step in range(30)]
    assert steps.values.tolist() == list(range(30))
    names = [series.name for series in store.statistics.series(mirrored.run)]
    assert names[:2] == ["auc", names[1]]
    assert any(name.startswith("fold ") and name.endswith(".auc") for name in names)
    assert [r.fact.count for r in store.find(GapNoted, mirrored.run)] == [1]
    assert store.find(EventRecorded, mirrored.run)[0].fact.attributes["tags"] == {"name": "first", "team": "red"}
    assert store.latest(NodeRunEnded, mirrored.run).fact.status == "succeeded"  # type: ignore[union-attr]

    before = {kind: [r.position for r in store.find(kind)] for kind in KINDS}
    again = Client(agent.home, "another", store)
    assert mirror_run(again, NODE, source) == mirrored
    again.close()
    assert {kind: [r.position for r in store.find(kind)] for kind in KINDS} == before
    assert len(store.points(mirrored.run, "loss")) == 30


def test_how_it_ended_is_told_as_it_was(store: GovernanceStore, agent: Client) -> None:
    mirrored = mirror_run(agent, NODE, a_run("FAILED"))
    agent.ship()
    assert store.latest(NodeRunEnded, mirrored.run).fact.status == "failed"  # type: ignore[union-attr]


def test_a_run_that_is_not_over_is_not_mirrored(store: GovernanceStore, agent: Client) -> None:
    with pytest.raises(IonError) as caught:
        mirror_run(agent, NODE, a_run("RUNNING"))
    assert caught.value.code == "mlflow-running"
    agent.ship()
    assert store.find(NodeRunStarted) == []
    with pytest.raises(IonError) as caught:
        mirror_run(agent, NODE, "0" * 32)
    assert caught.value.code == "mlflow-refused"


def test_what_mlflow_logs_by_itself_becomes_facts(store: GovernanceStore, agent: Client) -> None:
    data = np.random.default_rng(5).normal(size=(60, 2))
    with agent.node_run(NODE, kind="training") as run, autolog(run) as tracked:
        LogisticRegression(C=0.5).fit(data, data[:, 0] > 0)
    assert {r.fact.name: r.fact.value for r in store.find(ParamRecorded, run.id)}["C"] == "0.5"
    assert store.points(run.id, "training_score").values[0] > 0.9
    ended = mlflow.get_run(tracked.info.run_id)
    assert (ended.info.status, ended.data.tags["ion.node_run"]) == ("FINISHED", run.id)


def test_what_was_logged_before_an_error_is_told(store: GovernanceStore, agent: Client) -> None:
    def failing(run: NodeRun) -> None:
        with run, autolog(run):
            mlflow.log_metric("auc", 0.5)
            raise ValueError("no")

    run = agent.node_run(NODE, kind="training")
    with pytest.raises(ValueError, match="no"):
        failing(run)
    assert store.points(run.id, "auc").values.tolist() == [0.5]
    assert store.latest(NodeRunEnded, run.id).fact.status == "failed"  # type: ignore[union-attr]
    assert mlflow.active_run() is None
