"""MLflow, really: a run ends with its true status, the registry mirrors, a dead server is named soon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import dagster as dg
import mlflow as mlflow_client
import pytest

from ion import IonError
from resources.mlflow import MlflowTracking, TrackedRun, alias_version, set_alias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ION_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("ION_MLFLOW_URL", raising=False)
    return tmp_path


@pytest.fixture
def server(home: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    store = f"sqlite:///{home / 'server.db'}"
    started = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", store, "--artifacts-destination", str(home / "server-artifacts")),
        ],
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=1).close()  # noqa: S310 - our own server
                break
            except (OSError, urllib.error.URLError):
                assert time.monotonic() < deadline, "the MLflow server did not start"
                assert started.poll() is None, "the MLflow server ended"
                time.sleep(0.2)
        yield url
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(20)


def tracked_asset(resource: MlflowTracking, body: Callable[[TrackedRun], None]) -> dg.ExecuteInProcessResult:
    """Run an asset that tracks ``body`` in MLflow."""

    @dg.asset
    def trained(mlflow: dg.ResourceParam[MlflowTracking]) -> None:
        with mlflow.run("patient_tests/model", {"ion.node_run": "run-1", "git.commit": "abc"}) as tracked:
            body(tracked)

    return dg.materialize([trained], resources={"mlflow": resource}, raise_on_error=False)


def error_of(result: dg.ExecuteInProcessResult) -> str:
    return str(result.failure_data_for_node("trained").error)  # type: ignore[union-attr]  # it failed


def only_run(uri: str) -> mlflow_client.entities.Run:
    client = mlflow_client.MlflowClient(uri)
    experiments = [item.experiment_id for item in client.search_experiments()]
    (run,) = client.search_runs(experiments)
    return run


def test_a_run_that_ends_well_is_finished_and_tagged(home: Path) -> None:
    result = tracked_asset(
        MlflowTracking(experiment="tests"), lambda tracked: tracked.log({"regParam": 0.1}, {"roc_auc": 0.9})
    )
    run = only_run(f"sqlite:///{home / 'mlflow.db'}")
    assert result.success
    assert run.info.status == "FINISHED"
    assert run.data.params == {"regParam": "0.1"}
    assert run.data.metrics == {"roc_auc": 0.9}
    assert run.data.tags["dagster_run_id"] == result.run_id
    assert run.data.tags["mlflow.runName"] == "patient_tests/model"
    assert run.data.tags["git.commit"] == "abc"
    assert run.info.artifact_uri.startswith((home / "mlflow-artifacts").as_uri())
    assert mlflow_client.active_run() is None


def test_a_run_that_raises_is_failed_with_the_first_error(home: Path) -> None:
    def raising(_tracked: TrackedRun) -> None:
        raise ValueError("no convergence")

    result = tracked_asset(MlflowTracking(), raising)
    assert "no convergence" in error_of(result)
    assert only_run(f"sqlite:///{home / 'mlflow.db'}").info.status == "FAILED"
    assert mlflow_client.active_run() is None


def test_an_interrupted_run_is_killed(home: Path) -> None:
    def interrupted(_tracked: TrackedRun) -> None:
        raise KeyboardInterrupt

    assert not tracked_asset(MlflowTracking(), interrupted).success
    assert only_run(f"sqlite:///{home / 'mlflow.db'}").info.status == "KILLED"


def test_two_trainings_of_one_dagster_run_have_a_run_each(home: Path) -> None:
    @dg.asset
    def trained(mlflow: dg.ResourceParam[MlflowTracking]) -> None:
        for name in ("first", "second"):
            with mlflow.run(name, {}) as tracked:
                tracked.log({"name": name}, {})

    assert dg.materialize([trained], resources={"mlflow": MlflowTracking()}).success
    client = mlflow_client.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiments = [item.experiment_id for item in client.search_experiments()]
    runs = client.search_runs(experiments)
    assert sorted(run.data.params["name"] for run in runs) == ["first", "second"]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_the_registry_of_a_real_server_mirrors_versions_and_aliases(server: str) -> None:
    versions: list[str] = []
    links: list[dict[str, str]] = []

    def register(tracked: TrackedRun) -> None:
        versions.append(tracked.register("patient_tests", {"model.json": b"{}"}, {"ion.model": "sha256:1"}))
        versions.append(tracked.register("patient_tests", {"model.json": b"[]"}, {"ion.model": "sha256:2"}))
        links.append(tracked.links)

    resource = MlflowTracking(tracking_uri=server)
    result = tracked_asset(resource, register)
    assert result.success
    assert versions == ["1", "2"]
    run = only_run(server)
    assert run.info.status == "FINISHED"
    assert links[0]["mlflow_url"] == f"{server}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert alias_version("patient_tests", "champion", tracking_uri=server) is None
    for version in ("1", "2", "2"):
        set_alias("patient_tests", version, "champion", tracking_uri=server)
        assert alias_version("patient_tests", "champion", tracking_uri=server) == version
    assert alias_version("nobody", "champion", tracking_uri=server) is None
    with pytest.raises(IonError) as caught:
        set_alias("patient_tests", "99", "champion", tracking_uri=server)
    assert caught.value.code == "mlflow-refused"


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    resource = MlflowTracking(tracking_uri=f"http://ion:hunter2@127.0.0.1:{port}")
    began = time.monotonic()
    result = tracked_asset(resource, lambda _tracked: None)
    assert time.monotonic() - began < 15
    assert "mlflow-unreachable" in error_of(result)
    assert f"http://127.0.0.1:{port}" in error_of(result)
    with pytest.raises(IonError) as caught:
        set_alias("patient_tests", "1", "champion", tracking_uri=resource.uri)
    assert caught.value.code == "mlflow-unreachable"
    assert "hunter2" not in error_of(result) + str(caught.value)


def test_a_server_that_never_answers_is_given_up_within_15_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        resource = MlflowTracking(tracking_uri=f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        result = tracked_asset(resource, lambda _tracked: None)
        assert "mlflow-unreachable" in error_of(result)
        assert time.monotonic() - began < 15


def test_links_go_to_the_page_the_deployment_serves_and_hold_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "mlflow_url" not in TrackedRun("r", "1", "sqlite:///x.db").links
    assert TrackedRun("r", "1", "https://a:b@mlflow.example/").links["mlflow_url"] == (
        "https://mlflow.example/#/experiments/1/runs/r"
    )
    monkeypatch.setenv("ION_MLFLOW_URL", "http://127.0.0.1:5000")
    assert TrackedRun("r", "1", "sqlite:///x.db").links["mlflow_url"] == "http://127.0.0.1:5000/#/experiments/1/runs/r"


def test_outside_dagster_it_says_so() -> None:
    with pytest.raises(IonError) as caught, MlflowTracking().run("x", {}):
        pass
    assert caught.value.code == "mlflow-outside-dagster"
