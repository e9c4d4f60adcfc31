"""The governor: turns an eligible candidate into a signed decision and, if approved, a promotion."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.decision.attesting import attest
from ion.decision.deciding import Judgement, signed_decision
from ion.decision.evidence import candidate_facts, gather
from ion.decision.in_force import revoked_models
from ion.decision.people import asked_of_people, objection, required_by_trust
from ion.decision.policy import Reason
from ion.decision.publication import publication_problem
from ion.decision.reopening import governance_now, newest_decision, newest_word, reopened
from ion.decision.review import drawn_for_review
from ion.decision.spoken import with_people
from ion.errors import IonError
from ion.facts import (
    DecisionMade,
    MessageReceived,
    MessageSent,
    ModelRecorded,
    NodeRunEnded,
    NodeRunStarted,
    ReviewDrawn,
)
from ion.ids import observed_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ion.decision.evidence import Measure, RequiredCheck
    from ion.decision.policy import PolicySet, Verdict
    from ion.decision.promotion import Promotions
    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.keys import Signer
    from ion.evidence.model_signature import ModelSigner
    from ion.evidence.trust import Trust, TrustFile
    from ion.records import Recorded
    from ion.store import Candidate, Command, Current, GovernanceStore

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
    """A signed verdict before it is recorded, and what it was reached on.

    ``current`` is what the node served, ``follows`` the newest decision, ``heard`` the position of what people
    had said last about the model.
    """

    assignment: Assignment
    current: Current
    fact: DecisionMade
    judgement: Judgement
    seen: Mapping[str, object]
    follows: str
    heard: int


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
                if again or self._open(candidate, each)
            ]
            outcomes = self._commit(candidate, judged, again=again)
            if outcomes is not None:
                for outcome in outcomes:
                    if outcome.promoted:
                        self.promotions.publish(outcome.node)
                return outcomes
        return []  # still undecided: the next tick tries again

    def waits(self, candidate: Candidate) -> bool:
        """Say whether a candidate is to be decided: for the first time, or because of what people said since."""
        return any(self._open(candidate, each) for each in self.assignments(candidate.node))

    def _open(self, candidate: Candidate, assignment: Assignment) -> bool:
        newest = newest_decision(self.store, candidate, assignment.serving_node)
        if newest is None:
            return not candidate.verdict or candidate.verdict == "defer"
        facts = candidate_facts(self.store, candidate)
        policies = self.policy_set(assignment.policy_set)
        trust = self.trust.read() if self.trust else None
        return facts is not None and reopened(self.store, facts, newest, policies, trust)

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
        if candidate.model in revoked_models(self.store, assignment.serving_node):
            instead = Reason("revocation", "reject", f"the model was revoked for {assignment.serving_node}")
        current = self.store.current(assignment.serving_node)
        before = newest_decision(self.store, candidate, assignment.serving_node)
        heard = newest_word(self.store, candidate.model)
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
        evidence = with_people(evidence, self.store, trust, assignment.serving_node, governance_now(self.store, trust))
        besides = required_by_trust(trust, assignment.serving_node, policies)
        rules = asked_of_people(policies, besides)
        verdict, reasons = policies.evaluate(evidence, besides) if instead is None else ("reject", (instead,))
        no = objection(evidence, rules)
        if no is not None:
            verdict, reasons = "reject", (*reasons, no)
        models = self.models if verdict == "approve" else None
        attested = attest(self.store, self.artifacts, self.signer, evidence, self.version, models=models)
        judgement = Judgement(evidence, policies, rules, verdict, reasons, evidence.digests() | attested)
        fact = signed_decision(judgement, assignment.serving_node, self.version, self.signer, self.artifacts)
        # Evidence that no other fact holds: `ion policy test` judges by it again.
        seen: dict[str, object] = {"source_now": dict(evidence.source_now), "materialization": materialization}
        deadline = judgement.waits_until(besides)
        if deadline is not None:
            seen["waits_until"] = deadline
        follows = before.fact.decision if before else ""
        return _Judged(assignment, current, fact, judgement, seen, follows, heard)

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
        """Record decisions and promotions in one transaction; None when what is served, or was said, has changed.

        Nodes for which another tick was first are left out, and those about which nothing else is to be said.
        """
        outcomes: list[Outcome] = []
        with self.store.command() as command:
            if any(command.current(each.fact.node) != each.current for each in judged):
                return None
            heard = newest_word(command, candidate.model)
            if any(each.heard != heard for each in judged):
                return None
            for each in judged:
                fact, assignment = each.fact, each.assignment
                newest = newest_decision(command, candidate, fact.node)
                if not again and ((newest.fact.decision if newest else "") != each.follows or _same(newest, fact)):
                    continue
                self._record_policy_run(command, candidate, assignment, fact, each.seen)
                if drawn_for_review(fact, each.judgement.policies.automatic_review_share):
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
                        each.judgement.verdict,
                        each.judgement.reasons,
                        promoted,
                        each.judgement.digests,
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


def _same(newest: Recorded[DecisionMade] | None, fact: DecisionMade) -> bool:
    """Say whether a decision would repeat the newest one, on the word of the same people."""
    if newest is None:
        return False

    def said(decided: DecisionMade) -> tuple[object, ...]:
        reasons = [dict(reason) for reason in decided.reasons]
        return decided.verdict, reasons, decided.policy_digest, [each.get("envelopes") for each in decided.approvals]

    return said(newest.fact) == said(fact)
