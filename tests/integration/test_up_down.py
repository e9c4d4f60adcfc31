"""`ion up` and `ion down` with real processes: what starts, what it says, and that nothing is left."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ion.cli.deployment import Deployment
from ion.cli.deployment.ports import listener
from ion.cli.deployment.processes import MARKER, Process, end_all, marked, spawn
from ion.cli.deployment.services import graphql
from ion.errors import IonError
from ion.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
ASSETS = """
import dagster as dg

@dg.asset
def numbers() -> int:
    return 1

defs = dg.Definitions(assets=[numbers])
"""
SENSORS = """
import subprocess, sys, time
import dagster as dg

@dg.sensor(name="poll", minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def poll(context):
    # As the deployment sensor starts a streaming job: detached, in a session of its own.
    if not context.cursor:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        context.update_cursor("started")
    time.sleep(4.8)
    return dg.SkipReason("nothing new")

defs = dg.Definitions(sensors=[poll])
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = tmp_path / "project"
    project.mkdir()
    (project / "some_assets.py").write_text(ASSETS)
    (project / "some_sensors.py").write_text(SENSORS)
    workspace = (ROOT / "workspace.yaml").read_text()
    changed = workspace.replace("gov_assets.definitions", "some_assets").replace("sensors.definitions", "some_sensors")
    (project / "workspace.yaml").write_text(changed)
    shutil.copy(ROOT / "dagster.yaml", project)
    found = Deployment(Home(tmp_path / "home"), project, free_port(), free_port())
    yield found
    found.stop()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own loopback address
        return str(answer.read().decode())


def until(seconds: float, true: object) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():  # type: ignore[operator]
            return True
        time.sleep(0.1)
    return False


@dataclass
class Command:
    process: subprocess.Popen[str]

    def read_until(self, text: str) -> str:
        seen = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            seen += line
            if text in line:
                return seen
        return seen


def ion(deployment: Deployment, *arguments: str) -> Command:
    code = "import sys, importlib; importlib.import_module('ion.cli.' + sys.argv[1]).command(sys.argv[2:])"
    environment = {**os.environ, "ION_HOME": str(deployment.home.root), "PYTHONUNBUFFERED": "1"}
    environment.pop(MARKER, None)
    return Command(
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=deployment.project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    )


@pytest.mark.slow
def test_everything_answers_and_ctrl_c_leaves_no_process(deployment: Deployment) -> None:
    up = ion(deployment, "up", "--port", str(deployment.port), "--mlflow-port", str(deployment.mlflow_port))
    said = up.read_until("Ctrl-C ends it")
    assert "Ctrl-C ends it" in said
    for service in ("code assets", "code governance", "webserver", "daemon", "mlflow"):
        assert f"{service} is ready" in said

    assert "Governance" in get(f"{deployment.web_url}/")
    assert "__NEXT_DATA__" in get(f"{deployment.dagster_url}/runs")  # the catch-all still is Dagster's page
    assert get(f"{deployment.mlflow_url}/health") == "OK"
    question = "{ repositoriesOrError { ... on RepositoryConnection { nodes { location { name } } } } }"
    nodes = graphql(deployment.dagster_url, question)["repositoriesOrError"]["nodes"]  # type: ignore[index]
    assert {node["location"]["name"] for node in nodes} == {"assets", "governance"}
    for port in (deployment.port, deployment.mlflow_port):
        addresses = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        listening = [address for address in addresses if address.endswith(f":{port:04X}")]
        assert listening
        assert all(address.startswith("0100007F") for address in listening)

    # Changed code is there after "Reload" on Dagster's page, in the page and in the server that runs it.
    changed = ASSETS.replace("numbers", "letters")
    (deployment.project / "some_assets.py").write_text(changed)
    reload = 'mutation { reloadRepositoryLocation(repositoryLocationName: "assets") { __typename } }'
    graphql(deployment.dagster_url, reload)
    listing = "{ assetNodes { assetKey { path } } }"

    def reloaded() -> bool:
        nodes = graphql(deployment.dagster_url, listing)["assetNodes"]
        return [node["assetKey"]["path"] for node in nodes] == [["letters"]]  # type: ignore[attr-defined]

    assert until(20, reloaded)

    again = ion(deployment, "up")
    assert "It runs already" in again.read_until("Logs")
    assert again.process.wait(10) == 0

    def job_runs() -> bool:
        return any("time.sleep(600)" in process.command for process in marked(deployment.home.root))

    assert until(15, job_runs)
    began = time.monotonic()
    up.process.send_signal(signal.SIGINT)
    assert "Ended after" in up.read_until("Ended after")
    assert up.process.wait(10) == 0
    assert time.monotonic() - began < 10
    assert marked(deployment.home.root) == []
    assert listener(deployment.port) is None


@pytest.mark.slow
def test_a_dead_service_is_started_again_and_down_clears_up_after_a_killed_supervisor(deployment: Deployment) -> None:
    ports = ("--port", str(deployment.port), "--mlflow-port", str(deployment.mlflow_port))
    at_once = [ion(deployment, "up", "--detach", *ports) for _ in range(2)]
    said = [command.read_until("Logs") for command in at_once]
    assert sorted("It runs already" in text for text in said) == [False, True], said
    state = deployment.status()
    assert state is not None
    (webserver,) = [service for service in state.services if service.name == "webserver"]
    os.kill(webserver.pid, signal.SIGKILL)

    def is_back() -> bool:
        try:
            restarts = [service.restarts for service in deployment.status().services if service.name == "webserver"]  # type: ignore[union-attr]
            return restarts == [1] and "Governance" in get(f"{deployment.web_url}/")
        except OSError:
            return False

    assert until(40, is_back)
    assert until(15, lambda: any("time.sleep(600)" in process.command for process in marked(deployment.home.root)))

    os.kill(state.supervisor.pid, signal.SIGKILL)
    began = time.monotonic()
    down = ion(deployment, "down")
    assert "Ended after" in down.read_until("Ended after")
    assert down.process.wait(10) == 0
    assert time.monotonic() - began < 10
    assert marked(deployment.home.root) == []
    assert not Path(state.sockets).exists()

    nothing = ion(deployment, "down")
    assert "Nothing was running" in nothing.read_until("Nothing")


def test_a_code_location_that_does_not_load_is_shown_with_its_error(deployment: Deployment) -> None:
    (deployment.project / "some_assets.py").write_text("import no_such_module_anywhere")
    with pytest.raises(IonError) as caught:
        deployment.start()
    assert caught.value.code == "start-failed"
    assert "code assets" in caught.value.message
    assert "no_such_module_anywhere" in caught.value.hint
    assert until(10, lambda: marked(deployment.home.root) == [])


def test_an_occupied_port_is_named_with_who_has_it(deployment: Deployment) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", deployment.port), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(IonError) as caught:
            deployment.start()
    finally:
        server.shutdown()
        server.server_close()
    assert caught.value.code == "port-occupied"
    assert str(os.getpid()) in caught.value.message
    assert "--port" in caught.value.hint
    assert marked(deployment.home.root) == []


def test_a_folder_without_a_workspace_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    empty = Deployment(Home(tmp_path / "home"), tmp_path, free_port(), free_port())
    with pytest.raises(IonError) as caught:
        empty.start()
    assert caught.value.code == "no-project"


def test_what_ignores_sigterm_is_killed_and_a_reused_pid_is_not(tmp_path: Path) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    environment = {**os.environ, MARKER: str(tmp_path)}
    child = spawn(
        [sys.executable, "-c", deaf], folder=tmp_path, environment=environment, log=tmp_path / "log", tied=True
    )
    assert until(5, lambda: (tmp_path / "log").read_text() == "up\n")
    threading.Thread(target=child.wait, daemon=True).start()
    try:
        assert end_all(lambda: marked(tmp_path), grace_s=0.5)
        assert child.wait(2) == -signal.SIGKILL
    finally:
        child.kill()

    own = Process.of(os.getpid())
    assert own is not None
    another = Process(own.pid, own.started + 1)
    assert not another.alive
    another.send(signal.SIGKILL)  # would end this very test


def test_a_tied_process_ends_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib; from ion.cli.deployment.processes import spawn; folder = pathlib.Path(sys.argv[1]);"
        "child = spawn(['sleep', '600'], folder=folder, environment=os.environ, log=folder / 'log', tied=True);"
        "print(child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    ran = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    child = Process.of(int(ran.stdout))
    try:
        assert until(5, lambda: child is None or not child.alive)
    finally:
        if child is not None:
            child.send(signal.SIGKILL)
