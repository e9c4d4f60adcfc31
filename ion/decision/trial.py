"""A draft policy set on trial: every past decision judged again by it, on the evidence of that time."""

from __future__ import annotations

from collections import Counter
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, cast

from ion.clock import now_us
from ion.decision.evidence import RequiredCheck, gather
from ion.decision.past import Past
from ion.decision.publication import Reevaluated
from ion.decision.spoken import with_people
from ion.errors import IonError
from ion.evidence.public_keys import load_public
from ion.evidence.trust import Trust, verify_trust
from ion.evidence.trust_root import TrustRoot
from ion.evidence.trust_signing import TrustPlace
from ion.facts import DecisionMade, IonDefined, ModelRecorded, NodeRunStarted, TrustChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ion.decision.evidence import Evidence, Measure
    from ion.decision.governor import Assignment
    from ion.decision.policy import PolicySet
    from ion.evidence.artifacts import ArtifactStore
    from ion.home import Home
    from ion.records import Recorded
    from ion.store import GovernanceStore

    Assignments = Callable[[GovernanceStore, str], Sequence[Assignment]]

Told = tuple[str, str, str]
"""(policy, verdict, message)"""


@dataclass(frozen=True, slots=True)
class Tried:
    """One past decision and what the draft says to the same evidence. ``decided`` is microseconds UTC.

    ``then`` and ``draft`` hold only the reasons that differ. ``unlike_then`` names the parts of the evidence
    that could not be brought back as they were: an artifact that is gone, a state that was not recorded.
    """

    decision: str
    node: str
    model: str
    run: str
    decided: int
    policy_set: str
    policy_digest: str
    verdict_then: str
    verdict_draft: str
    then: tuple[Told, ...]
    draft: tuple[Told, ...]
    unlike_then: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the draft would have decided otherwise."""
        return self.verdict_then != self.verdict_draft


@dataclass(frozen=True, slots=True)
class Bench:
    """What is needed to bring evidence back.

    Args:
        store: the facts.
        artifacts: models and held-out rows.
        measure: computes the metrics that decide.
        assignments: (store, training node) → who decides its candidates, for which nodes.
        trust: the trust document in force at a point of the past (`trust_then`); without one nobody's approval counts.
    """

    store: GovernanceStore
    artifacts: ArtifactStore
    _: KW_ONLY
    measure: Measure
    assignments: Assignments
    trust: Callable[[Past], Trust | None]

    def trials(self, draft: PolicySet, *, since: int = 0, ion: str = "") -> Iterator[Tried]:
        """Judge by ``draft`` what was decided since a time (µs UTC), in one ION or in all, oldest first.

        Of several decisions on a candidate for a node the last one counts.
        """
        last: dict[tuple[str, str, str], Recorded[DecisionMade]] = {}
        for record in self.store.find(DecisionMade):
            fact = record.fact
            last.pop((fact.node, fact.model, fact.run), None)  # keeps the order of the decisions that count
            last[fact.node, fact.model, fact.run] = record
        for record in last.values():
            if record.us >= since and ion in {"", record.fact.node.partition("/")[0]}:
                yield self._tried(draft, record)

    def serving(self, policies: PolicySet) -> Iterator[Reevaluated]:
        """Judge every model that serves under the set's reference, on what is known of it today."""
        now = self.store.head().position
        for node in self._served_under(policies.reference):
            current = self.store.current(node)
            decided = (
                self.store.latest(DecisionMade, current.decision) if current.model and not current.halted else None
            )
            if decided is not None:
                evidence = self._evidence(decided.fact, Past(self.store, now), (current.model, current.run), now_us())
                verdict, reasons = policies.evaluate(evidence)
                yield Reevaluated(node, current.model, current.decision, verdict, reasons)

    def _served_under(self, reference: str) -> list[str]:
        """Return the serving nodes that a policy node with this set sends promotions to."""
        found: dict[str, None] = {}
        newest = {record.fact.ion: record.fact.definition for record in self.store.find(IonDefined)}
        for ion, definition in newest.items():
            nodes = cast("Sequence[Mapping[str, object]]", definition["nodes"])
            for node in nodes:
                for assignment in self.assignments(self.store, f"{ion}/{node['name']}"):
                    if assignment.policy_set == reference:
                        found[assignment.serving_node] = None
        return list(found)

    def _tried(self, draft: PolicySet, record: Recorded[DecisionMade]) -> Tried:
        fact = record.fact
        then = Past(self.store, record.position)
        evidence = self._evidence(fact, then, then.serving(fact.node), record.us)
        verdict, reasons = draft.evaluate(evidence)
        said = [(str(r.get("policy")), str(r.get("verdict")), str(r.get("message"))) for r in fact.reasons]
        says = [(reason.policy, str(reason.verdict), reason.message) for reason in reasons]
        return Tried(
            decision=fact.decision,
            node=fact.node,
            model=fact.model,
            run=fact.run,
            decided=record.us,
            policy_set=fact.policy_set,
            policy_digest=fact.policy_digest,
            verdict_then=fact.verdict,
            verdict_draft=verdict,
            then=tuple((Counter(said) - Counter(says)).elements()),
            draft=tuple((Counter(says) - Counter(said)).elements()),
            unlike_then=_unlike(evidence, fact),
        )

    def _evidence(self, decided: DecisionMade, past: Past, current_model: tuple[str, str], at: int) -> Evidence:
        """Gather the evidence on the candidate of a decision as the facts of ``past`` tell it."""
        store = cast("GovernanceStore", past)  # it answers what `gather` asks
        made = [r.fact for r in past.find(ModelRecorded, decided.model) if r.fact.run == decided.run]
        started = past.latest(NodeRunStarted, decided.run)
        assert made and started is not None  # noqa: S101, PT018 - nothing else is decided
        judging = past.latest(NodeRunStarted, decided.decision)
        seen = judging.fact.config if judging else {}
        source, storage = seen.get("source_now"), seen.get("materialization")
        evidence = gather(
            store,
            self.artifacts,
            self.measure,
            (made[0], started.fact),
            current_model=current_model,
            required=self._required(store, started.fact.node, decided.node),
            materialization=storage if isinstance(storage, int) else 0,
            source_now=source if isinstance(source, dict) else {},
        )
        return with_people(evidence, store, self.trust(past), decided.node, at)

    def _required(self, store: GovernanceStore, trainer: str, node: str) -> Sequence[RequiredCheck]:
        for assignment in self.assignments(store, trainer):
            if assignment.serving_node == node:
                return assignment.required
        return ()


def trust_then(home: Home) -> Callable[[Past], Trust | None]:
    """Return what tells the trust document in force at a point of the past: the newest one recorded by then.

    Before the first was recorded, and where the root was changed since, it is the one in force now.
    """
    try:
        now, root = TrustPlace.of(home).read(), TrustRoot((load_public(home.root_public),))
    except IonError:
        return lambda _: None

    def then(past: Past) -> Trust | None:
        known = past.latest(TrustChanged)
        found = verify_trust(known.fact.envelope.encode(), root, 0) if known else None
        return found if isinstance(found, Trust) else now

    return then


def _unlike(evidence: Evidence, decided: DecisionMade) -> tuple[str, ...]:
    """Return the names of evidence whose digest is another than the decision names, or that is on one side only.

    What governance attested beside the evidence itself (provenance, say) is not gathered again.
    """
    found, named = evidence.digests(), dict(decided.evidence)
    lost = {name for name in named if name == "current" or name.startswith(("check:", "dataset:", "approval:"))}
    return tuple(sorted(name for name in found.keys() | lost if named.get(name) != found.get(name)))
