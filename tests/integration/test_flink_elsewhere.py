"""A streaming job in a folder of its own that reaches governance by URL alone, over TLS."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ion.clock import now_us
from ion.decision import promotion
from ion.evidence import PromotionStatement
from ion.evidence.envelope import unverified_payload
from ion.evidence.files import write_new
from ion.evidence.in_toto import PAYLOAD_TYPE
from ion.facts import (
    AdmissionRefused,
    ComponentRan,
    EpochClosed,
    EpochOpened,
    GapNoted,
    InputsCaptured,
    NodeRunEnded,
    NodeRunStarted,
    PredictionsCommitted,
    RolledBack,
)
from ion.graph import Definition, define, explain
from ion.home import Home
from ion.ids import PredictionId
from ion.ledger import verify_chain
from ion.replay import Eraser, replay
from ion.server.tokens import issue
from ion.serving import pointer_path, read_pointer
from ion.serving.erased import ErasedKeys, erased_path
from ion.serving.subject import SubjectTags
from ion.testing import DEFINITION, SERVING, Deployment, patients
from resources.flink.bins import has_bins
from resources.flink.columns import read_predictions
from resources.flink.deployment import MARK, PROJECT, _marked
from resources.flink.settings import JobSettings
from resources.flink.status import read_status
from tests.integration.server_process import Server, free_port
from tests.integration.test_server_processes import certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ion.facts import Fact
    from resources.flink.rows import Prediction

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]
DAY = 86_400_000_000


@dataclass
class Job:
    """The streaming job elsewhere: started by hand, with nothing of governance but the root's key and the pepper."""

    root: Path
    governance: Deployment
    environment: dict[str, str]
    files: int = 0
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = Home(self.root).make()
        self.home.root_public.parent.mkdir()
        shutil.copy(self.governance.home.root_public, self.home.root_public)
        SubjectTags.of(self.governance.home)
        self.home.keys.mkdir(mode=0o700)
        write_new(self.home.keys / "pepper", (self.governance.home.keys / "pepper").read_bytes())
        self.settings = JobSettings(str(self.home.root), SERVING, window_s=1.0, subject="patient")
        self.folders = self.settings.folders.make()

    @property
    def state(self) -> str:
        found = read_status(self.folders.status)
        return found.state if found else ""

    def start(self) -> None:
        self.folders.status.unlink(missing_ok=True)
        command = [str(PROJECT / ".venv-flink/bin/python"), "-m", "resources.flink.job", *self.settings.arguments()]
        environment = {**self.environment, "ION_HOME": str(self.home.root), MARK: str(self.folders.root)}
        with (self.folders.logs / "job.log").open("ab") as log:
            started = subprocess.Popen(
                command, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append(started)
        assert until(lambda: self.state == "running" or started.poll() is not None), self.log()
        assert started.poll() is None, self.log()
        told = (Path("/proc") / str(started.pid) / "environ").read_bytes() + b" ".join(map(str.encode, command))
        assert str(self.governance.home.root).encode() not in told

    def ended(self) -> bool:
        return self.processes[-1].poll() is not None

    def stop(self) -> None:
        self.processes[-1].send_signal(signal.SIGTERM)
        assert until(self.ended), self.log()

    def close(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert until(lambda: not _marked(f"{MARK}={self.folders.root}".encode()))

    def feed(self, rows: int) -> None:
        values = patients(self.files, rows)[["radius", "texture", "area"]].to_numpy()
        lines = [f"person-{number}," + ",".join(map(repr, map(float, row))) for number, row in enumerate(values)]
        hidden = self.folders.inbox / f".patients-{self.files:05d}.csv"
        hidden.write_text("".join(f"{line}\n" for line in lines))
        hidden.rename(self.folders.inbox / hidden.name[1:])
        self.files += 1

    def committed(self) -> list[Prediction]:
        paths = sorted(self.folders.predictions.glob("*/predictions*"))
        return [row for path in paths for row in read_predictions(path.read_bytes())]

    def lease_end(self) -> int:
        payload = unverified_payload(read_pointer(pointer_path(self.home.root, SERVING)), PAYLOAD_TYPE)
        return PromotionStatement.from_payload(payload).lease_end

    def log(self) -> str:
        path = self.folders.logs / "job.log"
        return path.read_text()[-3000:] if path.exists() else ""


@dataclass
class Scene:
    governance: Deployment
    server: Server
    job: Job

    def promote(self, seed: int) -> str:
        """Train, and let governance decide and promote; return the model that is to be served."""
        trained = self.governance.train(seed=seed, weight=1 + seed / 100)
        model = trained.model
        for component in ("patients", "features"):
            fact = ComponentRan(run=trained.run, component=component, component_kind="asset")
            self.governance.client.emit(fact)
        self.governance.client.ship()
        self.governance.govern()
        assert self.governance.store.current(SERVING).model == model
        return model

    def facts(self, kind: type[Fact]) -> list[Fact]:
        """Return what governance knows: nothing is shipped for the job here."""
        return [record.fact for record in self.governance.store.find(kind)]

    def champions(self) -> list[str]:
        return [str(fact.models["champion"]) for fact in self.facts(EpochOpened) if isinstance(fact, EpochOpened)]

    def ends(self) -> list[str]:
        """Return how runs of the job ended."""
        runs = {fact.run for fact in self.facts(NodeRunStarted) if fact.node == SERVING}  # type: ignore[attr-defined]
        return [fact.status for fact in self.facts(NodeRunEnded) if fact.run in runs]  # type: ignore[attr-defined]

    def known(self) -> set[tuple[str, int]]:
        facts = [fact for fact in self.facts(PredictionsCommitted) if isinstance(fact, PredictionsCommitted)]
        return {(fact.epoch, seq) for fact in facts for seq in range(fact.first, fact.last + 1)}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    governance = Deployment.make(tmp_path / "governance")
    nodes = [dict(node) for node in DEFINITION["nodes"]]  # type: ignore[attr-defined]
    nodes[-1] |= {"on_lease_end": "stop", "on_revocation": "fall_back"}
    define(governance.store, Definition.from_json({**DEFINITION, "nodes": nodes}))
    cert, key = certificate(tmp_path, "server", "127.0.0.1")
    url = f"sqlite:///{governance.home.root / 'store.db'}"
    server = Server(governance.home.root, url, free_port(), ("--tls-cert", str(cert), "--tls-key", str(key))).start()
    token = issue(governance.store, ["agent"], ["flink-*"], [SERVING], until=now_us() + DAY, by="test")[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ION_")},
        "ION_STORE_URL": server.url,
        "ION_AGENT_TOKEN": token,
        "SSL_CERT_FILE": str(cert),
    }
    job = Job(tmp_path / "elsewhere", governance, environment)
    try:
        yield Scene(governance, server, job)
    finally:
        job.close()
        server.kill()
        governance.close()


def test_a_job_elsewhere_swaps_falls_back_and_is_explained_completely(scene: Scene) -> None:
    job, governance = scene.job, scene.governance
    first = scene.promote(1)
    job.start()
    job.feed(40)
    assert until(lambda: len(scene.known()) == 40), job.log()
    second = scene.promote(2)
    assert until(lambda: scene.champions() == [first, second]), job.log()
    job.feed(30)
    assert until(lambda: len(scene.known()) == 70), job.log()
    assert until(lambda: has_bins(job.folders.bins, second)), job.log()  # histograms as the training's

    governance.promotions().revoke(SERVING, second, reason="wrong unit", by="test")
    assert until(lambda: scene.champions() == [first, second, first]), job.log()
    assert len(scene.facts(RolledBack)) == 1
    job.feed(20)
    assert until(lambda: len(scene.known()) == 90), job.log()
    assert until(lambda: sum(fact.rows for fact in scene.facts(InputsCaptured)) == 90)  # type: ignore[attr-defined]
    eraser = Eraser(governance.store, governance.home, reason="request 7", by="test")
    keys = eraser.subject(SERVING, "person-12").keys
    assert until(lambda: ErasedKeys(erased_path(job.home)).news() == set(keys) != set())

    scene.server.kill()  # cut off: it serves on under its lease, and keeps what it has to tell
    third = scene.promote(3)
    job.feed(25)
    assert until(lambda: len(job.committed()) == 115), job.log()
    assert len(scene.known()) == 90
    scene.server.start()
    assert until(lambda: scene.champions() == [first, second, first, third]), job.log()
    job.feed(10)
    assert until(lambda: len(job.committed()) == 125), job.log()
    job.stop()
    assert until(lambda: scene.ends() == ["stopped"])

    rows = job.committed()
    assert scene.known() == {(row.epoch, row.seq) for row in rows}
    assert [row.model for row in rows].count(third) == 10
    assert {fact.epoch for fact in scene.facts(EpochClosed)} == {fact.epoch for fact in scene.facts(EpochOpened)}
    assert scene.facts(AdmissionRefused) == []
    assert scene.facts(GapNoted) == []
    assert sum(fact.rows for fact in scene.facts(InputsCaptured)) == len(rows)
    head = governance.store.head()
    assert verify_chain(governance.store.entries(), head.position, head.link) == []
    kept = [row for row in rows if row.line != 13]  # of person-12, whose rows before are erased
    for row in (kept[0], kept[45], kept[75], kept[-1]):
        prediction = PredictionId(row.epoch, row.seq)
        answer = explain(governance.store, prediction, governance.home)
        assert answer.complete, answer.gaps
        again = replay(governance.store, governance.home, prediction, governance.client)
        assert (again.verdict, again.max_abs_diff) == ("identical", 0.0), again
    theirs = [PredictionId(row.epoch, row.seq) for row in rows if row.line == 13]
    again = [replay(governance.store, governance.home, each, governance.client).verdict for each in theirs]
    assert (len(again), again.count("identical")) == (4, 1)  # the one since, under another key
    assert not any(path.name == "store.db" for path in job.home.root.rglob("*"))
    assert (governance.home.root / "flink").exists() is False


def test_cut_off_it_follows_its_lease_and_catches_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "LEASE_US", 20_000_000)
    job, governance = scene.job, scene.governance
    scene.promote(1)
    renewing = threading.Event()

    def renew() -> None:
        while not renewing.wait(0.5):
            governance.promotions().publish(SERVING)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        job.start()
        first = job.lease_end()
        assert until(lambda: job.lease_end() > first + promotion.LEASE_US // 2), job.log()  # renewals come by URL
        job.feed(20)
        assert until(lambda: len(scene.known()) == 20), job.log()
        scene.server.kill()
        job.feed(10)
        assert until(lambda: len(job.committed()) == 30), job.log()
        assert until(job.ended), job.log()
        assert job.state == "halted"
    finally:
        renewing.set()
        thread.join()
    assert len(scene.known()) == 20
    job.feed(5)
    monkeypatch.setattr(promotion, "LEASE_US", DAY)
    governance.promotions().publish(SERVING)
    scene.server.start()
    job.start()
    assert until(lambda: len(scene.known()) == 35), job.log()
    job.stop()
    assert until(lambda: {(row.epoch, row.seq) for row in job.committed()} == scene.known())
    assert until(lambda: sorted(scene.ends()) == ["halted", "stopped"])
    refused = [fact for fact in scene.facts(AdmissionRefused) if isinstance(fact, AdmissionRefused)]
    assert [fact.step for fact in refused if fact.step == "lease"] == ["lease"]


def until(condition: Callable[[], bool], timeout: float = 120.0) -> bool:
    """Wait for a condition; False when it did not come."""
    give_up = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True
