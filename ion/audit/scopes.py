"""Which facts belong to a model, a person, a node: found by subject, by position."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ion.audit.actors import BY_USER
from ion.decision.evidence import upstream_datasets
from ion.errors import IonError
from ion.evidence.envelope import unverified_payload
from ion.evidence.trust import TRUST_TYPE
from ion.evidence.trust_document import TrustDocument, identity
from ion.facts import (
    AdmissionRefused,
    AlertRaised,
    ApprovalGiven,
    CaptureErased,
    CheckEvaluated,
    DatasetRecorded,
    DecisionMade,
    EpochClosed,
    EpochOpened,
    Fact,
    MirrorUpdated,
    ModelRecorded,
    ModelRevoked,
    NodeHalted,
    NodeRunEnded,
    NodeRunStarted,
    NotificationSent,
    PolicySetPublished,
    Promoted,
    RetentionApplied,
    ReviewDrawn,
    RolledBack,
    TrustChanged,
)
from ion.ids import checked_node

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ion.evidence.trust import Trust
    from ion.records import Recorded
    from ion.store import GovernanceStore

F = TypeVar("F", bound=Fact)

Scoped = dict[int, "Recorded[Fact]"]
"""Position → record."""

_OF_RUN: tuple[type[Fact], ...] = (NodeRunStarted, NodeRunEnded, DatasetRecorded)
_OF_MODEL: tuple[type[Fact], ...] = (
    ModelRecorded,
    DecisionMade,
    ApprovalGiven,
    ReviewDrawn,
    Promoted,
    RolledBack,
    ModelRevoked,
    EpochOpened,
    AlertRaised,
    NotificationSent,
)
_OF_NODE: tuple[type[Fact], ...] = (
    NodeRunStarted,
    ModelRecorded,
    DecisionMade,
    ApprovalGiven,
    ReviewDrawn,
    Promoted,
    RolledBack,
    NodeHalted,
    ModelRevoked,
    EpochOpened,
    AdmissionRefused,
    CaptureErased,
    RetentionApplied,
    AlertRaised,
    NotificationSent,
)


class _Found:
    """Collects records; each position once."""

    def __init__(self, store: GovernanceStore) -> None:
        self.store = store
        self.records: Scoped = {}

    def add(self, records: Iterable[Recorded[Fact]]) -> None:
        self.records.update((record.position, record) for record in records)

    def about(self, kinds: Iterable[type[Fact]], subjects: Iterable[str]) -> None:
        for subject in dict.fromkeys(subjects):
            for kind in kinds:
                self.add(self.store.find(kind, subject))

    def facts(self, kind: type[F]) -> list[F]:
        return [record.fact for record in self.records.values() if isinstance(record.fact, kind)]


def about_model(store: GovernanceStore, model: str) -> Scoped:
    """Return what made, judged, approved, promoted and served a model version, and what was told of it."""
    found = _Found(store)
    found.about(_OF_MODEL, [model])
    made = [fact for fact in found.facts(ModelRecorded) if fact.model == model]
    found.about(_OF_RUN, [fact.run for fact in made])
    data = {digest for fact in made for digest in upstream_datasets(store, fact).values()}
    found.about((CheckEvaluated,), sorted(data))
    decided = found.facts(DecisionMade)
    digests = {fact.policy_digest for fact in decided}
    found.add(record for record in store.find(PolicySetPublished) if record.fact.digest in digests)
    _served(found, model)
    causes = [fact.decision for fact in decided]
    causes += [fact.cause for fact in found.facts(RolledBack)]
    causes += [fact.cause for fact in found.facts(ModelRevoked)]
    found.about((MirrorUpdated, NotificationSent), causes)
    return found.records


def about_node(store: GovernanceStore, node: str) -> Scoped:
    """Return what ran, was decided, promoted, stopped, served and refused at ``ion/node``, and what it asks of people.

    Raises:
        IonError: ``bad-node``.
    """
    found = _Found(store)
    found.about(_OF_NODE, [checked_node(node)])
    found.about((NodeRunEnded,), [fact.run for fact in found.facts(NodeRunStarted)])
    found.about((EpochClosed,), [fact.epoch for fact in found.facts(EpochOpened)])
    causes = [fact.cause for fact in found.facts(Promoted)] + [fact.cause for fact in found.facts(RolledBack)]
    found.about((MirrorUpdated, NotificationSent), causes)
    found.add(
        record
        for record, before, after in _trust_changes(store)
        if _asked(before, node) != _asked(after, node)
    )  # fmt: skip
    return found.records


def about_person(store: GovernanceStore, person: str, trust: Trust | None) -> Scoped:
    """Return what a person signed, submitted and commanded, what was decided on it, and how the person was trusted."""
    known = trust.person(person) if trust else None
    names = known.identities if known else frozenset({identity(person)})
    found = _Found(store)
    found.about((ApprovalGiven,), [known.id if known else person])
    given = found.facts(ApprovalGiven)
    signed = {fact.envelope_digest for fact in given}
    for model in dict.fromkeys(fact.model for fact in given):
        found.add(
            record
            for record in store.find(DecisionMade, model)
            if any(digest in signed for rule in record.fact.approvals for digest in _texts(rule.get("envelopes")))
        )
    runs = [r for r in store.find(NodeRunStarted) if names & _submitters(r.fact)]
    found.add(runs)
    found.about((NodeRunEnded, ModelRecorded), [record.fact.run for record in runs])
    for kind in BY_USER:
        found.add(record for record in store.find(kind) if identity(str(getattr(record.fact, "by", ""))) in names)
    found.add(
        record
        for record, before, after in _trust_changes(store)
        if _entry(before, names) != _entry(after, names)
    )  # fmt: skip
    return found.records


def _served(found: _Found, model: str) -> None:
    """Add the halts of a node while this was its model, and the ends of its epochs."""
    found.about((EpochClosed,), [fact.epoch for fact in found.facts(EpochOpened)])
    for node in sorted({fact.node for fact in found.facts(Promoted)}):
        changes = [(record.fact.serial, record.fact.model) for record in found.store.find(Promoted, node)]
        changes += [(record.fact.serial, record.fact.model) for record in found.store.find(RolledBack, node)]
        for record in found.store.find(NodeHalted, node):
            before = [each for each in changes if each[0] < record.fact.serial]
            if before and max(before)[1] == model:
                found.add([record])


def _submitters(fact: NodeRunStarted) -> frozenset[str]:
    """Return who asked for a run and who wrote its code, as the program says."""
    return frozenset(identity(str(name)) for name in (fact.submitter, fact.code.get("author")) if name)


def _trust_changes(store: GovernanceStore) -> list[tuple[Recorded[Fact], TrustDocument | None, TrustDocument | None]]:
    """Return each change with the documents before and after it, whether or not a root signed them."""
    found: list[tuple[Recorded[Fact], TrustDocument | None, TrustDocument | None]] = []
    before: TrustDocument | None = None
    for record in store.find(TrustChanged):
        after = _document(record.fact.envelope)
        found.append((record, before, after))
        before = after
    return found


def _document(envelope: str) -> TrustDocument | None:
    """Return what a fact claims to be a trust document; whether the root signed it is said of each line."""
    try:
        return TrustDocument.from_payload(unverified_payload(envelope.encode(), TRUST_TYPE))
    except IonError:
        return None


def _asked(document: TrustDocument | None, node: str) -> tuple[object, ...]:
    return tuple(each for each in document.requirements if each.node == node) if document else ()


def _entry(document: TrustDocument | None, names: frozenset[str]) -> object:
    people = document.people if document else ()
    return next((person for person in people if person.identities & names), None)


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list | tuple) else []
