"""The watch over a real MLflow server: what is changed behind our back is told in time, and nothing served changes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import dagster as dg
import mlflow as mlflow_client
import pytest
import uvicorn

from ion.decision.mirror_mark import mark
from ion.evidence import trust_file
from ion.evidence.shared_secret import MLFLOW_WEBHOOK, shared_secret
from ion.facts import AlertRaised, MirrorUpdated
from ion.home import Home
from ion.ids import new_id
from ion.serving import Admitted, Gate, pointer_path
from ion.testing import SERVING, Deployment, Trained, linear_model
from ion.web import standalone_app
from resources.mlflow import set_alias
from sensors import mirror_watch
from sensors.mirror import ALIAS, mlflow_mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

IN_TIME = 10.0
"""Seconds, from a change to the alert."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Server:
    """A real MLflow server with its own database and artifacts."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
                *("--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"),
                *("--artifacts-destination", str(self.folder / "served")),
            ],
            env={
                **os.environ,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
                "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
                "MLFLOW_WEBHOOK_CACHE_TTL": "1",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 90
        while not self.answers():
            assert time.monotonic() < deadline, "the MLflow server did not start"
            assert self.process.poll() is None, "the MLflow server ended"
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/health", timeout=1).close()  # noqa: S310 - our own server
        except (OSError, urllib.error.URLError):
            return False
        return True

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:  # on a busy machine; what it served is of no use any more
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            self.process = None

    def sql(self, statement: str, *values: object) -> None:
        """Change the database as somebody with access to it would: no webhook tells of it."""
        with sqlite3.connect(self.folder / "server.db", timeout=10) as connection:
            assert connection.execute(statement, values).rowcount > 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mlflow"), free_port())
    made.start()
    yield made
    made.stop()


@dataclass
class Scene:
    """A deployment whose models are registered in MLflow under a name of their own."""

    deployment: Deployment
    server: Server
    name: str
    artifacts: str = ""

    @property
    def client(self) -> mlflow_client.MlflowClient:
        return mlflow_client.MlflowClient(self.server.url, self.server.url)

    def register(self, weight: float, experiment: str) -> dict[str, str]:
        """Keep the model's bytes in MLflow and make a version of them, as a training does."""
        run = self.client.create_run(experiment)
        file = self.deployment.home.root / "model.json"
        file.write_bytes(linear_model(weight))
        self.client.log_artifact(run.info.run_id, str(file), "model")
        version = self.client.create_model_version(
            self.name, f"{run.info.artifact_uri}/model", run.info.run_id, await_creation_for=0
        )
        return {"mlflow_model": self.name, "mlflow_version": str(version.version), "mlflow_run": run.info.run_id}

    def promote(self, weight: float = 1.0) -> Trained:
        """Train, register, decide, and let the mirror follow."""
        known = self.client.get_experiment_by_name(self.name)
        experiment = known.experiment_id if known else self.client.create_experiment(self.name, self.artifacts or None)
        if not known:
            self.client.create_registered_model(self.name)
        trained = self.deployment.train(weight=weight, links=self.register(weight, experiment))
        (outcome,) = self.deployment.govern()
        assert outcome.promoted
        mlflow_mirror(dg.build_sensor_context())
        return trained

    def alias(self) -> str:
        return str(self.client.get_model_version_by_alias(self.name, ALIAS).version)

    def alerts(self) -> list[tuple[str, str]]:
        """Return (kind, scope) of all alerts of the mirror."""
        found = [record.fact for record in self.deployment.store.find(AlertRaised)]
        return [(fact.alert, fact.scope) for fact in found if fact.alert.startswith("mirror-")]

    def served(self) -> tuple[object, bytes, str]:
        """Return what is served: by the store, by the pointer, and by what a gate admits."""
        home = self.deployment.home
        path = pointer_path(home.root, SERVING)
        gate = Gate(path, self.deployment.artifacts, trust_file(home), SERVING, home.root / "accepted.json")
        admitted = gate.admit()
        assert isinstance(admitted, Admitted)
        return self.deployment.store.current(SERVING), path.read_bytes(), admitted.model


