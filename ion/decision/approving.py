"""How a person's signed word enters: verified, about a known candidate, signed now, and recorded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.clock import now_us, rfc3339
from ion.errors import IonError
from ion.evidence.approvals import ApprovalStatement, Given, verify_approval
from ion.facts import AlertRaised, ApprovalGiven
from ion.ids import observed_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ion.decision.governor import Assignment
    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.trust import Trust
    from ion.store import GovernanceStore

WINDOW_US = 600_000_000
"""How old a signature may be when it arrives: a stolen key cannot sign for the past."""
_SIGNING_ROLES = ("approver", "admin", "auditor")


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
            raise self._refusal("", answer.reason)
        statement = answer.statement
        known = [record.fact.envelope_digest for record in self.store.find(ApprovalGiven, statement.id)]
        if answer.digest in known:
            return statement
        problem = "another statement has its id" if known else self._problem(answer)
        if problem:
            raise self._refusal(statement.address, f"{statement.person}: {problem}")
        self.artifacts.put(envelope)
        fact = ApprovalGiven(
            approval=statement.id,
            node=statement.address,
            model=statement.model,
            person=statement.person,
            verdict=statement.word,
            reason=statement.reason,
            issued=statement.issued,
            until=statement.until,
            key=answer.key_id,
            envelope=envelope.decode(),
            envelope_digest=answer.digest,
        )
        with self.store.command() as command:
            if not command.find(ApprovalGiven, statement.id, limit=1):
                command.record(fact, observed_id("approval", statement.id))
        return statement

    def _problem(self, given: Given) -> str:
        """Return why a verified statement is not taken; empty when it is."""
        statement, now = given.statement, now_us()
        person = self.trust.person_of(given.key_id)
        if person is None or not set(person.roles) & set(_SIGNING_ROLES):
            return f"has none of the roles {', '.join(_SIGNING_ROLES)}"
        if abs(now - statement.issued) > WINDOW_US:
            return f"it was signed at {rfc3339(statement.issued)[:19]}Z: send it within ten minutes of signing"
        if now >= statement.until:
            return "it is over already"
        trainers = [each.node for each in self.store.candidates() if each.model == statement.model]
        if not trainers:
            return f"no candidate is the model {statement.model[:19]}…"
        served = {each.serving_node for trainer in trainers for each in self.assignments(trainer)}
        return "" if statement.address in served else f"the model is no candidate for {statement.address}"

    def _refusal(self, node: str, reason: str) -> IonError:
        scope = node or "approvals"
        with self.store.command() as command:
            command.record(AlertRaised(scope=scope, alert="approval-refused", message=reason[:500]))
        hint = "`ion pending` shows what waits and what to sign"
        return IonError("approval-refused", f"the statement was not taken: {reason}", hint)
