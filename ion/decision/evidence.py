"""Evidence: what a policy may look at, gathered from the facts and measured by governance itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from math import isfinite
from typing import TYPE_CHECKING

from ion.agent.dataset import read_parquet
from ion.canonical import digest_json
from ion.errors import IonError
from ion.evidence.hashed_reading import Content
from ion.evidence.quorum import standing
from ion.facts import CheckEvaluated, DatasetRecorded, ModelRecorded, NodeRunEnded, NodeRunStarted
from ion.values import dataclass

if TYPE_CHECKING:
    import pandas as pd

    from ion.evidence.approvals import Given
    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.quorum import ApprovalRule, Standing
    from ion.evidence.trust import Trust
    from ion.store import Candidate, GovernanceStore

Measure = Callable[[str, Mapping[str, Content], "pd.DataFrame", str], Mapping[str, float]]
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
    when the model was trained may have been committed unchanged since. ``approvals`` are the verified
    statements of people about this model for ``node``, ``submitters`` the names of who made it, ``at`` the time
    they are counted at and ``made`` when the model was recorded (µs UTC).
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
    trust: Trust | None = None
    approvals: Sequence[Given] = ()
    submitters: Sequence[str] = ()
    node: str = ""
    at: int = 0
    made: int = 0

    def standing(self, rule: ApprovalRule) -> Standing | None:
        """Return how a rule about people stands for this candidate; None where nothing says who people are."""
        if self.trust is None:
            return None
        return standing(
            self.approvals,
            self.trust,
            rule,
            model=self.candidate.model,
            node=self.node,
            at=self.at,
            submitters=self.submitters,
        )

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
                name = f"check:{check.asset}:{check.name}"
                parts[f"{name}@{check.dataset}" if name in parts else name] = digest_json(
                    {"dataset": check.dataset, **shown}
                )
        for given in self.approvals:
            parts[f"approval:{given.statement.person}:{given.statement.id}"] = given.digest
        return parts


def candidate_facts(store: GovernanceStore, candidate: Candidate) -> tuple[ModelRecorded, NodeRunStarted] | None:
    """Return the candidate's facts when its node run succeeded; None while it has not."""
    made = _recorded_models(store, candidate.model, candidate.run)
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
    heldout = str(candidate.datasets.get("heldout", ""))
    current: ModelRecorded | None = None
    current_measured = Measured()
    if current_model[0]:
        current = next(iter(_recorded_models(store, *current_model)), None)
        if current is None:
            current_measured = Measured(problem="no fact tells what it is")
        else:
            current_measured = _measure(store, artifacts, measure, current, heldout)
    versions = _upstream_versions(store, candidate)
    return Evidence(
        candidate=candidate,
        started=started,
        materialization=materialization,
        measured=_measure(store, artifacts, measure, candidate, heldout),
        current=current,
        current_measured=current_measured,
        checks=[part for check in required for part in _check(store, check, versions)],
        datasets=_named(versions),
        source_now=source_now,
        made=made_at(store, candidate),
    )


def made_at(store: GovernanceStore, candidate: ModelRecorded) -> int:
    """Return when a candidate was recorded first (µs UTC)."""
    found = [record.us for record in store.find(ModelRecorded, candidate.model) if record.fact.run == candidate.run]
    return min(found, default=0)


def upstream_datasets(store: GovernanceStore, model: ModelRecorded) -> dict[str, str]:
    """Return name → digest of every dataset version the model was made from, and ``heldout``.

    Walks from what the model names through the (run, component) that wrote each dataset to what
    that component read. A second version of the same dataset is named ``name@sha256:…``.
    """
    return _named(_upstream_versions(store, model))


def _upstream_versions(store: GovernanceStore, model: ModelRecorded) -> list[tuple[str, str]]:
    """Return (name, digest) in the order of the walk; a name may come with several digests."""
    found: list[tuple[str, str]] = []
    waiting = [(role, str(digest)) for role, digest in model.datasets.items()]
    while waiting:
        role, digest = waiting.pop()
        records = [record.fact for record in store.find(DatasetRecorded, digest) if record.fact.digest == digest]
        # What its reader called it comes first: two datasets may hold the same rows.
        named = role == "heldout" or "/" in role or not records
        version = (role if named else records[0].name, digest)
        if version in found:
            continue
        found.append(version)
        for writer in records:
            if writer.role == "output":
                waiting += [
                    (read.fact.name, read.fact.digest)
                    for read in store.find(DatasetRecorded, writer.run)
                    if read.fact.role == "input" and read.fact.component == writer.component
                ]
    return found


def _named(versions: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, digest in versions:
        found[f"{name}@{digest}" if name in found else name] = digest
    return found


def _recorded_models(store: GovernanceStore, model: str, run: str) -> list[ModelRecorded]:
    facts = [record.fact for record in store.find(ModelRecorded, model)]
    return [fact for fact in facts if (fact.model, fact.run) == (model, run)]


def load_dataset(store: GovernanceStore, artifacts: ArtifactStore, digest: str) -> pd.DataFrame:
    """Return the rows of a dataset version, checked against its digest.

    Raises:
        IonError: ``dataset-missing`` when its rows were not kept, ``dataset-differs``.
    """
    problem = IonError("dataset-missing", f"the rows of dataset {digest} were not kept")
    for record in store.find(DatasetRecorded, digest):
        if record.fact.digest == digest and record.fact.uri.startswith("artifact:"):
            try:
                return read_parquet(artifacts.get(record.fact.uri.removeprefix("artifact:")), digest)
            except IonError as error:  # somebody else may have kept them too
                problem = error
    raise problem


def _check(store: GovernanceStore, check: RequiredCheck, versions: Sequence[tuple[str, str]]) -> list[CheckEvidence]:
    """Return the check's newest result for each version used of its dataset."""
    digests = [digest for name, digest in versions if name == check.asset] or [""]
    return [CheckEvidence(check.asset, check.name, digest, _result(store, check, digest)) for digest in digests]


def _result(store: GovernanceStore, check: RequiredCheck, digest: str) -> CheckEvaluated | None:
    found = store.find(CheckEvaluated, digest, newest_first=True) if digest else []
    wanted = (check.asset, check.name, digest)
    return next((r.fact for r in found if (r.fact.asset, r.fact.name, r.fact.dataset) == wanted), None)


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
    values = {name: float(value) for name, value in metrics.items()}
    unfit = [name for name, value in values.items() if not isfinite(value)]
    if unfit:
        return Measured(problem=f"{', '.join(unfit)} is not a finite number on the held-out rows")
    return Measured(metrics=values)
