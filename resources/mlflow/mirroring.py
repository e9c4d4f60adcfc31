"""MLflow runs as facts: parameters, metrics with their steps and times, tags. Mirroring twice changes nothing."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from ion.agent.redaction import redacted
from ion.agent.statistics import Column, finite, leaves, statistics_fact
from ion.canonical import digest_json
from ion.errors import IonError
from ion.facts import EventRecorded, GapNoted, NodeRunEnded, ParamRecorded
from ion.home import Home
from ion.ids import observed_id
from ion.points import Points
from ion.values import dataclass
from resources.mlflow.server import SOON, client, reaching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from ion import Client, NodeRun

_ENDED = {"FINISHED": "succeeded", "FAILED": "failed", "KILLED": "stopped"}
_OWN_TAGS = {"mlflow.runName": "name", "mlflow.source.type": "source_type", "mlflow.source.git.commit": "commit"}
"""Of MLflow's own tags these are told; others name people, hosts and paths."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What was mirrored: the node run, and how many parameters and points of metrics."""

    run: str
    params: int
    points: int


def mirror_run(agent: Client, node: str, mlflow_run: str, *, tracking_uri: str = "") -> Mirrored:
    """Tell an MLflow run that has ended as a run of ``node``, with its nested runs.

    Its identity follows from MLflow's, so that it does not matter who mirrors it, and how often. What somebody adds
    to the MLflow run afterwards is not told any more.

    Raises:
        IonError: ``mlflow-running`` while it is not over, ``mlflow-unreachable``, ``mlflow-refused``.
    """
    uri = tracking_uri or Home.find().mlflow_url
    with reaching(uri):
        found = client(uri, SOON).get_run(mlflow_run)
    if found.info.status not in _ENDED:
        hint = "mirror it when it is over, or train inside resources.mlflow.autolog"
        raise IonError("mlflow-running", f"the MLflow run {mlflow_run} is {found.info.status.lower()}", hint)
    commit = found.data.tags.get("mlflow.source.git.commit", "")
    times = {"mlflow_start_us": found.info.start_time * 1000, "mlflow_end_us": (found.info.end_time or 0) * 1000}
    run = agent.node_run(
        node,
        kind="training",
        code={"commit": commit} if commit else {},
        config=times,
        engine="mlflow",
        engine_run=mlflow_run,
        run_id=observed_id("mlflow run", mlflow_run),
        submitter=found.data.tags.get("mlflow.user", ""),
    )
    mirrored = tell_run(run, mlflow_run, tracking_uri=uri)
    ended = NodeRunEnded(run=run.id, status=_ENDED[found.info.status])
    run.emit(ended, fact_id=observed_id("node run ended", run.id))
    agent.forget(run)
    return mirrored


def tell_run(run: NodeRun, mlflow_run: str, *, tracking_uri: str = "") -> Mirrored:
    """Tell an MLflow run and those nested in it as parameters and statistics of a node run.

    A metric becomes a series of its name, and where it has steps, another named ``<metric>/step`` with the same
    times. What nested runs logged stands under their names. Values that look like secrets or paths are taken out.

    Raises:
        IonError: ``mlflow-unreachable``, ``mlflow-refused``.
    """
    uri = tracking_uri or Home.find().mlflow_url
    with reaching(uri):
        server = client(uri, SOON)
        main = server.get_run(mlflow_run)
        counted = [_tell(run, server, main, "")]
        query = f"tags.`mlflow.parentRunId` = '{mlflow_run}'"
        page: str | None = ""
        while page is not None:
            children = server.search_runs([main.info.experiment_id], query, page_token=page or None)
            counted += [
                _tell(run, server, child, f"{child.info.run_name} {child.info.run_id[:8]}") for child in children
            ]
            page = children.token or None
    return Mirrored(run.id, sum(params for params, _ in counted), sum(points for _, points in counted))


@contextmanager
def autolog(run: NodeRun, *, experiment: str = "ion", tracking_uri: str = "") -> Iterator[Run]:
    """Let MLflow log by itself what the libraries it knows fit inside, and tell that as facts of ``run``.

    Starts an MLflow run, tagged with the node run, and ends it with its true status; what was logged until an
    error is told, too.

    Raises:
        IonError: ``mlflow-unreachable``, ``mlflow-refused``.
    """
    import mlflow

    uri = tracking_uri or Home.find().mlflow_url
    with reaching(uri):
        client(uri)
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(experiment)
        mlflow.autolog(log_models=False, silent=True)
        started = mlflow.start_run(run_name=run.node, tags={"ion.node_run": run.id})
    try:
        yield started
    except BaseException as error:
        with suppress(Exception):  # the first error is the one to report
            mlflow.end_run("FAILED" if isinstance(error, Exception) else "KILLED")
            tell_run(run, started.info.run_id, tracking_uri=uri)
        raise
    else:
        with reaching(uri):
            mlflow.end_run("FINISHED")
        tell_run(run, started.info.run_id, tracking_uri=uri)
    finally:
        mlflow.autolog(disable=True, silent=True)


def _tell(run: NodeRun, server: MlflowClient, found: Run, component: str) -> tuple[int, int]:
    """Tell one MLflow run; returns how many parameters and points."""
    mlflow_run, data = found.info.run_id, found.data
    for name, value in sorted(data.params.items()):
        fact = ParamRecorded(run=run.id, name=name, value=_shown(name, value), component=component)
        run.emit(fact, fact_id=observed_id("mlflow param", run.id, mlflow_run, name))
    tags: dict[str, object] = {
        _OWN_TAGS.get(name, name): _shown(name, value)
        for name, value in sorted(data.tags.items())
        if name in _OWN_TAGS or not name.startswith("mlflow.")
    }
    event = EventRecorded(run=run.id, name="mlflow run", attributes={"mlflow_run": mlflow_run, "tags": tags})
    run.emit(event, fact_id=observed_id("mlflow tags", run.id, mlflow_run, digest_json(tags)))
    return len(data.params), _tell_metrics(run, server, found, f"{component}." if component else "")


def _tell_metrics(run: NodeRun, server: MlflowClient, found: Run, prefix: str) -> int:
    mlflow_run, told = found.info.run_id, 0
    columns: list[Column] = []
    for name in sorted(found.data.metrics):
        history = sorted(server.get_metric_history(mlflow_run, name), key=lambda each: (each.timestamp, each.step))
        times = np.array([each.timestamp for each in history], np.int64) * 1000
        values = Column(prefix + name, "", Points(times, np.array([each.value for each in history], float)))
        steps = np.array([each.step for each in history], float)
        kept, lost = finite(values)
        if lost:
            gap = GapNoted(
                scope=run.id, what=f"statistic {prefix}{name}", count=lost, reason="the value was not finite"
            )
            run.emit(gap, fact_id=observed_id("mlflow metric gap", run.id, mlflow_run, name))
        columns.append(kept)
        if steps.any():
            columns.append(Column(f"{prefix}{name}/step", "", Points(times, steps)))
        told += len(kept.points)
    for number, part in enumerate(leaves([column for column in columns if len(column.points)])):
        fact, block = statistics_fact(run.id, "", {column.series: column.points for column in part})
        run.emit(fact, block=block, fact_id=observed_id("mlflow metrics", run.id, mlflow_run, str(number)))
    return told


def _shown(name: str, value: str) -> str:
    """Return a value without what looks like a secret or a path, also where only its name says that it is one."""
    return redacted(f"{name}={value}").removeprefix(f"{name}=")
