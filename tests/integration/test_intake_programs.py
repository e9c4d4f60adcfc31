"""Real programs tell a real `ion intake`: a shell, Java, OpenLineage's own client, and what a real dbt run emitted."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ion.agent.intake.openlineage import openlineage_run
from ion.agent.shipping import ship_all
from ion.facts import (
    CheckEvaluated,
    DatasetRecorded,
    GapNoted,
    NodeRunEnded,
    NodeRunStarted,
    ParamRecorded,
    StatisticsRecorded,
)
from ion.graph import timeline
from ion.store import open_store
from tests.docs import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ion.store import GovernanceStore

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
EVENTS = Path(__file__).with_name("data") / "dbt-openlineage.ndjson"
PAGE = "docs/how-to/tell-from-another-language.md"


@dataclass(frozen=True, slots=True)
class Running:
    """An `ion intake` that listens."""

    process: subprocess.Popen[str]
    home: Path
    place: Path
    port: int

    def stopped(self) -> GovernanceStore:
        """Stop it as a service manager does; return the store with all that it took."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        return self.store()

    def store(self) -> GovernanceStore:
        store = open_store(f"sqlite:///{self.home / 'store.db'}")
        ship_all(self.home / "spool", store, wait=True)
        return store


def started(home: Path) -> Running:
    command = [sys.executable, "-m", "ion.cli", "intake", "--port", "0"]
    environment = {**os.environ, "ION_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=home.parent, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = process.stdout.readline()
    assert "Takes facts" in told
    return Running(process, home, home / "intake.sock", int(told.rpartition(":")[2]))


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Running]:
    running = started(tmp_path / "state")
    yield running
    running.process.kill()
    running.process.wait()


def told_once(store: GovernanceStore, engine: str, points: int) -> None:
    """Insist on exactly the run that the page's programs tell."""
    (start,) = store.find(NodeRunStarted)
    run = start.fact.run
    assert (start.fact.node, start.fact.engine) == ("weather/forecast", engine)
    assert [(r.fact.run, r.fact.name, r.fact.value) for r in store.find(ParamRecorded)] == [(run, "hours", 24)]
    (statistics,) = store.find(StatisticsRecorded)
    assert statistics.fact.run == run
    assert len(store.points(run, "degrees")) == points
    assert [(r.fact.run, r.fact.status) for r in store.find(NodeRunEnded)] == [(run, "succeeded")]
    events = [event.kind for event in timeline(store, "weather")]
    assert events == ["NodeRunStarted", "NodeRunEnded"]
    assert store.find(GapNoted) == []


