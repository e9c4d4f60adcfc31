"""OpenLineage run events as facts: docs/how-to/openlineage.md says what becomes of what.

Source: OpenLineage specification 2-0-2, RunEvent and its facets. Every fact has an id made of the run's and of what it
says, so an event that comes twice, or before one that happened earlier, changes nothing that was told.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ion.agent.code import published
from ion.agent.intake.datasets import DATASET_FACETS, dataset_tellings
from ion.agent.intake.facets import Facets, Text, untaken
from ion.agent.intake.points import statistics
from ion.agent.intake.telling import Telling, Told, checked_uuid
from ion.canonical import digest_bytes, digest_json
from ion.errors import IonError
from ion.facts import ComponentRan, NodeRunEnded, NodeRunStarted
from ion.ids import observed_id

if TYPE_CHECKING:
    from ion.agent.intake.addressing import Addressing

_TYPES = frozenset({"START", "RUNNING", "COMPLETE", "FAIL", "ABORT", "OTHER"})
_ENDS = {"COMPLETE": "succeeded", "FAIL": "failed", "ABORT": "stopped"}
_RUN_FACETS = frozenset({"parent", "processing_engine", "errorMessage"})
_JOB_FACETS = frozenset({"jobType", "sourceCodeLocation", "sql", "sourceCode"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST = 300
_ERROR_KIND = re.compile(r"[A-Za-z_][\w.$]*(?:Error|Exception)(?=:|\Z)")


def openlineage_run(run_id: str) -> str:
    """Return the node run's id of an OpenLineage run."""
    return observed_id("openlineage run", run_id)


def read_event(event: dict[str, object], nodes: Addressing) -> Told:
    """Return the facts that a run event tells.

    Raises:
        IonError: ``bad-event``, ``bad-node``.
    """
    if not isinstance(event.get("run"), dict):
        raise IonError(
            "bad-event", "not a run event: it names no run", "events of jobs or datasets alone are not taken"
        )
    run_part, job_part = Facets.of(event, "run"), Facets.of(event, "job")
    run_id = checked_uuid(run_part.fields.get("runId"), "runId", "bad-event")
    namespace, job = job_part.text("namespace"), job_part.text("name")
    us = _microseconds(event.get("eventTime"))
    kind = str(event.get("eventType") or "OTHER").upper()
    if kind not in _TYPES:
        raise IonError("bad-event", f"unknown eventType {kind!r:.50}", f"one of {', '.join(sorted(_TYPES))}")

    place, run, digest = nodes.place(namespace, job), openlineage_run(run_id), digest_json(event)
    code, about_job = _code(job_part), job_part.facet("jobType")
    engine = run_part.facet("processing_engine")
    parent = _parent(run_part, nodes)
    told = {"namespace": namespace, "job": job, "run": run_id, **({"parent": parent} if parent else {})}
    started = NodeRunStarted(
        run=run,
        node=place.node,
        node_kind=place.kind,
        code=code,
        config={"openlineage": told},
        environment=engine.texts("version", "openlineageAdapterVersion"),
        engine=(engine.text("name", "") or about_job.text("integration", "")).lower(),
        engine_run=run_id,
    )
    tellings = [Telling(started, observed_id("node run started", run))]  # of whichever event comes first

    points: dict[str, tuple[list[int], list[float]]] = {}
    left_out = untaken(run_part.facets, _RUN_FACETS) + untaken(job_part.facets, _JOB_FACETS)
    for list_name, role in (("inputs", "input"), ("outputs", "output")):
        for dataset in Facets.each(event, list_name):
            facts, values = dataset_tellings(dataset, run=run, place=place, role=role)
            tellings += facts
            for name, value in values:
                times, numbers = points.setdefault(name, ([], []))
                times.append(us)
                numbers.append(value)
            left_out += untaken(dataset.facets, DATASET_FACETS)

    details: dict[str, object] = {
        "event": kind,
        "time": us,
        "producer": Text(event.get("producer")).cut(_LONGEST),
    }
    details |= {"job_type": about_job.texts("processingType", "integration", "jobType")} if about_job.fields else {}
    details |= {"code": code} if code else {}  # the run may have been started by an event that did not know it
    details |= {"left_out": {name: left_out.count(name) for name in sorted(set(left_out))}} if left_out else {}
    step = ComponentRan(run=run, component=f"event {kind}", component_kind="openlineage", details=details)
    tellings.append(Telling(step, observed_id("openlineage event", digest)))
    tellings += [
        Telling(telling.fact, observed_id("openlineage points", digest, str(number)), telling.block)
        for number, telling in enumerate(statistics(run, points))
    ]
    if kind in _ENDS:
        ended = NodeRunEnded(run=run, status=_ENDS[kind], error=_error(run_part.facet("errorMessage")))
        tellings.append(Telling(ended, observed_id("openlineage ended", run)))
    return Told(observed_id("openlineage event", digest), digest, tuple(tellings), {"run": run, "node": place.node})


def _code(job: Facets) -> dict[str, object]:
    """Return what the job's facets say of its source: where, which commit, and digests of the text, never the text."""
    location, code = job.facet("sourceCodeLocation"), dict[str, object]()
    if location.fields:
        code["git"] = location.text("type", "").lower() == "git"
        remote = published(location.text("repoUrl", "") or location.text("url", ""))
        code |= {"remote": remote} if remote else {}
        code |= {"commit": location.text("version", "")} if location.text("version", "") else {}
        code |= location.texts("path", "branch", "tag")
    query, source = job.facet("sql").fields.get("query"), job.facet("sourceCode").fields.get("sourceCode")
    code |= {"sql_digest": digest_bytes(query.encode())} if isinstance(query, str) else {}
    code |= {"source_digest": digest_bytes(source.encode())} if isinstance(source, str) else {}
    return code


def _error(facet: Facets) -> str:
    """Return the kind of the error where its text begins with one; never the text, which may hold rows and paths."""
    if not facet.fields:
        return ""
    kind = _ERROR_KIND.match(Text(facet.fields.get("message")).first_line(_LONGEST))
    return kind[0] if kind else "error"


def _parent(run: Facets, nodes: Addressing) -> dict[str, object]:
    facet = run.facet("parent")
    if not facet.fields:
        return {}
    run_id = checked_uuid(Facets.of(facet.fields, "run").fields.get("runId"), "the parent's runId", "bad-event")
    job = Facets.of(facet.fields, "job")
    namespace, name = job.text("namespace"), job.text("name")
    place = nodes.place(namespace, name)
    return {"namespace": namespace, "job": name, "run": openlineage_run(run_id), "node": place.node}


def _microseconds(text: object) -> int:
    """Return an RFC 3339 time as microseconds; one without a zone is UTC."""
    try:
        time = datetime.fromisoformat(text if isinstance(text, str) else "")
        us = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        raise IonError("bad-event", f"no eventTime: {text!r}"[:200], "give it as RFC 3339") from None
    return max(us // timedelta(microseconds=1), 0)
