"""Policies and policy sets: versioned functions of evidence, composed so that nothing approves itself."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Literal

from ion.canonical import digest_json
from ion.errors import IonError
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ion.decision.evidence import Evidence
    from ion.evidence.quorum import ApprovalRule

Verdict = Literal["approve", "reject", "defer"]
_VERDICTS: tuple[Verdict, ...] = ("approve", "reject", "defer")


@dataclass(frozen=True, slots=True)
class Reason:
    """What one policy said, and why, in a sentence a clinician could read."""

    policy: str
    verdict: Verdict
    message: str

    def as_dict(self) -> dict[str, str]:
        """Return the JSON form kept in the decision."""
        return {"policy": self.policy, "verdict": self.verdict, "message": self.message}


@dataclass(frozen=True, slots=True)
class Policy:
    """A named function of evidence with its parameters (JSON values).

    ``approvals`` is what it asks of people, ``within_us`` for how long it waits for them (µs).
    """

    name: str
    parameters: Mapping[str, object]
    judge: Callable[[Evidence], tuple[Verdict, str]]
    approvals: ApprovalRule | None = None
    within_us: int | None = None

    def evaluate(self, evidence: Evidence) -> Reason:
        """Return this policy's reason; a policy that raises has not approved."""
        try:
            verdict, message = self.judge(evidence)
            if verdict in _VERDICTS:
                return Reason(self.name, verdict, _sentence(message))
            problem = f"the policy gave no verdict but {verdict!r}"
        except (Exception, SystemExit) as error:  # noqa: BLE001 - fail closed, whatever a policy does
            problem = f"the policy failed: {type(error).__name__}: {error}"
        return Reason(self.name, "reject", _sentence(problem[:300]))


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Policies that must all approve; an empty set denies.

    Args:
        name: what an ION's definition refers to.
        policies: the members.
        valid_days: how long a decision by this set holds.
        module: the importable module that holds the set under its name.
        sources: file name → sha256 of every file the policies are written in, taken at import.
        automatic_review_share: how many of the approvals that no person gave are drawn for a later look by one,
            from 0 (none) to 1 (all).
        formats: model formats that may serve although they could be code. Where there is no loader for one, it is
            refused all the same.
    """

    name: str
    policies: Sequence[Policy]
    valid_days: int
    sources: Mapping[str, str]
    module: str
    automatic_review_share: float = 0.0
    formats: Sequence[str] = ()

    @property
    def reference(self) -> str:
        """``module:name``, as an ION's definition names this set."""
        return f"{self.module}:{self.name}"

    def content(self, version: str) -> dict[str, object]:
        """Return what identifies the set: names, parameters, the ion version and the policy sources."""
        members = [{"name": p.name, "parameters": dict(p.parameters)} for p in self.policies]
        return {
            "automatic_review_share": self.automatic_review_share,
            "formats": list(self.formats),
            "ion": version,
            "name": self.name,
            "policies": members,
            "sources": dict(self.sources),
            "valid_days": self.valid_days,
        }

    @property
    def approvals(self) -> tuple[ApprovalRule, ...]:
        """What the set asks of people; without any rule its approvals are automatic."""
        return tuple(policy.approvals for policy in self.policies if policy.approvals is not None)

    def digest(self, version: str) -> str:
        """Return the digest of the content."""
        return digest_json(self.content(version))

    def evaluate(self, evidence: Evidence, besides: Sequence[Policy] = ()) -> tuple[Verdict, tuple[Reason, ...]]:
        """Return the composed verdict with the reason of every member, and of policies asked ``besides``.

        People's time is dear: nobody is asked about a candidate that another member rejects.
        """
        asked = (*self.policies, *besides)
        cheap = {i: policy.evaluate(evidence) for i, policy in enumerate(asked) if policy.approvals is None}
        hopeless = any(reason.verdict == "reject" for reason in cheap.values())
        reasons = tuple(
            cheap.get(index) or _of_people(policy, evidence, hopeless) for index, policy in enumerate(asked)
        )
        # The set itself must have something to say, whatever is asked besides.
        return compose([reason.verdict for reason in reasons] if self.policies else []), reasons


def _of_people(policy: Policy, evidence: Evidence, hopeless: bool) -> Reason:  # noqa: FBT001 - of this module only
    return Reason(policy.name, "defer", "nobody is asked about it") if hopeless else policy.evaluate(evidence)


def load_policy_set(reference: str) -> PolicySet:
    """Import a policy set by ``module:name``.

    Raises:
        IonError: ``unknown-policy-set``.
    """
    module, _, name = reference.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise IonError(
            "unknown-policy-set",
            f"cannot load the policy set {reference!r}: {error}",
            "policies/catalog.py holds the policy sets of this project",
        ) from error
    if not isinstance(found, PolicySet):
        raise IonError("unknown-policy-set", f"{reference!r} is a {type(found).__name__}, not a PolicySet")
    return found


def compose(verdicts: Sequence[Verdict]) -> Verdict:
    """All must approve; one rejection rejects; no verdict at all rejects."""
    if not verdicts or "reject" in verdicts:
        return "reject"
    return "defer" if "defer" in verdicts else "approve"


def _sentence(message: object) -> str:
    """Return the message as text that can be signed: no lone surrogates."""
    return str(message).encode("utf-8", "replace").decode()