def test_the_shell_client_of_the_page_tells_a_run(intake: Running, tmp_path: Path) -> None:
    (tmp_path / "tell.sh").write_text(blocks.marked(PAGE, "file", "tell.sh"))
    done = subprocess.run(
        ["sh", tmp_path / "tell.sh", intake.place], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.count('"ok": true') == 4
    told_once(intake.stopped(), "sh", 3)
    assert not intake.place.exists()


def test_the_shell_client_fails_when_a_line_is_refused(intake: Running, tmp_path: Path) -> None:
    broken = blocks.marked(PAGE, "file", "tell.sh").replace('"series"', '"serious"')
    (tmp_path / "tell.sh").write_text(broken)
    done = subprocess.run(["sh", tmp_path / "tell.sh", intake.place], capture_output=True, check=False, timeout=120)
    assert done.returncode == 1


def test_the_java_client_of_the_page_tells_a_run(intake: Running, tmp_path: Path) -> None:
    (tmp_path / "Tell.java").write_text(blocks.marked(PAGE, "file", "Tell.java"))
    java = str(Path(os.environ["JAVA_HOME"], "bin", "java")) if os.environ.get("JAVA_HOME") else "java"
    subprocess.run([java, tmp_path / "Tell.java", intake.place], capture_output=True, check=True, timeout=120)
    told_once(intake.stopped(), "java", 2)


def test_what_a_real_dbt_run_emitted_becomes_governed_node_runs(intake: Running) -> None:
    """The file was recorded by data/record_dbt_events.py; it is told twice, as a client does after a lost answer."""
    lines = [
        json.dumps({"ion": 1, "do": "openlineage", "event": json.loads(line)}).encode()
        for line in EVENTS.read_bytes().splitlines()
    ]
    for _ in range(2):
        assert all(answer["ok"] for answer in exchanged(intake.place, lines))
    store = intake.stopped()
    runs = {record.fact.node: record.fact for record in store.find(NodeRunStarted)}
    assert sorted(runs) == [
        "clinic/clinic_main_clinic_broken_build_run",
        "clinic/clinic_main_clinic_stays_build_run",
        "clinic/clinic_main_clinic_stays_build_test",
        "clinic/clinic_main_clinic_visits_build_run",
        "clinic/clinic_main_clinic_visits_build_test",
        "clinic/dbt_run_clinic",
    ]
    assert {fact.engine for fact in runs.values()} == {"dbt"}
    ended = {r.fact.run: r.fact.status for r in store.find(NodeRunEnded)}
    assert set(ended) == {fact.run for fact in runs.values()}
    failed = {fact.node for fact in runs.values() if ended[fact.run] == "failed"}
    assert failed == {"clinic/clinic_main_clinic_broken_build_run", "clinic/dbt_run_clinic"}
    whole = runs["clinic/dbt_run_clinic"]
    for fact in runs.values():
        openlineage: Any = fact.config["openlineage"]
        assert fact is whole or openlineage["parent"]["run"] == whole.run

    wrote = next(r.fact for r in store.find(DatasetRecorded) if r.fact.role == "output" and "visits" in r.fact.name)
    readers = {r.fact.run for r in store.find(DatasetRecorded, wrote.digest) if r.fact.role == "input"}
    assert readers == {
        runs[f"clinic/clinic_main_clinic_{name}"].run
        for name in ("broken_build_run", "stays_build_run", "visits_build_test")
    }
    checks = {r.fact.name: (r.fact.passed, r.fact.severity) for r in store.find(CheckEvaluated)}
    assert checks == {
        "not_null_visits_id": (True, "ERROR"),
        "unique_visits_id": (True, "ERROR"),
        "unique_visits_patient": (False, "WARN"),
        "unique_stays_patient": (True, "ERROR"),
    }
    summaries = [event.summary for event in timeline(store, "clinic")]
    assert "check unique_visits_patient on clinic/clinic_main_visits failed (WARN)" in summaries
    assert (summaries.count("run succeeded"), summaries.count("run failed")) == (4, 2)
    assert store.find(GapNoted) == []
    assert "/tmp/clinic" not in b"".join(raw for _, raw, _ in store.entries()).decode()  # noqa: S108 - as recorded


def test_the_client_of_openlineage_posts_over_http(intake: Running) -> None:
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import (
        data_quality_assertions_dataset,
        dataset_version_dataset,
        error_message_run,
        output_statistics_output_dataset,
        schema_dataset,
        source_code_location_job,
    )
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    client = OpenLineageClient(transport=HttpTransport(HttpConfig(url=f"http://127.0.0.1:{intake.port}")))
    run_id, producer = str(uuid.uuid4()), "https://example.org/night"
    check = data_quality_assertions_dataset.Assertion(assertion="not_null", success=False, column="id")
    checks = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(assertions=[check])
    version = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion="7")
    field = schema_dataset.SchemaDatasetFacetFields(name="id", type="int")
    schema = schema_dataset.SchemaDatasetFacet(fields=[field])
    counted = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=41)
    code = source_code_location_job.SourceCodeLocationJobFacet(
        type="git", url="https://git.example/etl", repoUrl="https://git.example/etl", version="c0ffee"
    )
    failure = error_message_run.ErrorMessageRunFacet(message="ValueError: of Ada", programmingLanguage="python")
    reading = InputDataset(
        namespace="s3://lake", name="raw", facets={"version": version}, inputFacets={"dataQualityAssertions": checks}
    )
    writing = OutputDataset(
        namespace="s3://lake", name="clean", facets={"schema": schema}, outputFacets={"outputStatistics": counted}
    )
    client.emit(
        RunEvent(
            eventTime="2026-01-02T03:04:05Z",
            run=Run(runId=run_id),
            job=Job(namespace="night", name="load", facets={"sourceCodeLocation": code}),
            eventType=RunState.START,
            producer=producer,
            inputs=[reading],
        )
    )
    client.emit(
        RunEvent(
            eventTime="2026-01-02T03:05:00Z",
            run=Run(runId=run_id, facets={"errorMessage": failure}),
            job=Job(namespace="night", name="load"),
            eventType=RunState.FAIL,
            producer=producer,
            outputs=[writing],
        )
    )

    store, run = intake.stopped(), openlineage_run(run_id)
    (start,) = store.find(NodeRunStarted, run)
    assert start.fact.code == {"git": True, "remote": "https://git.example/etl", "commit": "c0ffee"}
    assert [(r.fact.status, r.fact.error) for r in store.find(NodeRunEnded, run)] == [("failed", "ValueError")]
    assert {r.fact.uri: r.fact.rows for r in store.find(DatasetRecorded, run)} == {
        "s3://lake/raw": -1,
        "s3://lake/clean": 41,
    }
    assert [(r.fact.name, r.fact.passed) for r in store.find(CheckEvaluated, run)] == [("not_null(id)", False)]
    points = store.points(run, "output night/clean rows")
    assert (points.times.tolist(), points.values.tolist()) == ([1767323100000000], [41.0])


