"""Where a model came from: its bytes, the run that made it, and what that run told of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.errors import IonError
from ion.facts import (
    ComponentRan,
    ModelRecorded,
    NodeRunEnded,
    NodeRunStarted,
    ParamRecorded,
    SignatureRecorded,
    TrialRecorded,
)

if TYPE_CHECKING:
    from ion.graph.inquiry import Answer, Inquiry
    from ion.graph.upstream import DatasetUsed
    from ion.records import Recorded


def model_made(inquiry: Inquiry, model: str, run: str) -> Recorded[ModelRecorded] | None:
    """Return the fact of the candidate (model, run); the first maker's when no run is known."""
    made = [record for record in inquiry.find(ModelRecorded, model) if record.fact.model == model]
    chosen = [record for record in made if record.fact.run == run] if run else made
    inquiry.concerns(model)
    if not chosen:
        inquiry.hole("model", model, "no fact says which run made it")
        return None
    return chosen[0]


def model_answer(inquiry: Inquiry, role: str, model: str, made: ModelRecorded | None) -> Answer:
    """Return a model as JSON; its bytes are read and hashed while answering."""
    answer: Answer = {"role": role, "model": model, "bytes": "verified"}
    try:
        inquiry.artifacts.get_model(model)
    except IonError as error:
        answer["bytes"] = error.message
        inquiry.hole("model bytes", model, error.message)
    if made is not None:
        answer |= {
            "name": made.name,
            "format": made.format,
            "size": made.size,
            "node": made.node,
            "run": made.run,
            "metrics": dict(made.metrics),
            "links": dict(made.links),
        }
    return answer


def run_answer(inquiry: Inquiry, run: str, *, part: str) -> Answer:
    """Return a node run as JSON: who, how it ended, its components, parameters, trials, statistics."""
    answer: Answer = {"part": part, "run": run}
    inquiry.concerns(run)
    started = inquiry.newest(NodeRunStarted, run)
    if started is None:
        inquiry.hole("node run", run, f"no fact tells how the {part} run was started")
    else:
        fact = started.fact
        answer |= {"node": fact.node, "kind": fact.node_kind, "started": rfc3339(started.us)}
        answer |= {"engine": fact.engine, "engine_run": fact.engine_run}
        if not fact.code.get("source_digest"):
            inquiry.hole("code", run, f"the {part} run recorded no source")
        if not fact.environment:
            inquiry.hole("environment", run, f"the {part} run recorded no environment")
    ended = inquiry.newest(NodeRunEnded, run)
    if ended is not None:
        answer |= {"ended": rfc3339(ended.us), "status": ended.fact.status}
        if ended.fact.error:
            answer["error"] = ended.fact.error
    elif part != "serving":
        inquiry.hole("node run", run, f"no fact tells how the {part} run ended")
    answer["components"] = [
        {"component": r.fact.component, "kind": r.fact.component_kind, "details": dict(r.fact.details)}
        for r in inquiry.find(ComponentRan, run)
    ]
    answer["params"] = {
        f"{r.fact.component}.{r.fact.name}".lstrip("."): r.fact.value for r in inquiry.find(ParamRecorded, run)
    }
    answer["trials"] = [
        {"params": dict(r.fact.params), "metrics": dict(r.fact.metrics), "selected": r.fact.selected}
        for r in inquiry.find(TrialRecorded, run)
    ]
    answer["statistics"] = sorted({series.name for series in inquiry.store.statistics.series(run)})
    return answer


def training_answers(inquiry: Inquiry, made: Recorded[ModelRecorded], versions: list[DatasetUsed]) -> list[Answer]:
    """Return the training run, then the runs that wrote the dataset versions it led back to."""
    run = made.fact.run
    training = run_answer(inquiry, run, part="training")
    if not training["components"]:
        inquiry.hole("components", run, "no component of the training run was recorded")
    if training.get("status", "succeeded") != "succeeded":
        inquiry.hole("node run", run, f"the training run {training['status']}")
    writers = {version.writer.fact.run for version in versions if version.writer is not None}
    return [training, *(run_answer(inquiry, writer, part="data") for writer in sorted(writers - {run}))]


def features_answer(inquiry: Inquiry, made: ModelRecorded) -> Answer:
    """Return what the model takes and gives, and of which inputs the training distribution is known."""
    signatures = [r.fact for r in inquiry.find(SignatureRecorded, made.run) if r.fact.role == "training"]
    return {
        "names": list(made.features),
        "label": made.label,
        "input_schema": [dict(row) for row in made.input_schema],
        "output_schema": [dict(row) for row in made.output_schema],
        "training_signatures": sorted({fact.name for fact in signatures}),
    }
