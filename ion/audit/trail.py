"""The audit trail: who did what, when, on which evidence, about a model, by a person, at a node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ion.audit.actors import Actor, actor_of, evidence_of
from ion.audit.attested import Attested, Attestor
from ion.audit.scopes import Scoped, about_model, about_node, about_person
from ion.clock import rfc3339
from ion.evidence.parsing import MAX_INTEGER
from ion.graph.happening import happening

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ion.home import Home
    from ion.store import GovernanceStore


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the trail.

    Args:
        position: in the ledger; `ion audit prove` proves the fact at it.
        fact: its id.
        kind: of fact.
        us: when, in microseconds UTC, by the clock of who recorded it.
        actor: who did it, and whether that is proven.
        action: what, as a sentence.
        subject: what it was done to: a digest or an id.
        node: ``ion/node``, empty where it concerns none.
        evidence: name → digest of what it rests on.
        attested: whether a signature proves it.
    """

    position: int
    fact: str
    kind: str
    us: int
    actor: Actor
    action: str
    subject: str
    node: str
    evidence: Mapping[str, str] = field(default_factory=dict)
    attested: Attested = field(default_factory=Attested)

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "time": rfc3339(self.us),
            "position": self.position,
            "fact": self.fact,
            "kind": self.kind,
            "actor": self.actor.as_dict(),
            "action": self.action,
            "subject": self.subject,
            "node": self.node or None,
            "evidence": dict(self.evidence),
            "signature": self.attested.as_dict(),
        }


def trail(
    store: GovernanceStore,
    home: Home,
    *,
    model: str = "",
    person: str = "",
    node: str = "",
    since: int = 0,
    until: int = MAX_INTEGER,
) -> Iterator[Step]:
    """Yield what was done, oldest first; of several scopes, what belongs to all.

    Facts are found by subject. Only what a person did under the operating system's user name has no index
    and is looked for among all facts of its kind.

    Args:
        store: the facts.
        home: whose trust document tells which signatures count.
        model: digest of a model version.
        person: id or another name of a person.
        node: ``ion/node``.
        since: microseconds UTC.
        until: up to but not including, microseconds UTC.

    Raises:
        IonError: ``bad-node``.
    """
    attestor = Attestor(store, home)
    scopes: list[Scoped] = []
    if model:
        scopes.append(about_model(store, model))
    if person:
        scopes.append(about_person(store, person, attestor.trust))
    if node:
        scopes.append(about_node(store, node))
    common = set.intersection(*(set(scope) for scope in scopes)) if scopes else set()
    for position in sorted(common):
        record = scopes[0][position]
        if since <= record.us < until:
            subject, action = happening(record.fact)
            yield Step(
                position=position,
                fact=record.id,
                kind=type(record.fact).__name__,
                us=record.us,
                actor=actor_of(record, attestor.trust),
                action=action,
                subject=subject,
                node=str(getattr(record.fact, "node", "")),
                evidence=evidence_of(record.fact),
                attested=attestor.of(record.fact),
            )
