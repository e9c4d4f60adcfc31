"""How a person's signed word enters: verified, about a known candidate, signed now, and recorded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.decision.reopening import governance_now
from ion.errors import IonError
from ion.evidence.approvals import ApprovalStatement, Given, verify_approval
from ion.evidence.quorum import MAX_AHEAD_US
from ion.facts import AlertRaised, ApprovalGiven, ModelRecorded
from ion.ids import observed_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ion.decision.governor import Assignment
    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.trust import Role, Trust
    from ion.store import Command, GovernanceStore

WINDOW_US = 600_000_000
"""How old a signature may be when it arrives: a stolen key cannot sign for the past."""
SIGNING: tuple[Role, ...] = ("approver", "admin", "auditor")
"""The roles whose word is taken at all; for which it counts, a policy says."""


@dataclass(frozen=True, slots=True)
class Approving:
    """Takes signed statements of people into the record.

    Args:
        store: where they are recorded.
        artifacts: where the envelopes are put, for the gate to find by digest.
        trust: whose signatures count.
        assignments: training node → for which nodes its candidates are decided.
    """

    store: GovernanceStore
    artifacts: ArtifactStore
    trust: Trust
    assignments: Callable[[str], Sequence[Assignment]]

    def record(self, envelope: bytes) -> ApprovalStatement:
        """Record a signed statement once; the same one again changes nothing.

        Raises:
            IonError: ``approval-refused`` when it may not count: signature, key, role, model, node or time. The
                refusal is recorded as an alert.
        """
        answer = verify_approval(envelope, self.trust)
        if not isinstance(answer, Given):
            with self.store.command() as command:
                refused = _refuse(command, "approvals", answer.reason)
            raise refused
        said = answer.statement
        with self.store.command() as command:
            known = [record.fact.envelope_digest for record in command.find(ApprovalGiven, said.id)]
            if answer.digest in known:
                return said
            problem = "another statement has its id" if known else self._problem(command, answer)
            refusal = _refuse(command, said.address, f"{said.person}: {problem}") if problem else None
            if refusal is None:
                self.artifacts.put(envelope)  # before the fact that names it
                command.record(_fact(answer, envelope), observed_id("approval", said.id))
        if refusal is not None:
            raise refusal
        return said

    def _problem(self, command: Command, given: Given) -> str:
        """Return why a verified statement is not taken; empty when it is."""
        said, now = given.statement, governance_now(command, self.trust)
        person = self.trust.person_of(given.key_id)
        if person is None or not set(person.roles) & set(SIGNING):
            return f"has none of the roles {', '.join(SIGNING)}"
        if not now - WINDOW_US <= said.issued <= now + MAX_AHEAD_US:
            times = f"signed at {rfc3339(said.issued)[:19]}Z, and it is {rfc3339(now)[:19]}Z here"
            return f"{times}: send it within ten minutes, with a clock that is right"
        if now >= said.until:
            return "it is over already"
        made = [record.fact for record in command.find(ModelRecorded, said.model)]
        trainers = {fact.node for fact in made if fact.model == said.model}
        if not trainers:
            return f"no candidate is the model {said.model[:19]}…"
        served = {each.serving_node for trainer in trainers for each in self.assignments(trainer)}
        return "" if said.address in served else f"the model is no candidate for {said.address}"


def _fact(given: Given, envelope: bytes) -> ApprovalGiven:
    said = given.statement
    return ApprovalGiven(
        approval=said.id,
        node=said.address,
        model=said.model,
        person=said.person,
        verdict=said.word,
        reason=said.reason,
        issued=said.issued,
        until=said.until,
        key=given.key_id,
        envelope=envelope.decode(),
        envelope_digest=given.digest,
    )


def _refuse(command: Command, scope: str, reason: str) -> IonError:
    """Record a refusal and return the error that says so."""
    command.record(AlertRaised(scope=scope, alert="approval-refused", message=reason[:500]))
    hint = "`ion pending` shows what waits and what to sign"
    return IonError("approval-refused", f"the statement was not taken: {reason}", hint)
