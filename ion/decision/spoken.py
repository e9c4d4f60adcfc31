"""What people said about a candidate, and who made it: the part of the evidence that signatures prove."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ion.decision.evidence import Evidence, Measured, made_at
from ion.evidence.approvals import Given, verify_approval
from ion.facts import ApprovalGiven

if TYPE_CHECKING:
    from ion.evidence.trust import Trust
    from ion.facts import ModelRecorded, NodeRunStarted
    from ion.store import GovernanceStore


def of_people(store: GovernanceStore, candidate: ModelRecorded, started: NodeRunStarted) -> Evidence:
    """Return evidence on a candidate that says nothing but who made it, and when: enough to count people."""
    return Evidence(
        candidate=candidate,
        started=started,
        materialization=0,
        measured=Measured(),
        current=None,
        current_measured=Measured(),
        checks=(),
        datasets={},
        source_now={},
        made=made_at(store, candidate),
    )


def with_people(evidence: Evidence, store: GovernanceStore, trust: Trust | None, node: str, at: int) -> Evidence:
    """Return the evidence with what people said about the model for ``node``, counted at the time ``at``.

    Args:
        evidence: as gathered.
        store: where the statements are.
        trust: names the people; without it nobody counts.
        node: ``ion/node`` where the model would serve.
        at: microseconds UTC.
    """
    given = () if trust is None else approvals_given(store, trust, evidence.candidate.model, node)
    submitters = submitters_of(evidence.started)
    return replace(evidence, trust=trust, approvals=given, submitters=submitters, node=node, at=at)


def approvals_given(store: GovernanceStore, trust: Trust, model: str, node: str) -> tuple[Given, ...]:
    """Return what people said about a model for a node, as far as their signatures hold, in store order."""
    answers = [
        verify_approval(record.fact.envelope.encode(), trust)
        for record in store.find(ApprovalGiven, model)
        if (record.fact.model, record.fact.node) == (model, node)
    ]
    return tuple(answer for answer in answers if isinstance(answer, Given))


def submitters_of(started: NodeRunStarted) -> tuple[str, ...]:
    """Return the names under which somebody made the model: who asked for the run, who wrote the commit."""
    names = (started.submitter, str(started.code.get("author") or ""))
    return tuple(dict.fromkeys(name for name in names if name))
