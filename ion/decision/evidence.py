"""Evidence: what a policy may look at, gathered from the facts and measured by governance itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ion.agent.dataset import read_parquet
from ion.canonical import digest_json
from ion.errors import IonError
from ion.facts import CheckEvaluated, DatasetRecorded, ModelRecorded, NodeRunEnded, NodeRunStarted

if TYPE_CHECKING:
    import pandas as pd

    from ion.evidence.artifacts import ArtifactStore
    from ion.store import Candidate, GovernanceStore

Measure = Callable[[str, Mapping[str, bytes], "pd.DataFrame", str], Mapping[str, float]]
"""(format, model files, held-out frame, label column) → metrics."""


@dataclass(frozen=True, slots=True)
class RequiredCheck:
    """A check that the ION declares on a dataset asset (``ion/dataset``)."""

    asset: str
    name: str


@dataclass(frozen=True, slots=True)
class CheckEvidence:
    """A required check and its newest result on exactly this dataset version, if there is one."""

    asset: str
    name: str
    dataset: str
    result: CheckEvaluated | None


@dataclass(frozen=True, slots=True)
class Measured:
    """Metrics computed by governance from artifact and held-out rows, or why they could not be."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything about one candidate that policies decide on.

    ``source_now`` is the state of the code at the time of the evaluation: files that were dirty
    when the model was trained may have been committed unchanged since.
    """

    candidate: ModelRecorded
    started: NodeRunStarted
    materialization: int
    measured: Measured
    current: ModelRecorded | None
    current_measured: Measured
    checks: Sequence[CheckEvidence]
    datasets: Mapping[str, str]
    source_now: Mapping[str, object]

    def digests(self) -> dict[str, str]:
        """Return name → digest of every part, for the signed decision."""
        parts: dict[str, str] = {
            "model": self.candidate.model,
            "code": digest_json({"at_run": dict(self.started.code), "now": dict(self.source_now)}),
            "metrics": digest_json({"reported": dict(self.candidate.metrics), "measured": dict(self.measured.metrics)}),
            "materialization": digest_json({"run": self.candidate.run, "storage_id": self.materialization}),
        }
        if self.current is not None:
            measured = {"model": self.current.model, "measured": dict(self.current_measured.metrics)}
            parts["current"] = digest_json(measured)
        parts |= {f"dataset:{name}": digest for name, digest in self.datasets.items()}
        for check in self.checks:
            if check.result is not None:
                shown = {"passed": check.result.passed, "results": [dict(r) for r in check.result.results]}
                parts[f"check:{check.asset}:{check.name}"] = digest_json({"dataset": check.dataset, **shown})
        return parts


def candidate_facts(
    store: GovernanceStore, candidate: Candidate
) -> tuple[ModelRecorded, NodeRunStarted] | None:
    """Return the candidate's facts when its node run succeeded; None while it has not."""
    made = [r.fact for r in store.find(ModelRecorded, candidate.model) if r.fact.run == candidate.run]
    started = store.latest(NodeRunStarted, candidate.run)
    ended = store.latest(NodeRunEnded, candidate.run)
    if not made or started is None or ended is None or ended.fact.status != "succeeded":
        return None
    return made[0], started.fact


def gather(
    store: GovernanceStore,
    artifacts: ArtifactStore,
    measure: Measure,
    facts: tuple[ModelRecorded, NodeRunStarted],
    *,
    current_model: tuple[str, str],
    required: Sequence[RequiredCheck],
    materialization: int,
    source_now: Mapping[str, object],
) -> Evidence:
    """Gather the evidence on a candidate; ``current_model`` is (model, run) or two empty strings.

    Nothing here raises for bad evidence: what is missing or broken is said in the evidence.
    """
    candidate, started = facts
    current: ModelRecorded | None = None
    if current_model[0]:
        found = [r.fact for r in store.find(ModelRecorded, current_model[0]) if r.fact.run == current_model[1]]
        current = found[0] if found else None
    heldout = str(candidate.datasets.get("heldout", ""))
    datasets = upstream_datasets(store, candidate)
    return Evidence(
        candidate=candidate,
        started=started,
        materialization=materialization,
        measured=_measure(store, artifacts, measure, candidate, heldout),
        current=current,
        current_measured=(
            Measured() if current is None else _measure(store, artifacts, measure, current, heldout)
        ),
        checks=[_check(store, check, datasets) for check in required],
        datasets=datasets,
        source_now=source_now,
    )


def upstream_datasets(store: GovernanceStore, model: ModelRecorded) -> dict[str, str]:
    """Return name → digest of every dataset version the model was made from, and ``heldout``.

    Walks from what the model names through the (run, component) that wrote each dataset to what
    that component read.
    """
    found: dict[str, str] = {}
    waiting = [(role, str(digest)) for role, digest in model.datasets.items()]
    seen: set[str] = set()
    while waiting:
        role, digest = waiting.pop()
        if digest in seen:
            continue
        seen.add(digest)
        records = [record.fact for record in store.find(DatasetRecorded, digest)]
        name = role if role == "heldout" else (records[0].name if records else role)
        found[name] = digest
        for writer in records:
            if writer.role != "output":
                continue
            waiting += [
                (read.fact.name, read.fact.digest)
                for read in store.find(DatasetRecorded, writer.run)
                if read.fact.role == "input" and read.fact.component == writer.component
            ]
    return found


def load_dataset(store: GovernanceStore, artifacts: ArtifactStore, digest: str) -> pd.DataFrame:
    """Return the rows of a dataset version, checked against its digest.

    Raises:
        IonError: ``dataset-missing`` when its rows were not kept, ``dataset-differs``.
    """
    for record in store.find(DatasetRecorded, digest):
        if record.fact.uri.startswith("artifact:"):
            return read_parquet(artifacts.get(record.fact.uri.removeprefix("artifact:")), digest)
    raise IonError("dataset-missing", f"the rows of dataset {digest} were not kept")


def _check(
    store: GovernanceStore, check: RequiredCheck, datasets: Mapping[str, str]
) -> CheckEvidence:
    digest = datasets.get(check.asset, "")
    results = store.find(CheckEvaluated, digest, newest_first=True) if digest else []
    matching = [r.fact for r in results if (r.fact.asset, r.fact.name) == (check.asset, check.name)]
    return CheckEvidence(check.asset, check.name, digest, matching[0] if matching else None)


def _measure(
    store: GovernanceStore, artifacts: ArtifactStore, measure: Measure, model: ModelRecorded, heldout: str
) -> Measured:
    try:
        frame = load_dataset(store, artifacts, heldout)
        metrics = measure(model.format, artifacts.get_model(model.model), frame, model.label)
    except IonError as error:
        return Measured(problem=error.message)
    except Exception as error:  # noqa: BLE001 - a broken artifact is missing evidence, not a crash
        return Measured(problem=f"{type(error).__name__}: {error}"[:300])
    return Measured(metrics=dict(metrics))
