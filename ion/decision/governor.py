"""The governor: turns an eligible candidate into a signed decision and, if approved, a promotion."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.decision.evidence import candidate_facts, gather
from ion.evidence.statements import DecisionStatement, EvidenceReference, sign_statement
from ion.facts import DecisionMade, MessageReceived, MessageSent, ModelRecorded, NodeRunEnded, NodeRunStarted
from ion.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ion.decision.evidence import Measure, RequiredCheck
    from ion.decision.policy import PolicySet, Reason, Verdict
    from ion.decision.promotion import Promotions
    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.keys import Signer
    from ion.store import Candidate, Command, Current, GovernanceStore

_DAY_US = 86_400_000_000
_ATTEMPTS = 5


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


@dataclass(frozen=True, slots=True)
class _Judged:
    """A signed verdict before it is recorded, and what the node served when it was reached."""

    assignment: Assignment
    current: Current
    fact: DecisionMade
    verdict: Verdict
    reasons: tuple[Reason, ...]
    evidence: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Governor:
    """Decides candidates. It holds the signing key, so it lives in the governance code location.

    Args:
        store: where facts are read and decisions recorded.
        artifacts: where models and held-out rows are, and decisions are put.
        signer: signs decisions.
        measure: computes the metrics that decide.
        assignments: training node → who decides its candidates, by what, for which nodes.
        policy_set: reference → policy set.
        materialization: model → storage id of Dagster's event for it, None when there is none.
        source_now: node run → state of its source at this moment.
        promotions: what an approval leads to.
        version: of dagster-ion, part of every policy digest.
    """

    store: GovernanceStore
    artifacts: ArtifactStore
    signer: Signer
    _: KW_ONLY
    measure: Measure
    assignments: Callable[[str], Sequence[Assignment]]
    policy_set: Callable[[str], PolicySet]
    materialization: Callable[[ModelRecorded], int | None]
    source_now: Callable[[NodeRunStarted], Mapping[str, object]]
    promotions: Promotions
    version: str

    def consider(self, candidate: Candidate, *, again: bool = False, instead: Reason | None = None) -> list[Outcome]:
        """Decide a candidate for every node it would serve, at once; nothing while it is not eligible.

        With ``again`` an already decided candidate gets a new decision. ``instead`` is a reason not
        to approve that stands in for a policy set that does not answer.

        A verdict holds only against the model it was compared with: when another promotion or a
        halt came in between, the candidate is judged again.
        """
        facts = candidate_facts(self.store, candidate)
        if facts is None or (candidate.verdict and not again):
            return []
        materialization = self.materialization(facts[0])
        if materialization is None:
            return []
        assignments = self.assignments(candidate.node)
        for _ in range(_ATTEMPTS):
            judged = [self._judge(candidate, facts, each, materialization, instead) for each in assignments]
            outcomes = self._commit(candidate, judged, again=again)
            if outcomes is not None:
                for outcome in outcomes:
                    if outcome.promoted:
                        self.promotions.publish(outcome.node)
                return outcomes
        return []  # still undecided: the next tick tries again

    def _judge(
        self,
        candidate: Candidate,
        facts: tuple[ModelRecorded, NodeRunStarted],
        assignment: Assignment,
        materialization: int,
        instead: Reason | None,
    ) -> _Judged:
        policies = self.policy_set(assignment.policy_set)
        current = self.store.current(assignment.serving_node)
        evidence = gather(
            self.store,
            self.artifacts,
            self.measure,
            facts,
            current_model=(current.model, current.run),
            required=assignment.required,
            materialization=materialization,
            source_now=self.source_now(facts[1]),
        )
        verdict, reasons = policies.evaluate(evidence) if instead is None else ("reject", (instead,))
        digests = evidence.digests()
        now = now_us()
        ion, _, node = assignment.serving_node.partition("/")
        statement = DecisionStatement(
            ion=ion,
            node=node,
            model=candidate.model,
            candidate_run=candidate.run,
            verdict=verdict,
            reasons=tuple(f"{reason.policy}: {reason.message}" for reason in reasons),
            policy_uri=f"policy:{policies.name}",
            policy_digest=policies.digest(self.version),
            evidence=tuple(EvidenceReference(f"ion:{name}", digest) for name, digest in digests.items()),
            decided=now,
            expires=now + policies.valid_days * _DAY_US,
            verifier_version=self.version,
        )
        envelope = sign_statement(statement, self.signer)
        fact = DecisionMade(
            decision=new_id(),
            node=assignment.serving_node,
            model=candidate.model,
            run=candidate.run,
            verdict=verdict,
            reasons=[reason.as_dict() for reason in reasons],
            policy_set=policies.name,
            policy_digest=statement.policy_digest,
            evidence=digests,
            expires=statement.expires,
            envelope=envelope.decode(),
            envelope_digest=self.artifacts.put(envelope),
        )
        return _Judged(assignment, current, fact, verdict, reasons, digests)

    def _commit(self, candidate: Candidate, judged: Sequence[_Judged], *, again: bool) -> list[Outcome] | None:
        """Record decisions and promotions in one transaction; None when what is served has changed.

        Nodes for which another tick was first are left out.
        """
        outcomes: list[Outcome] = []
        with self.store.command() as command:
            if any(command.current(each.fact.node) != each.current for each in judged):
                return None
            decided = [r.fact for r in command.find(DecisionMade, candidate.model)]
            for each in judged:
                fact, assignment = each.fact, each.assignment
                if not again and any((d.model, d.run, d.node) == (fact.model, fact.run, fact.node) for d in decided):
                    continue
                self._record_policy_run(command, candidate, assignment, fact)
                promoted = fact.verdict == "approve" and self.promotions.promote(
                    command, fact, candidate.position, assignment.policy_node, assignment.on_lease_end
                )
                outcomes.append(
                    Outcome(
                        fact.decision,
                        fact.node,
                        assignment.policy_node,
                        candidate.model,
                        candidate.run,
                        each.verdict,
                        each.reasons,
                        promoted,
                        each.evidence,
                    )
                )
        return outcomes

    @staticmethod
    def _record_policy_run(command: Command, candidate: Candidate, assignment: Assignment, fact: DecisionMade) -> None:
        command.record(
            NodeRunStarted(
                run=fact.decision,
                node=assignment.policy_node,
                node_kind="policy",
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
