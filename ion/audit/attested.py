"""Whether a signature proves what a fact tells, under the trust document in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.decision.in_force import signed_change
from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.public_keys import load_public
from ion.evidence.publications import verify_publication
from ion.evidence.trust import verify_trust
from ion.evidence.trust_root import TrustRoot
from ion.evidence.trust_signing import TrustPlace
from ion.facts import (
    ApprovalGiven,
    DecisionMade,
    Fact,
    ModelRevoked,
    NodeHalted,
    PolicySetPublished,
    Promoted,
    RolledBack,
    TrustChanged,
)
from ion.graph.approved import approval_problem
from ion.graph.signed import decision_problem, promotion_problem, stop_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.evidence.trust import Trust
    from ion.home import Home
    from ion.store import GovernanceStore


@dataclass(frozen=True, slots=True)
class Attested:
    """What is known of a fact's signature.

    Args:
        signed: this kind of fact carries a signature. One that carries none rests on the ledger alone.
        problem: why the signature proves nothing; empty when it holds.
    """

    signed: bool = False
    problem: str = ""

    @property
    def verified(self) -> bool:
        """Whether a signature that counts covers what the fact tells."""
        return self.signed and not self.problem

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form; ``verified`` is null for a fact that carries no signature."""
        return {"verified": self.verified if self.signed else None, "problem": self.problem or None}


class Attestor:
    """Checks facts under one deployment's trust document, which is read once."""

    def __init__(self, store: GovernanceStore, home: Home) -> None:
        self._store = store
        self._home = home
        self._no_trust = ""
        self.trust: Trust | None = None
        try:
            self.trust = TrustPlace.of(home).read()  # an expired one still tells who signed what, when
        except IonError as error:
            self._no_trust = error.message

    def of(self, fact: Fact) -> Attested:
        """Return what is known of a fact's signature."""
        if not getattr(fact, "envelope", ""):
            return Attested()
        if isinstance(fact, TrustChanged):
            return Attested(signed=True, problem=self._trust_problem(fact))
        if self.trust is None:
            return Attested(signed=True, problem=self._no_trust)
        try:
            return Attested(signed=True, problem=self._problem(fact, self.trust))
        except IonError as error:
            return Attested(signed=True, problem=error.message)

    def _problem(self, fact: Fact, trust: Trust) -> str:
        match fact:
            case ApprovalGiven():
                problem, _ = approval_problem(fact, trust)
            case DecisionMade():
                problem = decision_problem(fact, trust.root("decision"))
            case Promoted():
                decided = self._store.latest(DecisionMade, fact.decision)
                problem = promotion_problem(fact, trust.root("decision"), decided.fact if decided else None)
            case RolledBack():
                statement = signed_change(fact, trust.root("decision"))  # raises where it is none
                problem = self._decision_differs(fact, statement.decision)
            case ModelRevoked():
                signed_change(fact, trust.root("decision"))
                problem = ""
            case NodeHalted():
                problem = stop_problem(fact, trust.root("decision"))
            case PolicySetPublished():
                problem = publication_problem(fact, trust.root("decision"))
            case _:
                problem = "nothing here can check it"
        return problem

    def _decision_differs(self, fact: RolledBack, signed: str | None) -> str:
        decided = self._store.latest(DecisionMade, fact.decision)
        if decided is None:
            return f"no fact holds the decision {fact.decision} it rests on"
        return "" if decided.fact.envelope_digest == signed else "it rests on another decision than was signed"

    def _trust_problem(self, fact: TrustChanged) -> str:
        """Return why a trust document in the record is none that the pinned root signed; empty when it is."""
        envelope = fact.envelope.encode()
        try:
            found = verify_trust(envelope, TrustRoot((load_public(self._home.root_public),)), 0)
        except IonError as error:
            return error.message
        if isinstance(found, Unverified):
            return f"not under the root that is pinned now: {found.reason}"
        told = (fact.version, fact.digest)
        return "" if told == (found.document.version, found.digest) else "it names another version than was signed"


def publication_problem(fact: PolicySetPublished, root: TrustRoot) -> str:
    """Return why a publication is not what governance signed; empty when it is."""
    said = verify_publication(fact.envelope.encode(), root)
    if isinstance(said, Unverified):
        return said.reason
    signed = {"policy_set": said.reference, "digest": said.digest, "content": dict(said.content), "by": said.by}
    return _difference(fact, signed)


def _difference(fact: Fact, signed: Mapping[str, object]) -> str:
    for name, value in signed.items():
        told = getattr(fact, name)
        if (dict(told) if isinstance(told, dict) else told) != value:
            return f"{name} is {told!r}, the signature covers {value!r}"[:300]
    return ""
