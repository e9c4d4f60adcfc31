"""What the pages say of IONs: which there are, what their inference nodes serve, what happened lately."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.facts import IonDefined, ModelRevoked, NodeHalted, Promoted, RolledBack
from ion.graph import Definition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.records import Recorded
    from ion.store import GovernanceStore


@dataclass(frozen=True, slots=True)
class Serving:
    """What an inference node should serve. ``state`` is ``serving``, ``halted`` or ``nothing yet``."""

    node: str
    mode: str
    state: str
    model: str
    serial: int
    since: int
    reason: str


def definitions(store: GovernanceStore) -> dict[str, Definition]:
    """Return the newest definition of every ION, by name."""
    newest = {record.fact.ion: record.fact for record in store.find(IonDefined)}
    return {ion: Definition.from_json(newest[ion].definition) for ion in sorted(newest)}


def serving(store: GovernanceStore, definition: Definition) -> list[Serving]:
    """Return the inference nodes of an ION and what they should serve."""
    nodes = [node for node in definition.nodes if node.kind == "inference"]
    return [_serving(store, f"{definition.ion}/{node.name}", str(node.details["mode"])) for node in nodes]


def serving_nodes(found: Sequence[Definition]) -> list[str]:
    """Return the address of every inference node."""
    return [f"{item.ion}/{node.name}" for item in found for node in item.nodes if node.kind == "inference"]


def _serving(store: GovernanceStore, node: str, mode: str) -> Serving:
    now = store.current(node)
    if not now.model:
        return Serving(node, mode, "nothing yet", "", 0, 0, "")
    if now.halted:
        halted, revoked = store.latest(NodeHalted, node), _revoked(store, node, now.model)
        if revoked is not None and (halted is None or halted.fact.serial < revoked.fact.serial):
            reason = f"the model was revoked: {revoked.fact.reason} ({revoked.fact.by})"
            return Serving(node, mode, "halted", now.model, now.serial, revoked.us, reason)
        reason = "" if halted is None else f"{halted.fact.reason} ({halted.fact.by})"
        return Serving(node, mode, "halted", now.model, now.serial, halted.us if halted else 0, reason)
    since = [found.us for kind in (Promoted, RolledBack) if (found := store.latest(kind, node)) is not None]
    return Serving(node, mode, "serving", now.model, now.serial, max(since, default=0), "")


def _revoked(store: GovernanceStore, node: str, model: str) -> Recorded[ModelRevoked] | None:
    found = [record for record in store.find(ModelRevoked, model) if record.fact.node == node]
    return found[0] if found else None
