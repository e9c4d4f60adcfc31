"""The governor: turns an eligible candidate into a signed decision and, if approved, a promotion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.decision.evidence import Measure, RequiredCheck, candidate_facts, gather
from ion.decision.promotion import Promotions
from ion.evidence.statements import DecisionStatement, EvidenceReference, sign_statement
from ion.facts import DecisionMade, MessageReceived, MessageSent, ModelRecorded, NodeRunEnded, NodeRunStarted
from ion.ids import new_id

if TYPE_CHECKING:
    from ion.decision.policy import PolicySet, Reason, Verdict
    from ion.evidence.keys import Signer
    from ion.evidence.artifacts import ArtifactStore
    from ion.store import Candidate, Command, GovernanceStore

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the ION's definition says about a candidate: who decides, by what, for which node."""

    policy_node: str
    policy_set: str
    serving_node: str
    on_lease_end: str
    required: Sequence[RequiredCheck]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A decision as recorded; ``promoted`` tells whether it changed what is served."""

    decision: str
    node: str
    policy_node: str
    model: str
    run: str
    verdict: Verdict
    reasons: tuple[Reason, ...]
    promoted: bool
    evidence: Mapping[str, str]


class Governor:
    """Decides candidates. It holds the signing key, so it lives in the governance code location."""

    def __init__(
        self,
        store: GovernanceStore,
        artifacts: ArtifactStore,
        signer: Signer,
        *,
        measure: Measure,
        assignments: Callable[[str], Sequence[Assignment]],
        policy_set: Callable[[str], PolicySet],
        materialization: Callable[[ModelRecorded], int | None],
        source_now: Callable[[NodeRunStarted], Mapping[str, object]],
        promotions: Promotions,
        version: str,
    ) -> None:
        """``assignments`` maps a training node to its assignments, ``materialization`` a model to
        the storage id of Dagster's event for it (None when there is none).
        """
        self.store = store
        self._artifacts = artifacts
        self._signer = signer
        self._measure = measure
        self._assignments = assignments
        self._policy_set = policy_set
        self._materialization = materialization
        self._source_now = source_now
        self._promotions = promotions
        self._version = version

    def consider(
        self, candidate: Candidate, *, again: bool = False, instead: Reason | None = None
    ) -> list[Outcome]:
        """Decide a candidate, once per node it would serve; nothing while it is not eligible.

        With ``again`` an already decided candidate gets a new decision. ``instead`` is a reason not
        to approve that stands in for a policy set that does not answer.
        """
        facts = candidate_facts(self.store, candidate)
        if facts is None or (candidate.verdict and not again):
            return []
        materialization = self._materialization(facts[0])
        if materialization is None:
            return []
        outcomes = [
            self._decide(candidate, facts, assignment, materialization, again=again, instead=instead)
            for assignment in self._assignments(candidate.node)
        ]
        return [outcome for outcome in outcomes if outcome is not None]

    def _decide(
        self,
        candidate: Candidate,
        facts: tuple[ModelRecorded, NodeRunStarted],
        assignment: Assignment,
        materialization: int,
        *,
        again: bool,
        instead: Reason | None,
    ) -> Outcome | None:
        policies = self._policy_set(assignment.policy_set)
        current = self.store.current(assignment.serving_node)
        evidence = gather(
            self.store, self._artifacts, self._measure, facts,
            current_model=(current.model, current.run), required=assignment.required,
            materialization=materialization, source_now=self._source_now(facts[1]),
        )
        verdict, reasons = policies.evaluate(evidence) if instead is None else ("reject", (instead,))
        digests = evidence.digests()
        now = now_us()
        expires = now + policies.valid_days * _DAY_US
        ion, _, node = assignment.serving_node.partition("/")
        policy_digest = policies.digest(self._version)
        statement = DecisionStatement(
            ion=ion, node=node, model=candidate.model, candidate_run=candidate.run, verdict=verdict,
            reasons=tuple(f"{reason.policy}: {reason.message}" for reason in reasons),
            policy_uri=f"policy:{policies.name}", policy_digest=policy_digest,
            evidence=tuple(EvidenceReference(f"ion:{name}", digest) for name, digest in digests.items()),
            decided=now, expires=expires, verifier_version=self._version,
        )
        envelope = sign_statement(statement, self._signer)
        envelope_digest = self._artifacts.put(envelope)
        fact = DecisionMade(
            decision=new_id(), node=assignment.serving_node, model=candidate.model, run=candidate.run,
            verdict=verdict, reasons=[reason.as_dict() for reason in reasons],
            policy_set=policies.name, policy_digest=policy_digest, evidence=digests, expires=expires,
            envelope=envelope.decode(), envelope_digest=envelope_digest,
        )
        promoted = self._commit(candidate, assignment, fact, again=again)
        if promoted is None:
            return None
        if promoted:
            self._promotions.publish(assignment.serving_node)
        return Outcome(
            fact.decision, assignment.serving_node, assignment.policy_node, candidate.model, candidate.run,
            verdict, reasons, promoted, digests,
        )

    def _commit(
        self, candidate: Candidate, assignment: Assignment, fact: DecisionMade, *, again: bool
    ) -> bool | None:
        """Record decision and promotion in one transaction; None when another tick was first."""
        with self.store.command() as command:
            decided = [r.fact for r in command.find(DecisionMade, candidate.model)]
            if not again and any((d.run, d.node) == (fact.run, fact.node) for d in decided):
                return None
            self._record_policy_run(command, candidate, assignment, fact)
            if fact.verdict != "approve":
                return False
            return self._promotions.promote(
                command, fact, candidate.position, assignment.policy_node, assignment.on_lease_end
            )

    @staticmethod
    def _record_policy_run(
        command: Command, candidate: Candidate, assignment: Assignment, fact: DecisionMade
    ) -> None:
        command.record(
            NodeRunStarted(
                run=fact.decision, node=assignment.policy_node, node_kind="policy",
                config={"policy_set": fact.policy_set, "policy_digest": fact.policy_digest},
            )
        )
        for sent in command.find(MessageSent, candidate.run):
            if sent.fact.receiver == assignment.policy_node and sent.fact.subject == candidate.model:
                command.record(
                    MessageReceived(message=sent.fact.message, run=fact.decision, receiver=assignment.policy_node)
                )
        command.record(fact)
        command.record(NodeRunEnded(run=fact.decision, status="succeeded"))
