"""OpenLineage events become node runs, datasets, checks and statistics; in any order, any number of times."""

from __future__ import annotations

import copy
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from ion.agent import Client
from ion.agent.intake.addressing import Addressing, snake_case
from ion.agent.intake.openlineage import openlineage_run
from ion.agent.intake.taking import Taking
from ion.canonical import digest_bytes
from ion.errors import IonError
from ion.facts import (
    CheckEvaluated,
    ComponentRan,
    DatasetRecorded,
    NodeRunEnded,
    NodeRunStarted,
    StatisticsRecorded,
)
from ion.home import Home
from ion.testing import MemoryReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN = "01a1fe27-f402-7f79-95c8-998108036a8a"
PARENT = "01a1fe27-d542-76eb-a6d4-224192641dfe"
QUERY = "select * from visits where name = 'Lovelace'"
START: dict[str, Any] = {
    "eventType": "START",
    "eventTime": "2026-01-02T03:04:05.000006Z",
    "producer": "https://example.org/engine/1",
    "job": {
        "namespace": "Night ETL",
        "name": "clinic.visits-daily",
        "facets": {
            "jobType": {"processingType": "BATCH", "integration": "SPARK", "jobType": "JOB"},
            "sql": {"query": QUERY},
            "sourceCodeLocation": {
                "type": "git",
                "url": "https://git.example/clinic/etl/blob/main/visits.py",
                "repoUrl": "https://robot:secret@git.example/clinic/etl",
                "path": "visits.py",
                "version": "c0ffee",
                "branch": "main",
            },
        },
    },
    "run": {
        "runId": RUN,
        "facets": {
            "processing_engine": {"name": "Spark", "version": "3.5.1", "openlineageAdapterVersion": "1.54.0"},
            "parent": {"run": {"runId": PARENT}, "job": {"namespace": "Night ETL", "name": "all"}},
            "spark_properties": {"properties": {"spark.secret": "hidden"}},
        },
    },
    "inputs": [{"namespace": "postgres://reader:secret@db:5432", "name": "clinic.raw"}],
    "outputs": [],
}
COMPLETE: dict[str, Any] = {
    **copy.deepcopy(START),
    "eventType": "COMPLETE",
    "eventTime": "2026-01-02T03:05:00+00:00",
    "outputs": [
        {
            "namespace": "s3://lake",
            "name": "clinic/visits",
            "facets": {
                "schema": {"fields": [{"name": "id", "type": "int"}, {"name": "days"}]},
                "version": {"datasetVersion": "17"},
                "columnLineage": {"fields": {}},
            },
            "outputFacets": {"outputStatistics": {"rowCount": 3, "size": 120, "fileCount": 2}},
        }
    ],
}
CHECKED: dict[str, Any] = {
    "eventType": "COMPLETE",
    "eventTime": "2026-01-02T04:00:00",
    "job": {"namespace": "Night ETL", "name": "quality"},
    "run": {"runId": PARENT},
    "inputs": [
        {
            "namespace": "s3://lake",
            "name": "clinic/visits",
            "facets": {"version": {"datasetVersion": "17"}},
            "inputFacets": {
                "dataQualityAssertions": {
                    "assertions": [
                        {
                            "assertion": "not_null",
                            "column": "id",
                            "success": True,
                            "severity": "error",
                            "expected": "0",
                            "actual": "Lovelace",
                        },
                        {"assertion": "unique", "success": False, "severity": "warn", "name": "ids are unique"},
                        {"assertion": "in_range", "success": "yes"},
                    ]
                },
                "dataQualityMetrics": {
                    "rowCount": 3,
                    "columnMetrics": {"days": {"nullCount": 0, "min": 1.5, "quantiles": {"0.5": 2}}},
                },
            },
        }
    ],
}
FAIL = {
    **copy.deepcopy(START),
    "eventType": "FAIL",
    "run": {
        "runId": RUN,
        "facets": {
            "errorMessage": {
                "message": "\n org.example.NoTableException: of Lovelace\n  at row Lovelace",
                "stackTrace": "secret",
                "programmingLanguage": "J",
            }
        },
    },
}


@pytest.fixture
def receiver() -> MemoryReceiver:
    return MemoryReceiver()


@pytest.fixture
def client(tmp_path: Path, receiver: MemoryReceiver) -> Iterator[Client]:
    opened = Client(Home(tmp_path), "intake", receiver)
    yield opened
    opened.close()


def told(client: Client, *events: dict[str, Any], nodes: Addressing | None = None) -> list[dict[str, object]]:
    taking = Taking(client, nodes)
    answers = [taking.take_event(json.dumps(event).encode()) for event in events]
    client.ship()
    return answers