PAGE_OF_ANOTHER = """<body><script>
const fact = '{"ion": 1, "kind": "ParamRecorded", "body": {"run": "r", "name": "n", "value": 1}}\\n';
const told = 'http://127.0.0.1:PORT/v1/facts', kind = {'Content-Type': 'application/x-ndjson'};
Promise.allSettled([
  fetch(told, {method: 'POST', body: fact, mode: 'no-cors'}),
  fetch(told, {method: 'POST', body: fact, headers: kind}),
  fetch(told, {method: 'POST', body: fact, headers: kind, mode: 'no-cors'}),
  fetch('http://localhost:PORT/v1/facts', {method: 'POST', body: new Blob([fact], {type: 'application/x-ndjson'})}),
]).then(tried => { document.body.textContent = tried.map(one => one.status).join(' '); });
</script></body>"""


@contextmanager
def page(text: str) -> Iterator[int]:
    """Serve a page on a port of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_page_in_a_real_browser_tells_nothing(intake: Running, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("needs Chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    with page(PAGE_OF_ANOTHER.replace("PORT", str(intake.port))) as port:
        visit = ["--virtual-time-budget=10000", "--dump-dom", f"http://127.0.0.1:{port}/"]
        ran = subprocess.run([chromium, *options, *visit], capture_output=True, text=True, timeout=120, check=True)
    assert "rejected" in ran.stdout, ran.stdout
    store = intake.stopped()
    assert store.find(ParamRecorded) == []
    (gap, *_) = store.find(GapNoted)
    assert "foreign-origin" in gap.fact.reason, "the browser did send it"


def exchanged(place: Path, lines: list[bytes]) -> list[dict[str, Any]]:
    """Send lines as fast as may be, reading at the same time; return what was answered before the other end went."""
    answers: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(120)
        connection.connect(str(place))

        def send() -> None:
            try:
                for line in lines:
                    connection.sendall(line + b"\n")
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                return  # the intake was killed

        sending = threading.Thread(target=send)
        sending.start()
        try:
            with connection.makefile("rb") as file:
                answers += [json.loads(answer) for answer in file if answer.endswith(b"\n")]
        except ConnectionError:
            pass
        sending.join()
    return answers


def test_what_was_acknowledged_before_a_kill_is_there_and_what_is_sent_again_counts_once(tmp_path: Path) -> None:
    home = tmp_path / "state"
    ids = [str(uuid.uuid4()) for _ in range(3000)]
    lines = [
        json.dumps(
            {"ion": 1, "id": identity, "kind": "ParamRecorded", "body": {"run": "r", "name": "n", "value": identity}}
        ).encode()
        for identity in ids
    ]
    statistic = {"ion": 1, "id": str(uuid.uuid4()), "do": "stat", "run": "r", "series": "s", "value": 1}
    lines.insert(0, json.dumps(statistic).encode())
    acknowledged: set[str] = set()
    for kill_after in (200, 900):
        running = started(home)
        killer = threading.Thread(target=killed_after, args=(running, kill_after))
        killer.start()
        acknowledged |= {answer["id"] for answer in exchanged(running.place, lines) if answer["ok"]}
        running.process.kill()
        running.process.wait()
        killer.join()
    running = started(home)
    first = {str(record.fact.value) for record in running.store().find(ParamRecorded)}
    assert acknowledged - {str(statistic["id"])} <= first, "an acknowledged fact is missing"
    assert all(answer["ok"] for answer in exchanged(running.place, lines))
    store = running.stopped()
    assert sorted(str(record.fact.value) for record in store.find(ParamRecorded)) == sorted(ids)
    assert len(store.points("r", "s")) == 1


def killed_after(running: Running, lines: int) -> None:
    """Kill it as soon as so many facts are spooled."""
    least = lines * 400
    while running.process.poll() is None:
        sizes = [file.stat().st_size for file in running.home.glob("spool/*/facts") if file.exists()]
        if max(sizes, default=0) > least:
            running.process.kill()
