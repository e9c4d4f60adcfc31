"""What is in force at a node: the change that says what it does now, and the models withdrawn from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.statements import verify_promotion
from ion.facts import ModelRevoked, NodeHalted, Promoted, RolledBack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ion.evidence.statements import Action, PromotionStatement
    from ion.evidence.trust_root import TrustRoot
    from ion.store import Command, GovernanceStore

    Readable = GovernanceStore | Command

Change = Promoted | RolledBack | NodeHalted | ModelRevoked
CHANGES: tuple[type[Promoted], type[RolledBack], type[NodeHalted], type[ModelRevoked]] = (
    Promoted,
    RolledBack,
    NodeHalted,
    ModelRevoked,
)


def changes_of(store: Readable, node: str) -> list[Change]:
    """Return every change of what ``ion/node`` does, by serial."""
    found: list[Change] = [record.fact for kind in CHANGES for record in store.find(kind, node)]
    return sorted((change for change in found if change.node == node), key=lambda change: change.serial)


def in_force(changes: Iterable[Change]) -> Change | None:
    """Return the change, of one node's in the order of serials, that says what the node does now.

    A revocation does where it withdrew the model that served; one of another model leaves it serving.
    """
    newest: Change | None = None
    model = ""
    for change in changes:
        if isinstance(change, Promoted | RolledBack):
            newest, model = change, change.model
        elif isinstance(change, NodeHalted) or change.model == model:
            newest = change
    return newest


def signed_change(change: Change, root: TrustRoot) -> PromotionStatement:
    """Return the statement that a change is, verified and compared field by field.

    Raises:
        IonError: ``promotion-unverified``.
    """
    statement = verify_promotion(change.envelope.encode(), root)
    if isinstance(statement, Unverified):
        raise _unverified(change, statement.reason)
    said = (statement.address, statement.serial, statement.cause, statement.action, statement.model)
    told = (change.node, change.serial, change.cause, action_of(change), getattr(change, "model", None))
    if said != told:
        raise _unverified(change, f"it says serial {statement.serial}, {statement.action} of {statement.model}")
    return statement


def action_of(change: Change) -> Action:
    """Return the statement's word for a change."""
    match change:
        case Promoted():
            return "promote"
        case RolledBack():
            return "rollback"
        case NodeHalted():
            return "halt"
        case ModelRevoked():
            return "revoke"


def revoked_models(store: Readable, node: str) -> frozenset[str]:
    """Return the models withdrawn from ``ion/node``, whoever says so: none of them is promoted again."""
    return frozenset(record.fact.model for record in store.find(ModelRevoked, node))


def signed_revocations(store: Readable, node: str, root: TrustRoot) -> frozenset[str]:
    """Return the models withdrawn from ``ion/node`` by a signature that verifies: what may be signed again."""
    found: set[str] = set()
    for record in store.find(ModelRevoked, node):
        try:
            found.update(signed_change(record.fact, root).revoked)
        except IonError:
            continue
    return frozenset(found)


def _unverified(change: Change, reason: str) -> IonError:
    return IonError(
        "promotion-unverified",
        f"the store's {action_of(change)} {change.serial} of {change.node} does not verify: {reason}",
        "run `ion audit verify`; the pointer was left as it is",
    )
