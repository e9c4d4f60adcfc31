"""What the pages say of models: the catalogue, and everything about one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.decision.evidence import upstream_datasets
from ion.errors import IonError
from ion.evidence import TrustRoot, Unverified, load_trust, verify_decision
from ion.facts import (
    CheckEvaluated,
    ComponentRan,
    DatasetRecorded,
    DecisionMade,
    ModelRecorded,
    NodeRunEnded,
    NodeRunStarted,
    ParamRecorded,
    SignatureRecorded,
    TrialRecorded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.home import Home
    from ion.records import Recorded
    from ion.store import GovernanceStore
    from ion.web.tally import Tally, Use


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One candidate: a model version and the run that made it."""

    model: str
    name: str
    run: str
    trained: int
    metrics: Mapping[str, object]
    verdict: str
    serving: Sequence[str]
    predictions: int


@dataclass(frozen=True, slots=True)
class DatasetUse:
    """A dataset version that a model was made from."""

    name: str
    digest: str
    rows: int
    classification: str
    columns: int
    checks: Sequence[CheckEvaluated]


@dataclass(frozen=True, slots=True)
class DecisionView:
    """A decision, and whether its signature holds under the key this deployment trusts."""

    fact: DecisionMade
    us: int
    expired: bool
    signature: str


@dataclass(frozen=True, slots=True)
class Making:
    """One node run that made the model."""

    recorded: Recorded[ModelRecorded]
    started: Recorded[NodeRunStarted] | None
    ended: Recorded[NodeRunEnded] | None
    decisions: Sequence[DecisionView]
    datasets: Sequence[DatasetUse]
    components: Sequence[Recorded[ComponentRan]]
    params: Sequence[ParamRecorded]
    trials: Sequence[TrialRecorded]
    histograms: Sequence[SignatureRecorded]


@dataclass(frozen=True, slots=True)
class ModelView:
    """Everything the page of one model version says; a version may have been made more than once."""

    digest: str
    makings: Sequence[Making]
    serving: Sequence[str]
    uses: Sequence[Use]

    @property
    def predictions(self) -> int:
        """How many predictions it made."""
        return sum(use.predictions for use in self.uses)


def catalogue(store: GovernanceStore, tally: Tally, nodes: Sequence[str]) -> list[CatalogueRow]:
    """Return every candidate, newest first; ``nodes`` are the serving nodes (``ion/node``)."""
    serving = {node: current for node in nodes if (current := store.current(node)).serial and not current.halted}
    rows: list[CatalogueRow] = []
    for candidate in reversed(store.candidates()):
        made = [r for r in store.find(ModelRecorded, candidate.model) if r.fact.run == candidate.run]
        if made:
            fact = made[0].fact
            where = [node for node, now in serving.items() if (now.model, now.run) == (candidate.model, candidate.run)]
            rows.append(
                CatalogueRow(
                    candidate.model,
                    fact.name,
                    candidate.run,
                    made[0].us,
                    fact.metrics,
                    candidate.verdict,
                    where,
                    tally.total(candidate.model, candidate.run),
                )
            )
    return rows


def model_view(store: GovernanceStore, home: Home, tally: Tally, nodes: Sequence[str], digest: str) -> ModelView:
    """Return what is known of a model version.

    Raises:
        IonError: ``unknown-model``.
    """
    recorded = store.find(ModelRecorded, digest, newest_first=True)
    recorded = [record for record in recorded if record.fact.model == digest]
    if not recorded:
        raise IonError("unknown-model", f"no fact speaks of a model {digest}", "the catalogue lists every model")
    serving = [node for node in nodes if (now := store.current(node)).model == digest and not now.halted]
    trust = load_trust(home).root("decision") if home.trust_document.exists() else None
    return ModelView(digest, [_making(store, trust, record) for record in recorded], serving, tally.uses(digest))


def _making(store: GovernanceStore, trust: TrustRoot | None, recorded: Recorded[ModelRecorded]) -> Making:
    run = recorded.fact.run
    decisions = [r for r in store.find(DecisionMade, recorded.fact.model, newest_first=True) if r.fact.run == run]
    return Making(
        recorded,
        store.latest(NodeRunStarted, run),
        store.latest(NodeRunEnded, run),
        [DecisionView(r.fact, r.us, r.fact.expires < now_us(), _signature(trust, r.fact)) for r in decisions],
        [_dataset(store, name, digest) for name, digest in sorted(upstream_datasets(store, recorded.fact).items())],
        store.find(ComponentRan, run),
        [record.fact for record in store.find(ParamRecorded, run)],
        [record.fact for record in store.find(TrialRecorded, run)],
        [record.fact for record in store.find(SignatureRecorded, run)],
    )


def _dataset(store: GovernanceStore, name: str, digest: str) -> DatasetUse:
    records = store.find(DatasetRecorded, digest)
    written = [r.fact for r in records if r.fact.role != "input"] or [r.fact for r in records]
    newest: dict[tuple[str, str], CheckEvaluated] = {}
    for check in store.find(CheckEvaluated, digest):
        newest[check.fact.asset, check.fact.name] = check.fact
    if not written:
        return DatasetUse(name, digest, 0, "unknown", 0, list(newest.values()))
    fact = written[0]
    return DatasetUse(fact.name, digest, fact.rows, fact.classification, len(fact.schema), list(newest.values()))


def _signature(trust: TrustRoot | None, fact: DecisionMade) -> str:
    """Return an empty string when the signature holds and says what the fact says, else why not."""
    if trust is None:
        return "this deployment has no key to check it with"
    statement = verify_decision(fact.envelope.encode(), trust)
    if isinstance(statement, Unverified):
        return statement.reason
    same = (statement.model, statement.verdict, statement.candidate_run) == (fact.model, fact.verdict, fact.run)
    return "" if same else "the signed statement says something else than the record"
