"""Why a prediction came out as it did: a walk back from its id through everything that had a part in it.

The questions are those of Table 1 of the paper this project follows: who, where, what, when, how.
Nothing raises for a hole: the answer names it and is not ``complete``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.facts import DagsterReported, DatasetRecorded, IonDefined, MirrorUpdated, NodeRunStarted
from ion.graph.deciding import Admission, admission_of, approval_answers, decision_answers
from ion.graph.inquiry import Answer, Hole, Inquiry
from ion.graph.messages import message_answers
from ion.graph.provenance import (
    features_answer,
    model_answer,
    model_made,
    run_answer,
    training_answers,
)
from ion.graph.serving_epoch import Serving, epoch_answer, serving_of, trouble_meanwhile
from ion.graph.upstream import dataset_answers, datasets_used
from ion.ids import PredictionId
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.facts import ModelRecorded
    from ion.home import Home
    from ion.records import Recorded
    from ion.store import GovernanceStore


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to "why this prediction?"; JSON values throughout, times as RFC 3339."""

    prediction: str
    epoch: Answer
    models: list[Answer]
    decisions: list[Answer]
    approvals: list[Answer]
    training: list[Answer]
    datasets: list[Answer]
    features: Answer
    code: Answer
    config: Answer
    environment: Answer
    dagster: Answer
    mlflow: Answer
    messages: list[Answer]
    errors: list[Answer]
    gaps: tuple[Hole, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing that the answer needs is missing."""
        return not self.gaps

    def as_dict(self) -> Answer:
        """Return the JSON form, ``complete`` and ``gaps`` last."""
        answer = asdict(self)
        del answer["gaps"]
        return answer | {"complete": self.complete, "gaps": [hole.as_dict() for hole in self.gaps]}


def explain(store: GovernanceStore, prediction: PredictionId | str, home: Home) -> Explanation:
    """Explain a prediction from the facts, verifying signatures and model bytes on the way.

    Raises:
        IonError: ``bad-prediction-id``; ``unknown-prediction`` when no fact knows the id.
    """
    identity = PredictionId.parse(prediction) if isinstance(prediction, str) else prediction
    inquiry = Inquiry(store, home)
    serving = serving_of(inquiry, identity)
    admission = admission_of(inquiry, serving)
    made = _made(inquiry, serving, admission)
    champion = next(iter(made.values()), None)
    decisions = decision_answers(inquiry, serving, admission)
    training: list[Answer] = []
    datasets: list[Answer] = []
    for record in {each.fact.run: each for each in made.values()}.values():
        versions = datasets_used(inquiry, record)
        training += training_answers(inquiry, record, versions)
        judged = admission.decision if admission.run == record.fact.run else None
        datasets += dataset_answers(inquiry, versions, judged)
    served = run_answer(inquiry, serving.run, part="serving") if serving.run else None
    messages = message_answers(inquiry, serving, admission)
    runs = [*training, *([served] if served else [])]
    errors = [*_failed(runs), *trouble_meanwhile(inquiry, serving), *inquiry.alerts()]
    return Explanation(
        prediction=str(identity),
        epoch=epoch_answer(serving),
        models=[model_answer(inquiry, role, model, _fact(made.get(model))) for role, model in serving.models.items()],
        decisions=decisions,
        approvals=approval_answers(inquiry, admission),
        training=training,
        datasets=[*datasets, *_read_while_serving(inquiry, serving)],
        features=features_answer(inquiry, champion.fact) if champion else {},
        code=_of_runs(inquiry, runs, "code"),
        config=_of_runs(inquiry, runs, "config") | _definition_version(inquiry, serving),
        environment=_of_runs(inquiry, runs, "environment"),
        dagster=_dagster(inquiry, serving, admission, runs),
        mlflow=_mlflow(inquiry, admission, _fact(champion)),
        messages=messages,
        errors=errors,
        gaps=tuple(inquiry.holes()),
    )


def _made(inquiry: Inquiry, serving: Serving, admission: Admission) -> dict[str, Recorded[ModelRecorded]]:
    """Return model digest → the fact of its making, the champion first."""
    found: dict[str, Recorded[ModelRecorded]] = {}
    for role, model in sorted(serving.models.items(), key=lambda item: item[0] != "champion"):
        promoted = admission.promoted is not None and admission.promoted.fact.model == model
        made = model_made(inquiry, model, admission.run if promoted or role == "champion" else "")
        if made is not None:
            found[model] = made
    return found


def _fact(made: Recorded[ModelRecorded] | None) -> ModelRecorded | None:
    return made.fact if made else None


def _of_runs(inquiry: Inquiry, runs: list[Answer], field: str) -> Answer:
    """Return run id → ``{part, …}`` of one field of how each run was started."""
    answer: Answer = {}
    for run in runs:
        started = inquiry.newest(NodeRunStarted, str(run["run"]))
        value = dict(getattr(started.fact, field)) if started else {}
        answer[str(run["run"])] = {"part": run["part"], "node": run.get("node", ""), **value}
    return answer


def _definition_version(inquiry: Inquiry, serving: Serving) -> Answer:
    """Return the version of the ION's definition that was newest when the epoch opened."""
    if serving.opened is None:
        return {}
    ion, position = serving.node.partition("/")[0], serving.opened.position
    known = [record for record in inquiry.find(IonDefined, ion) if record.position < position]
    if not known:
        inquiry.hole("definition", ion, "no fact says how this ION was defined when the epoch opened")
        return {}
    return {"ion": {"name": ion, "version": known[-1].fact.version, "defined": rfc3339(known[-1].us)}}


def _read_while_serving(inquiry: Inquiry, serving: Serving) -> list[Answer]:
    """Return the datasets that the serving run read (a batch); a stream's inputs are in the epoch's sources."""
    read = [r.fact for r in inquiry.find(DatasetRecorded, serving.run)] if serving.run else []
    return [
        {"name": fact.name, "digest": fact.digest, "rows": fact.rows, "read_by": serving.run}
        for fact in read
        if fact.role == "input"
    ]


def _failed(runs: list[Answer]) -> list[Answer]:
    return [
        {"what": "run-failed", "about": run["run"], "at": run["ended"], "message": str(run.get("error", ""))}
        for run in runs
        if run.get("status") == "failed"
    ]


def _dagster(inquiry: Inquiry, serving: Serving, admission: Admission, runs: list[Answer]) -> Answer:
    """Return the Dagster runs that were node runs, and the events written for decision and output."""
    subjects = [admission.decision.fact.decision] if admission.decision else []
    subjects += [serving.committed.fact.file_digest] if serving.committed else []
    reported = [
        {"asset": record.fact.asset, "storage_id": record.fact.storage_id, "subject": subject}
        for subject in subjects
        for record in inquiry.find(DagsterReported, subject)
    ]
    own = [
        {"run": run["run"], "node": run.get("node", ""), "dagster_run": run["engine_run"]}
        for run in runs
        if run.get("engine") == "dagster"
    ]
    return {"runs": own, "events": reported}


def _mlflow(inquiry: Inquiry, admission: Admission, champion: ModelRecorded | None) -> Answer:
    """Return where MLflow shows the model, and how its registry was brought in line."""
    links = champion.links if champion else {}
    answer: Answer = {name: value for name, value in links.items() if name.startswith("mlflow")}
    if admission.promoted is not None:
        mirrored = [r.fact for r in inquiry.find(MirrorUpdated, admission.promoted.fact.cause)]
        answer["mirrored"] = [asdict(fact) for fact in mirrored]
    return answer