def test_a_run_that_completes(client: Client, receiver: MemoryReceiver) -> None:
    first, last = told(client, START, COMPLETE)
    run = openlineage_run(RUN)
    assert first["run"] == last["run"] == run
    (started,), (ended,) = receiver.facts(NodeRunStarted), receiver.facts(NodeRunEnded)
    assert (started.node, started.node_kind, started.engine) == ("night_etl/clinic_visits_daily", "custom", "spark")
    assert started.environment == {"version": "3.5.1", "openlineageAdapterVersion": "1.54.0"}
    assert started.engine_run == RUN
    assert started.code == {
        "git": True,
        "remote": "https://git.example/clinic/etl",
        "commit": "c0ffee",
        "path": "visits.py",
        "branch": "main",
        "sql_digest": digest_bytes(QUERY.encode()),
    }
    parent = {"namespace": "Night ETL", "job": "all", "run": openlineage_run(PARENT), "node": "night_etl/all"}
    names = {"namespace": "Night ETL", "job": "clinic.visits-daily", "run": RUN}
    assert started.config == {"openlineage": {**names, "parent": parent}}
    assert (ended.run, ended.status, ended.error) == (run, "succeeded", "")


def test_datasets_are_recorded_with_what_is_known_of_them(client: Client, receiver: MemoryReceiver) -> None:
    told(client, START, COMPLETE)
    read, wrote = receiver.facts(DatasetRecorded)
    assert (read.role, read.name, read.uri) == ("input", "night_etl/clinic_raw", "postgres://db:5432/clinic.raw")
    assert (read.rows, read.schema) == (-1, [])
    assert (wrote.role, wrote.name, wrote.uri) == ("output", "night_etl/clinic_visits", "s3://lake/clinic/visits")
    assert (wrote.rows, wrote.classification) == (3, "private")
    assert wrote.schema == [{"name": "id", "type": "int"}, {"name": "days", "type": ""}]


def test_who_reads_what_another_run_wrote_names_the_same_version(client: Client, receiver: MemoryReceiver) -> None:
    told(client, COMPLETE, CHECKED)
    wrote = next(fact for fact in receiver.facts(DatasetRecorded) if fact.role == "output")
    read = next(fact for fact in receiver.facts(DatasetRecorded) if fact.run == openlineage_run(PARENT))
    assert (read.digest, read.name) == (wrote.digest, wrote.name)
    other = copy.deepcopy(CHECKED)
    other["inputs"][0]["facets"]["version"]["datasetVersion"] = "18"
    told(client, other)
    assert receiver.facts(DatasetRecorded)[-1].digest != wrote.digest


def test_assertions_become_checks(client: Client, receiver: MemoryReceiver) -> None:
    told(client, CHECKED)
    (dataset,) = receiver.facts(DatasetRecorded)
    checks = receiver.facts(CheckEvaluated)
    assert [(check.name, check.passed, check.severity) for check in checks] == [
        ("not_null(id)", True, "ERROR"),
        ("ids are unique", False, "WARN"),
        ("in_range", False, "ERROR"),  # only true is a success
    ]
    assert {(check.asset, check.dataset) for check in checks} == {(dataset.name, dataset.digest)}
    assert checks[0].results == [{"assertion": "not_null", "column": "id", "expected": "0"}]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("\n org.example.NoTableException: of Lovelace\n at x", "org.example.NoTableException"),
        ("ValueError", "ValueError"),
        ("Lovelace caused an Error: twice", "error"),
        ("", "error"),
        (5, "error"),
    ],
)
def test_the_error_is_its_kind_and_never_its_text(
    client: Client, receiver: MemoryReceiver, message: object, error: str
) -> None:
    told(client, {**FAIL, "run": {"runId": RUN, "facets": {"errorMessage": {"message": message}}}})
    (ended,) = receiver.facts(NodeRunEnded)
    assert (ended.status, ended.error) == ("failed", error)


def test_an_aborted_run_stopped(client: Client, receiver: MemoryReceiver) -> None:
    told(client, {**START, "eventType": "ABORT"})
    assert [ended.status for ended in receiver.facts(NodeRunEnded)] == ["stopped"]


def shown(receiver: MemoryReceiver) -> set[str]:
    """Return what the store would count, apart from who started the run first."""
    return {record.id for record in receiver.records}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_events_in_any_order_and_twice_tell_the_same(tmp_path: Path, order: tuple[int, ...]) -> None:
    events = [START, {**copy.deepcopy(START), "eventType": "RUNNING", "eventTime": "2026-01-02T03:04:30Z"}, COMPLETE]
    expected, receiver = MemoryReceiver(), MemoryReceiver()
    first = Client(Home(tmp_path), "first", expected)
    told(first, *events)
    first.close()
    for name in ("second", "third"):  # two agents: what is told again comes over another one
        client = Client(Home(tmp_path), name, receiver)
        told(client, *(events[number] for number in order))
        client.close()
    assert shown(receiver) == shown(expected)
    assert [ended.status for ended in receiver.facts(NodeRunEnded)] == ["succeeded"]
    assert len(receiver.facts(NodeRunStarted)) == 1
    assert len(receiver.facts(StatisticsRecorded)) == len(expected.facts(StatisticsRecorded)) > 0


