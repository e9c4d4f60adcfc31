"""On what grounds a model may serve: its decision, what people approved, and where it came from.

The order is approvals, decision, provenance (docs/spec/pointer.md). Nothing here knows the time: what
holds is said with its end, so that it can be looked at again without reading anything.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Literal

from ion.errors import IonError
from ion.evidence.approvals import Given, verify_approval
from ion.evidence.decisions import DecisionStatement
from ion.evidence.envelope import MAX_ENVELOPE, Unverified, unverified_payload
from ion.evidence.in_toto import PAYLOAD_TYPE
from ion.evidence.parsing import MAX_INTEGER
from ion.evidence.provenance import verify_provenance
from ion.evidence.quorum import ApprovalRule, standing
from ion.evidence.statements import verify_decision
from ion.evidence.trust_document import ROLES, Requirement
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.decisions import RequiredApprovals
    from ion.evidence.trust import Trust

PROVENANCE = "ion:provenance"
"""How a decision names the provenance among its evidence."""

GroundStep = Literal["approvals", "decision", "provenance"]


@dataclass(frozen=True, slots=True)
class Grounds:
    """The signed statements behind a promotion, read once and by digest; nothing is verified yet.

    Args:
        said: what the decision says, if it is to be believed.
        decision: its envelope.
        approvals: the envelopes it names.
        provenance: the envelope it names.
    """

    said: DecisionStatement
    decision: bytes = field(repr=False)
    approvals: tuple[bytes, ...] = field(repr=False)
    provenance: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Upheld:
    """Grounds that hold under a trust document.

    Args:
        decision: the verified decision.
        approved_until: from when on its approvals do not suffice any more, microseconds UTC.
    """

    decision: DecisionStatement
    approved_until: int

    @property
    def until(self) -> int:
        """From when on the grounds do not hold any more, microseconds UTC."""
        return min(self.decision.expires, self.approved_until)


def no_step(_: GroundStep) -> None:
    """Take no notice of the step."""


def read_grounds(artifacts: ArtifactStore, decision: str, at: Callable[[GroundStep], None] = no_step) -> Grounds:
    """Read a decision by digest, and what it names. ``at`` is told each step before it is taken.

    Raises:
        IonError: as `ArtifactStore.get`; ``bad-json``, ``bad-envelope`` or ``bad-statement`` for something else
            than a decision, ``no-provenance`` for one that does not name its provenance.
    """
    at("decision")
    envelope = artifacts.get(decision, limit=MAX_ENVELOPE)
    said = DecisionStatement.from_payload(unverified_payload(envelope, PAYLOAD_TYPE))
    at("approvals")
    named = dict.fromkeys(digest for each in said.approvals for digest in each.envelopes)
    approvals = tuple(artifacts.get(digest, limit=MAX_ENVELOPE) for digest in named)
    at("provenance")
    found = [item.digest for item in said.evidence if item.uri == PROVENANCE]
    if len(found) != 1:
        raise IonError("no-provenance", f"the decision names {len(found)} provenance statements, not 1")
    return Grounds(said, envelope, approvals, artifacts.get(found[0], limit=MAX_ENVELOPE))


def uphold(
    grounds: Grounds, trust: Trust, *, model: str, node: str, at: Callable[[GroundStep], None] = no_step
) -> Upheld | Unverified:
    """Say whether the grounds let ``model`` serve at ``node`` (``ion/node``), and until when, else why not.

    Args:
        grounds: as read.
        trust: whose signatures count, and what the node asks of people whatever the decision says.
        model: what the promotion names.
        node: where it would serve.
        at: told each step before it is taken.

    Raises:
        IonError: ``trust-empty`` when nobody may sign.
    """
    at("approvals")
    until = _approved_until(grounds, trust, model, node)
    if isinstance(until, Unverified):
        return until
    at("decision")
    decision = _decision(grounds, trust, model, node)
    if isinstance(decision, Unverified):
        return decision
    at("provenance")
    problem = _provenance_problem(grounds, trust, decision)
    return Unverified(problem) if problem else Upheld(decision, until)


def _approved_until(grounds: Grounds, trust: Trust, model: str, node: str) -> int | Unverified:
    """Return the earliest end of what is asked of people, counted at the time the decision says."""
    said = grounds.said
    asked: list[RequiredApprovals | Requirement] = [*said.approvals, *trust.requirements(node)]
    if not asked:
        return MAX_INTEGER
    answers = [verify_approval(envelope, trust) for envelope in grounds.approvals]
    given = [answer for answer in answers if isinstance(answer, Given)]
    until = MAX_INTEGER
    for each in asked:
        role = next((role for role in ROLES if role == each.role), None)
        if role is None:
            return Unverified(f"it asks for people in an unknown role, {each.role}"[:200])
        rule = ApprovalRule(role, each.quorum)
        stands = standing(given, trust, rule, model=model, node=node, at=said.decided, submitters=said.submitters)
        if not stands.met:
            return Unverified(_missing(stands.rule, len(stands.approved), stands.ignored, len(stands.rejected)))
        until = min(until, stands.until)
    return until


def _missing(rule: ApprovalRule, approved: int, ignored: tuple[str, ...], rejected: int) -> str:
    count = f"{approved} of {rule.quorum} approvals by people in the role {rule.role} count"
    against = f"; {rejected} rejected it" if rejected else ""
    return (count + against + "".join(f"; {reason}" for reason in ignored))[:500]


def _decision(grounds: Grounds, trust: Trust, model: str, node: str) -> DecisionStatement | Unverified:
    decision = verify_decision(grounds.decision, trust.root("decision"))
    if isinstance(decision, Unverified):
        return decision
    if decision != grounds.said:
        return Unverified("the decision is not the one whose approvals were counted")
    if decision.model != model:
        return Unverified("the decision is about another model")
    if f"{decision.ion}/{decision.node}" != node:
        return Unverified(f"the decision is for {decision.ion}/{decision.node}")
    if decision.verdict != "approve":
        return Unverified(f"the verdict is {decision.verdict}")
    return decision


def _provenance_problem(grounds: Grounds, trust: Trust, decision: DecisionStatement) -> str:
    provenance = verify_provenance(grounds.provenance, trust.root("decision"))
    if isinstance(provenance, Unverified):
        return provenance.reason
    if provenance.model != decision.model:
        return "the provenance is of another model"
    return "" if provenance.run == decision.candidate_run else "the provenance is of another node run"