class Daemon:
    """Ticks the sensor as Dagster's daemon does, every five seconds, with a cursor that is kept."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.said = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def tick(self) -> str:
        result = mirror_watch.mlflow_watch(dg.build_sensor_context(cursor=self.cursor))
        assert isinstance(result, dg.SensorResult)
        self.cursor, self.said = result.cursor, str(result.skip_reason)
        return self.said

    def _run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            self.tick()
            self._over.wait(max(0.0, 5.0 - (time.monotonic() - began)))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(20)


def until(true: Callable[[], bool], seconds: float = IN_TIME) -> float:
    """Wait until something is so; returns after how many seconds, and fails when it takes longer."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds:.0f} s"
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture
def scene(server: Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Scene]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setattr(mirror_watch, "_watches", {})
    deployment = Deployment.make(Home.find().root)
    yield Scene(deployment, server, f"{request.node.name[5:40]}-{new_id()[-12:]}")
    deployment.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a tick be one look."""
    monkeypatch.setattr(mirror_watch, "TICK_SECONDS", 20.0)
    monkeypatch.setattr(mirror_watch, "watch_for", _one_look)


def _one_look(watch: mirror_watch.Watch, store: object, cursor: mirror_watch.Cursor, seconds: float) -> str:
    look = watch.look(store, seconds, thorough=False)  # type: ignore[arg-type]
    assert look is not None, "the look took too long"
    watch.settle(store, look, cursor)  # type: ignore[arg-type]
    return look.problem


@pytest.fixture
def page(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the governance page, which takes the webhook."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/ion"
    monkeypatch.setenv("ION_WEB_URL", url)
    config = uvicorn.Config(standalone_app(scene.deployment.home), port=port, log_level="warning")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    until(lambda: running.started)
    yield url
    running.should_exit = True
    thread.join(10)


def test_an_alias_moved_by_sql_is_told_within_ten_seconds_and_nothing_served_changes(scene: Scene) -> None:
    scene.promote(1.0)
    scene.promote(2.0)
    before = scene.served()
    with Daemon() as daemon:
        until(lambda: "0 differences" in daemon.said, 30)
        assert scene.alerts() == []
        time.sleep(2)  # just after a look: the next one is five seconds away
        scene.server.sql("UPDATE registered_model_aliases SET version = 1 WHERE name = ?", scene.name)
        took = until(lambda: bool(scene.alerts()))
        time.sleep(6)
    print(f"told after {took:.1f} s")  # noqa: T201 - a figure for the report
    assert scene.alerts() == [("mirror-alias-moved", SERVING)]
    assert mark(scene.deployment.home) == 0, "a webhook told, not the look"
    assert scene.served() == before
    assert scene.alias() == "1", "the watch only tells"


def test_an_alias_moved_over_the_api_is_told_at_once_by_the_signed_webhook(scene: Scene, page: str) -> None:
    scene.promote(1.0)
    scene.promote(2.0)
    before = scene.served()
    with Daemon() as daemon:
        until(lambda: "0 differences" in daemon.said, 30)
        (hook,) = [hook for hook in scene.client.list_webhooks() if hook.url == f"{page}/hooks/mlflow"]
        time.sleep(1.2)  # MLflow remembers for a second who is to be told
        scene.client.set_registered_model_alias(scene.name, ALIAS, "1")
        took = until(lambda: bool(scene.alerts()))
        assert mark(scene.deployment.home) > 0, "the webhook did not come"
        until(lambda: scene.alias() == "1")
        scene.client.set_registered_model_alias(scene.name, ALIAS, "2")
        until(lambda: len(scene.alerts()) == 2)
    print(f"told after {took:.1f} s")  # noqa: T201
    scene.client.delete_webhook(hook.webhook_id)
    assert [kind for kind, _ in scene.alerts()] == ["mirror-alias-moved", "mirror-in-line"]
    assert scene.served() == before


@pytest.mark.usefixtures("quick")
def test_what_the_mirror_does_itself_raises_nothing(scene: Scene) -> None:
    daemon = Daemon()
    scene.promote(1.0)
    daemon.tick()
    scene.deployment.train(
        weight=2.0, links=scene.register(2.0, scene.client.get_experiment_by_name(scene.name).experiment_id)
    )
    daemon.tick()
    scene.deployment.govern()
    daemon.tick()
    # As the mirror stopped between its two steps would leave it.
    set_alias(scene.name, "2", ALIAS)
    daemon.tick()
    mlflow_mirror(dg.build_sensor_context())
    daemon.tick()
    assert scene.alerts() == []
    assert [fact.fact.version for fact in scene.deployment.store.find(MirrorUpdated)] == ["1", "2"]


@pytest.mark.parametrize("first", ["facts", "look"])
def test_a_promotion_between_facts_and_look_or_look_and_facts_raises_nothing(scene: Scene, first: str) -> None:
    scene.promote(1.0)
    store = scene.deployment.store
    watch = mirror_watch.Watch(scene.deployment.home, scene.server.url)
    look = mirror_watch.Look(watch._expectations.catch_up(store))
    if first == "look":
        watch._run(look, thorough=False)
    scene.promote(2.0)
    if first == "facts":
        watch._run(look, thorough=False)
    assert not look.failed
    assert watch.settle(store, look, mirror_watch.Cursor()) == 0
    assert scene.alerts() == []


@pytest.mark.usefixtures("quick")
def test_a_difference_is_told_once_again_when_it_changed_and_when_it_is_over(scene: Scene) -> None:
    daemon = Daemon()
    scene.promote(1.0)
    scene.promote(2.0)
    scene.promote(3.0)
    daemon.tick()
    set_alias(scene.name, "1", ALIAS)
    daemon.tick()
    daemon.tick()
    daemon.cursor = None  # what Dagster kept is lost
    mirror_watch._watches.clear()
    daemon.tick()
    assert [kind for kind, _ in scene.alerts()] == ["mirror-alias-moved"]
    set_alias(scene.name, "2", ALIAS)
    daemon.tick()
    set_alias(scene.name, "", ALIAS)
    daemon.tick()
    assert [kind for kind, _ in scene.alerts()] == ["mirror-alias-moved"] * 3
    daemon.cursor = None
    set_alias(scene.name, "3", ALIAS)
    daemon.tick()
    daemon.tick()
    assert [kind for kind, _ in scene.alerts()][3:] == ["mirror-in-line"]


@pytest.mark.usefixtures("quick")
def test_a_version_deleted_and_one_put_in_its_place_are_told(scene: Scene) -> None:
    daemon = Daemon()
    trained = scene.promote()
    before = scene.served()
    daemon.tick()
    scene.client.delete_model_version(scene.name, "1")
    daemon.tick()
    assert ("mirror-version-missing", trained.model) in scene.alerts()
    scene.client.delete_registered_model(scene.name)
    scene.client.create_registered_model(scene.name)
    other = scene.client.create_run(scene.client.get_experiment_by_name(scene.name).experiment_id)
    made = scene.client.create_model_version(
        scene.name, f"{other.info.artifact_uri}/model", other.info.run_id, await_creation_for=0
    )
    assert str(made.version) == "1", "it looks like the one that was deleted"
    daemon.tick()
    assert ("mirror-version-recreated", trained.model) in scene.alerts()
    assert ("mirror-tag-changed", trained.model) in scene.alerts()
    assert scene.served() == before


@pytest.mark.usefixtures("quick")
def test_a_version_made_again_for_the_same_run_and_files_is_told_all_the_same(scene: Scene) -> None:
    daemon = Daemon()
    trained = scene.promote()
    daemon.tick()
    old = scene.client.get_model_version(scene.name, "1")
    scene.client.delete_registered_model(scene.name)
    scene.client.create_registered_model(scene.name)
    scene.client.create_model_version(scene.name, old.source, old.run_id, tags=old.tags, await_creation_for=0)
    set_alias(scene.name, "1", ALIAS)
    daemon.tick()
    assert scene.alerts() == [("mirror-version-recreated", trained.model)]


@pytest.mark.usefixtures("quick")
def test_a_changed_tag_is_told(scene: Scene) -> None:
    daemon = Daemon()
    trained = scene.promote()
    scene.client.set_model_version_tag(scene.name, "1", "reviewed by", "somebody")
    daemon.tick()
    assert scene.alerts() == [], "other people's tags are theirs"
    scene.client.set_model_version_tag(scene.name, "1", "ion.model_version", "sha256:" + "0" * 64)
    daemon.tick()
    assert scene.alerts() == [("mirror-tag-changed", trained.model)]
    scene.client.delete_model_version_tag(scene.name, "1", "ion.model_version")
    daemon.tick()
    assert len(scene.alerts()) == 1, "it differs as before"


def test_bytes_changed_on_the_server_are_told_within_ten_seconds(scene: Scene) -> None:
    trained = scene.promote()
    before = scene.served()
    (file,) = (scene.server.folder / "served").rglob(
        f"{scene.client.get_model_version(scene.name, '1').run_id}/**/model.json"
    )
    with Daemon() as daemon:
        until(lambda: "0 differences" in daemon.said, 30)
        data = bytearray(file.read_bytes())
        data[20] ^= 1
        file.write_bytes(data)
        took = until(lambda: bool(scene.alerts()))
    print(f"told after {took:.1f} s")  # noqa: T201
    assert scene.alerts() == [("mirror-bytes-differ", trained.model)]
    assert scene.served() == before


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("change", ["byte", "times", "link", "added", "gone", "longer"])
def test_bytes_changed_in_a_local_folder_are_told_whatever_was_done(scene: Scene, change: str, tmp_path: Path) -> None:
    daemon = Daemon()
    scene.artifacts = (tmp_path / "local").as_uri()
    trained = scene.promote()
    daemon.tick()
    assert scene.alerts() == []
    (file,) = (tmp_path / "local").rglob("model.json")
    status, data = file.stat(), bytearray(file.read_bytes())
    if change in {"byte", "times"}:
        data[20] ^= 1
        file.write_bytes(data)
        if change == "times":
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "link":
        shutil.move(file, tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    elif change == "added":
        (file.parent / "loader.pkl").write_bytes(b"surplus")
    elif change == "gone":
        file.unlink()
    else:
        file.write_bytes(data + b" ")
    daemon.tick()
    daemon.tick()
    assert scene.alerts() == [("mirror-bytes-differ", trained.model)]


@pytest.mark.usefixtures("quick")
def test_files_are_never_fetched_from_a_plain_address(scene: Scene) -> None:
    daemon = Daemon()
    asked: list[str] = []
    with socket.socket() as planted:
        planted.bind(("127.0.0.1", 0))
        planted.listen(4)
        planted.settimeout(0.1)
        scene.promote()
        address = f"http://127.0.0.1:{planted.getsockname()[1]}/api/2.0/mlflow-artifacts/artifacts/x"
        scene.server.sql(
            "UPDATE model_versions SET source = ?, storage_location = ? WHERE name = ?", address, address, scene.name
        )
        daemon.tick()
        try:
            planted.accept()
            asked.append(address)
        except TimeoutError:
            pass
    assert asked == []


def test_a_dead_mlflow_hangs_no_tick_and_is_told_once_per_outage(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_watch, "TICK_SECONDS", 1.0)
    monkeypatch.setattr(mirror_watch, "OUTAGE_US", 3_000_000)
    scene.promote()
    daemon = Daemon()
    until(lambda: "0 differences" in daemon.tick(), 30)
    real = scene.server.url
    with socket.socket() as silent:  # takes connections and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        longest, began = 0.0, time.monotonic()
        while time.monotonic() - began < 14:
            at = time.monotonic()
            daemon.tick()
            longest = max(longest, time.monotonic() - at)
    assert longest < 3.0, "a dead MLflow held up the tick"
    assert scene.alerts() == [("mirror-unreachable", "mlflow")]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", real)
    until(lambda: daemon.tick() and len(scene.alerts()) > 1, 30)
    assert [kind for kind, _ in scene.alerts()] == ["mirror-unreachable", "mirror-in-line"]


def test_only_what_mlflow_signed_lately_wakes_the_watch(scene: Scene, page: str) -> None:
    import base64
    import hashlib
    import hmac

    home = scene.deployment.home
    url = f"{page}/hooks/mlflow"

    def deliver(body: bytes, secret: str, at: int, **changed: str) -> int:
        signature = base64.b64encode(hmac.new(secret.encode(), b"d1.%d." % at + body, hashlib.sha256).digest())
        headers = {
            "X-MLflow-Delivery-Id": "d1",
            "X-MLflow-Timestamp": str(at),
            "X-MLflow-Signature": "v1," + signature.decode(),
        }
        request = urllib.request.Request(url, body, headers | changed)  # noqa: S310 - our own page
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    now = int(time.time())
    assert deliver(b"{}", "no secret has been made", now) == 503
    secret = shared_secret(home, MLFLOW_WEBHOOK)
    assert deliver(b"{}", secret + "x", now) == 401
    assert deliver(b"{}", secret, now - 301) == 401
    assert deliver(b"{}", secret, now + 302) == 401
    assert deliver(b"{}", secret, now, **{"X-MLflow-Delivery-Id": "d2"}) == 401
    assert deliver(b"{}", secret, now, **{"X-MLflow-Timestamp": str(now - 1)}) == 401
    assert deliver(b"{}", secret, now, **{"X-MLflow-Timestamp": "nan"}) == 401
    assert deliver(b"{}", secret, now, **{"X-MLflow-Signature": ""}) == 401
    assert deliver(b" " * (256 * 1024 + 1), secret, now) == 413
    assert mark(home) == 0
    assert deliver(b"not even JSON: nothing it says is believed", secret, now) == 204
    assert mark(home) > 0
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, timeout=5)  # noqa: S310
    assert refused.value.code in {404, 405}