def test_a_completion_before_its_start_starts_the_run(client: Client, receiver: MemoryReceiver) -> None:
    told(client, COMPLETE)
    assert [fact.node for fact in receiver.facts(NodeRunStarted)] == ["night_etl/clinic_visits_daily"]


def test_no_secret_text_row_or_path_is_recorded(client: Client, receiver: MemoryReceiver) -> None:
    local = copy.deepcopy(COMPLETE)
    local["outputs"] += [
        {"namespace": "file", "name": "/home/ada/visits.csv"},
        {"namespace": "duckdb:///home/ada/clinic.duckdb", "name": "main.visits"},
    ]
    told(client, START, local, FAIL)
    text = b"".join(record.raw for record in receiver.records).decode()
    for secret in ("secret", "hidden", "Lovelace", "/home/ada", "robot"):
        assert secret not in text, secret
    names = {fact.name: fact.uri for fact in receiver.facts(DatasetRecorded)}
    assert names["night_etl/visits_csv"] == names["night_etl/main_visits"] == ""


def test_facets_nothing_is_made_of_are_counted(client: Client, receiver: MemoryReceiver) -> None:
    told(client, COMPLETE)
    (step,) = receiver.facts(ComponentRan)
    assert step.component_kind == "openlineage"
    assert step.details["left_out"] == {"columnLineage": 1, "spark_properties": 1}
    assert step.details["job_type"] == {"processingType": "BATCH", "integration": "SPARK", "jobType": "JOB"}
    assert step.details["time"] == 1767323100000000


def changed(*path: str, value: object) -> dict[str, Any]:
    event = copy.deepcopy(COMPLETE)
    part: Any = event
    for name in path[:-1]:
        part = part[int(name)] if name.isdigit() else part[name]
    part[path[-1]] = value
    return event


@pytest.mark.parametrize(
    "event",
    [
        {"eventTime": "2026-01-02T03:04:05Z", "dataset": {}}, changed("run", value=None), changed("run", value=[]),
        changed("run", "runId", value="1"), changed("run", "runId", value=None), changed("job", value=None),
        changed("job", "name", value=""), changed("job", "name", value=5), changed("job", "namespace", value="a\0b"),
        changed("eventTime", value="yesterday"), changed("eventTime", value=None), changed("eventType", value="HALT"),
        changed("inputs", value={}), changed("inputs", value=[5]), changed("outputs", "0", "facets", value=[]),
        changed("outputs", "0", "facets", "schema", "fields", value=5),
        changed("outputs", "0", "facets", "schema", "fields", value=[{"type": "int"}]),
        changed("outputs", "0", "facets", "version", "datasetVersion", value=17),
        changed("run", "facets", "parent", "run", value={"runId": "no"}),
        changed("job", "facets", "sourceCodeLocation", "repoUrl", value={}),
    ],
)  # fmt: skip
def test_what_is_no_run_event_is_refused_as_a_whole(
    client: Client, receiver: MemoryReceiver, event: dict[str, Any]
) -> None:
    (answer,) = told(client, event)
    assert (answer["ok"], answer["code"]) == (False, "bad-event")
    assert receiver.facts(NodeRunStarted) == []


def test_rules_say_which_node_a_job_is(client: Client, receiver: MemoryReceiver, tmp_path: Path) -> None:
    rules = [
        {"namespace": "Other*", "node": "other/job"},
        {"job": "clinic.*", "node": "readmission/nightly_*", "kind": "training", "classification": "pii"},
        {"node": "rest/*"},
    ]
    (tmp_path / "openlineage.json").write_text(json.dumps({"nodes": rules}))
    told(client, COMPLETE, nodes=Addressing.of(tmp_path))
    (started,) = receiver.facts(NodeRunStarted)
    assert (started.node, started.node_kind) == ("readmission/nightly_clinic_visits_daily", "training")
    openlineage = started.config["openlineage"]
    assert isinstance(openlineage, dict)
    assert openlineage["parent"]["node"] == "rest/all"
    assert {fact.classification for fact in receiver.facts(DatasetRecorded)} == {"pii"}


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"nodes": 5}', '{"nodes": [{}]}', '{"nodes": [{"node": "NOWHERE"}]}',
        '{"nodes": [{"node": "a/b", "more": "c"}]}', '{"nodes": [{"node": "a/b", "classification": "secret"}]}',
        '{"nodes": [{"node": 5}]}', '{"nodes": ["a/b"]}',
    ],
)  # fmt: skip
def test_rules_that_cannot_be_meant_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "openlineage.json").write_text(text)
    with pytest.raises(IonError) as caught:
        Addressing.of(tmp_path)
    assert caught.value.code == "bad-mapping"


def test_without_rules_a_job_is_called_as_it_calls_itself(tmp_path: Path) -> None:
    assert Addressing.of(tmp_path).place("spark://Head:7077", "Daily Load") == Addressing().place(
        "spark___head__7077", "daily.load"
    )
    long, longer = snake_case("x" * 300), snake_case("x" * 301)
    assert long != longer
    assert len(long) == 100
    assert snake_case("Ä") != snake_case("é")
