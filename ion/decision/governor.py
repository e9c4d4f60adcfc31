"""The governor: turns an eligible candidate into a signed decision and, if approved, a promotion."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.decision.attesting import attest
from ion.decision.deferred import (
    approvals_end,
    asked_of_people,
    newest_decision,
    overtaken,
    required_approvals,
    required_by_trust,
)
from ion.decision.evidence import candidate_facts, gather, with_people
from ion.decision.policy import Reason, compose
from ion.decision.publication import publication_problem
from ion.decision.review import drawn_for_review
from ion.errors import IonError
from ion.evidence.statements import DecisionStatement, EvidenceReference, sign_statement
from ion.facts import (
    DecisionMade,
    MessageReceived,
    MessageSent,
    ModelRecorded,
    NodeRunEnded,
    NodeRunStarted,
    ReviewDrawn,
)
from ion.ids import new_id, observed_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ion.decision.evidence import Measure, RequiredCheck
    from ion.decision.policy import PolicySet, Verdict
    from ion.decision.promotion import Promotions
    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.keys import Signer
    from ion.evidence.model_signature import ModelSigner
    from ion.evidence.trust import Trust, TrustFile
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
    """A signed verdict before it is recorded: what the node served, and which decision was the newest, before it."""

    assignment: Assignment
    current: Current
    fact: DecisionMade
    verdict: Verdict
    reasons: tuple[Reason, ...]
    evidence: Mapping[str, str]
    seen: Mapping[str, object]
    review_share: float
    follows: str


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
        models: signs the files of approved models; without it they are not signed.
        trust: names the people who may approve; without it no policy that asks for people approves.
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
    models: ModelSigner | None = None
    trust: TrustFile | None = None

    def consider(self, candidate: Candidate, *, again: bool = False, instead: Reason | None = None) -> list[Outcome]:
        """Decide a candidate for every node it would serve, at once; nothing while it is not eligible.

        A deferred candidate is decided again when people said more since, or their time is over; with
        ``again`` any candidate is. ``instead`` is a reason not to approve that stands in for a policy set that
        does not answer.

        A verdict holds only against the model it was compared with: when another promotion or a
        halt came in between, the candidate is judged again.
        """
        facts = candidate_facts(self.store, candidate)
        if facts is None or not (again or self.waits(candidate)):
            return []
        materialization = self.materialization(facts[0])
        if materialization is None:
            return []
        assignments = self.assignments(candidate.node)
        for _ in range(_ATTEMPTS):
            judged = [
                self._judge(candidate, facts, each, materialization, instead)
                for each in assignments
                if again or self._open(candidate, each.serving_node)
            ]
            outcomes = self._commit(candidate, judged, again=again)
            if outcomes is not None:
                for outcome in outcomes:
                    if outcome.promoted:
                        self.promotions.publish(outcome.node)
                return outcomes
        return []  # still undecided: the next tick tries again

    def waits(self, candidate: Candidate) -> bool:
        """Say whether a candidate has no verdict yet, or one that only put it off and may now be another."""
        if candidate.verdict and candidate.verdict != "defer":
            return False
        return any(self._open(candidate, each.serving_node) for each in self.assignments(candidate.node))

    def _open(self, candidate: Candidate, node: str) -> bool:
        """Say whether the newest decision on a candidate for a node is missing, or deferred and overtaken."""
        newest = newest_decision(self.store, candidate, node)
        if newest is None:
            return True
        return newest.fact.verdict == "defer" and overtaken(self.store, newest, self.policy_set)

    def _judge(
        self,
        candidate: Candidate,
        facts: tuple[ModelRecorded, NodeRunStarted],
        assignment: Assignment,
        materialization: int,
        instead: Reason | None,
    ) -> _Judged:
        policies = self.policy_set(assignment.policy_set)
        changed = publication_problem(self.store, policies, self.version)
        if changed and instead is None:
            instead = Reason("published", "reject", changed)
        current = self.store.current(assignment.serving_node)
        before = newest_decision(self.store, candidate, assignment.serving_node)
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
        trust = self._trusted()
        evidence = with_people(evidence, self.store, trust, assignment.serving_node)
        rules = asked_of_people(policies, trust, assignment.serving_node)
        verdict, reasons = policies.evaluate(evidence) if instead is None else ("reject", (instead,))
        reasons += required_by_trust(evidence, policies, rules)
        verdict = compose([verdict, *(reason.verdict for reason in reasons)])
        models = self.models if verdict == "approve" else None
        attested = attest(self.store, self.artifacts, self.signer, evidence, self.version, models=models)
        digests = evidence.digests() | attested
        asked = required_approvals(evidence, rules)
        ends = approvals_end(evidence, rules) if verdict == "approve" else []
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
            expires=min([now + policies.valid_days * _DAY_US, *ends]),
            verifier_version=self.version,
            automatic=not asked,
            submitters=tuple(evidence.submitters),
            approvals=tuple(required for required, _ in asked),
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
            automatic=statement.automatic,
            approvals=[{**required.to_json(), "people": people} for required, people in asked],
        )
        # Evidence that no other fact holds: `ion policy test` judges by it again.
        seen = {
            "source_now": dict(evidence.source_now),
            "materialization": materialization,
            "policy_reference": policies.reference,
        }
        share = policies.automatic_review_share
        follows = before.fact.decision if before else ""
        return _Judged(assignment, current, fact, verdict, reasons, digests, seen, share, follows)

    def _trusted(self) -> Trust | None:
        """Return the trust document.

        Raises:
            IonError: ``decision-key-differs`` when the key was replaced since this governor was opened, long ago
                in a slow evaluation: what it signs now would count nowhere, and the next tick has the new key.
        """
        trust = self.trust.read() if self.trust else None
        if trust is not None and not trust.lets_sign("decision", self.signer.public, now_us()):
            raise IonError("decision-key-differs", "the decision key was replaced meanwhile", "it is tried again")
        return trust

    def _commit(self, candidate: Candidate, judged: Sequence[_Judged], *, again: bool) -> list[Outcome] | None:
        """Record decisions and promotions in one transaction; None when what is served has changed.

        Nodes for which another tick was first are left out.
        """
        outcomes: list[Outcome] = []
        with self.store.command() as command:
            if any(command.current(each.fact.node) != each.current for each in judged):
                return None
            for each in judged:
                fact, assignment = each.fact, each.assignment
                newest = newest_decision(command, candidate, fact.node)
                if not again and (newest.fact.decision if newest else "") != each.follows:
                    continue
                self._record_policy_run(command, candidate, assignment, fact, each.seen)
                if drawn_for_review(fact, each.review_share):
                    drawn = ReviewDrawn(decision=fact.decision, node=fact.node, model=fact.model)
                    command.record(drawn, observed_id("review", fact.decision))
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
    def _record_policy_run(
        command: Command, candidate: Candidate, assignment: Assignment, fact: DecisionMade, seen: Mapping[str, object]
    ) -> None:
        command.record(
            NodeRunStarted(
                run=fact.decision,
                node=assignment.policy_node,
                node_kind="policy",
                config={"policy_set": fact.policy_set, "policy_digest": fact.policy_digest, **seen},
            )
        )
        for sent in command.find(MessageSent, candidate.run):
            if sent.fact.receiver == assignment.policy_node and sent.fact.subject == candidate.model:
                command.record(
                    MessageReceived(message=sent.fact.message, run=fact.decision, receiver=assignment.policy_node)
                )
        command.record(fact)
        command.record(NodeRunEnded(run=fact.decision, status="succeeded"))
