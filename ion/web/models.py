"""What the pages say of models: the catalogue, and everything about one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.decision.evidence import upstream_datasets
from ion.errors import IonError
from ion.facts import (
    ApprovalGiven,
    CheckEvaluated,
    ComponentRan,
    DatasetRecorded,
    DecisionMade,
    ModelRecorded,
    ModelRevoked,
    NodeRunEnded,
    NodeRunStarted,
    ParamRecorded,
    SignatureRecorded,
    TrialRecorded,
)
from ion.graph.approved import approval_problem
from ion.graph.pending import pending
from ion.graph.signed import decision_problem, people_of, trusted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.evidence import Trust, TrustRoot
    from ion.graph.pending import Waiting
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
    revoked: Sequence[str]
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
class Signed:
    """What a person signed; ``signature`` is empty when it holds, else why not. ``at`` is microseconds UTC."""

    person: str
    name: str
    word: str
    reason: str
    at: int
    signature: str


@dataclass(frozen=True, slots=True)
class DecisionView:
    """A decision, and whether its signature holds under the keys this deployment trusts.

    ``people`` is what was said about model and node until now, at the newest decision only.
    """

    fact: DecisionMade
    us: int
    expired: bool
    signature: str
    people: Sequence[Signed]


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
    waiting: Sequence[Waiting]
    revoked: Sequence[ModelRevoked]

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
                    sorted({r.fact.node for r in store.find(ModelRevoked, candidate.model)}),
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
    trust, people = trusted(home), people_of(home)
    makings = [_making(store, trust, people, record) for record in recorded]
    waiting = [each for each in pending(store, people) if each.model == digest]
    revoked = [record.fact for record in store.find(ModelRevoked, digest)]
    return ModelView(digest, makings, serving, tally.uses(digest), waiting, revoked)


def _making(
    store: GovernanceStore, trust: TrustRoot | str, people: Trust | None, recorded: Recorded[ModelRecorded]
) -> Making:
    run = recorded.fact.run
    decisions = [r for r in store.find(DecisionMade, recorded.fact.model, newest_first=True) if r.fact.run == run]
    return Making(
        recorded,
        store.latest(NodeRunStarted, run),
        store.latest(NodeRunEnded, run),
        [
            DecisionView(
                r.fact,
                r.us,
                r.fact.expires < now_us(),
                trust if isinstance(trust, str) else decision_problem(r.fact, trust),
                _people(store, people, r.fact) if newest else [],
            )
            for newest, r in ((r is decisions[0], r) for r in decisions)
        ],
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


def _people(store: GovernanceStore, trust: Trust | None, decided: DecisionMade) -> list[Signed]:
    """Return what people signed about this model for this node, oldest first, and whether each signature holds."""
    found = [record.fact for record in store.find(ApprovalGiven, decided.model) if record.fact.node == decided.node]
    people: list[Signed] = []
    for fact in found:
        person = trust.person(fact.person) if trust else None
        name = person.name if person else ""
        problem, _ = approval_problem(fact, trust)
        people.append(Signed(fact.person, name, fact.verdict, fact.reason, fact.issued, problem))
    return people
