"""Which model a node goes back to: the last one that was approved for it and still may serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ion.decision.in_force import changes_of, signed_change
from ion.errors import IonError
from ion.evidence.grounds import Upheld, read_grounds, uphold
from ion.facts import DecisionMade, IonDefined, Promoted, RolledBack
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ion.decision.in_force import Readable
    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.promotions import LeaseEnd
    from ion.evidence.trust import Trust

OnRevocation = Literal["fall_back", "stop"]
"""What a node does when the model that serves is revoked; as its definition says, by default ``stop``."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A promotion of before that a node may go back to; ``envelope`` is the digest of its decision's bytes."""

    change: Promoted | RolledBack
    envelope: str
    on_lease_end: LeaseEnd


def is_declared(store: Readable, node: str) -> bool:
    """Tell whether an ION declares ``ion/node``."""
    return bool(_declared(store, node))


def falls_back(store: Readable, node: str) -> bool:
    """Tell whether ``ion/node`` declares that it falls back on a revocation; else it stops."""
    return _declared(store, node).get("on_revocation") == "fall_back"


def _declared(store: Readable, node: str) -> Mapping[str, object]:
    ion, _, name = node.partition("/")
    known = store.find(IonDefined, ion, newest_first=True, limit=1)
    nodes = known[0].fact.definition["nodes"] if known else ()
    assert isinstance(nodes, list | tuple)  # noqa: S101 - the schema of definitions says so
    return next((each for each in nodes if each["name"] == name), {})


def last_approved(
    store: Readable, artifacts: ArtifactStore, trust: Trust, node: str, *, without: Collection[str], now: int
) -> Earlier | None:
    """Return the newest earlier promotion whose model may still serve at ``ion/node``, judged as the gate will.

    Its signature holds, its model is none of ``without``, decision and approvals hold and have not ended, and
    the model's files are there.
    """
    for change in reversed(changes_of(store, node)):
        if not isinstance(change, Promoted | RolledBack) or change.model in without:
            continue
        try:
            statement = signed_change(change, trust.root("decision"))
            if statement.decision is None or not restore_decision(store, artifacts, node, statement.decision):
                continue
            grounds = read_grounds(artifacts, statement.decision)
            upheld = uphold(grounds, trust, model=change.model, node=node)
            manifest = artifacts.get_manifest(change.model)
        except IonError:
            continue
        whole = all(artifacts.has(entry.sha256) for entry in manifest.entries)
        if isinstance(upheld, Upheld) and now < upheld.until and whole:
            return Earlier(change, statement.decision, statement.on_lease_end)
    return None


def restore_decision(store: Readable, artifacts: ArtifactStore, node: str, digest: str) -> bool:
    """Put a decision's envelope back among the artifacts if it is not there; tell whether it is now."""
    if artifacts.has(digest):
        return True
    for record in store.find(DecisionMade, node):
        if record.fact.envelope_digest == digest:
            return artifacts.put(record.fact.envelope.encode()) == digest
    return False
