"""Publishing a policy set: from then on its reference stands for one digest, and nothing else decides under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.facts import AlertRaised, PolicySetPublished
from ion.ids import observed_id
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.decision.policy import PolicySet, Reason, Verdict
    from ion.decision.trial import Bench
    from ion.evidence.keys import Signer
    from ion.store import GovernanceStore

ALERT = "policy-differs"


@dataclass(frozen=True, slots=True)
class Reevaluated:
    """What the published set says today about a model that serves."""

    node: str
    model: str
    decision: str
    verdict: Verdict
    reasons: tuple[Reason, ...]

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "node": self.node,
            "model": self.model,
            "decision": self.decision,
            "verdict": self.verdict,
            "reasons": [reason.as_dict() for reason in self.reasons],
        }


@dataclass(frozen=True, slots=True)
class Published:
    """A published set; ``new`` is false when exactly this was published before."""

    reference: str
    digest: str
    new: bool
    serving: tuple[Reevaluated, ...]

    @property
    def differing(self) -> tuple[Reevaluated, ...]:
        """The models that serve and would not be approved by it."""
        return tuple(each for each in self.serving if each.verdict != "approve")


def published_digest(store: GovernanceStore, reference: str) -> str:
    """Return the digest last published under a reference; empty when none was."""
    known = store.latest(PolicySetPublished, reference)
    return known.fact.digest if known else ""


def publication_problem(store: GovernanceStore, policies: PolicySet, version: str) -> str:
    """Return why a set must not decide: it was published, and is another one now. Empty when it may."""
    published, digest = published_digest(store, policies.reference), policies.digest(version)
    if published in {"", digest}:
        return ""
    return (
        f"{policies.reference} was changed since it was published ({published[:19]}…, now {digest[:19]}…); "
        f"publish it again: ion policy publish {policies.reference}"
    )


def publish(bench: Bench, policies: PolicySet, signer: Signer, *, version: str, by: str) -> Published:
    """Publish a set, and say what it means for what serves: an alert for each model it would not approve.

    What serves stays. Publishing what is published already records nothing.

    Raises:
        IonError: ``bad-envelope`` when the set is too large to be signed, and as `ion.store`.
    """
    from ion.evidence.publications import PublicationStatement, sign_publication

    reference, content = policies.reference, policies.content(version)
    statement = PublicationStatement(reference, content, by, now_us())
    envelope = sign_publication(statement, signer)
    serving = tuple(bench.serving(policies))
    with bench.store.command() as command:
        known = command.find(PolicySetPublished, reference, limit=1, newest_first=True)
        new = not known or known[0].fact.digest != statement.digest
        if new:
            fact = PolicySetPublished(
                policy_set=reference, digest=statement.digest, content=content, by=by, envelope=envelope.decode()
            )
            position = command.record(fact)
            for alert in _alerts(reference, serving):
                command.record(alert, observed_id(ALERT, str(position), alert.scope))
    return Published(reference, statement.digest, new, serving)


def _alerts(reference: str, serving: Sequence[Reevaluated]) -> list[AlertRaised]:
    return [
        AlertRaised(
            scope=each.node,
            alert=ALERT,
            about=each.model,
            message=f"{reference} as published says {each.verdict} to model {each.model[7:19]}, which serves: "
            + "; ".join(f"{r.policy}: {r.message}" for r in each.reasons if r.verdict != "approve"),
        )
        for each in serving
        if each.verdict != "approve"
    ]
