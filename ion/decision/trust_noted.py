"""The trust document in the record: each version a fact, and none goes back behind one that was in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.facts import TrustChanged
from ion.ids import observed_id

if TYPE_CHECKING:
    from ion.evidence.trust import Trust
    from ion.records import Recorded
    from ion.store import GovernanceStore


def note_trust(store: GovernanceStore, trust: Trust, *, by: str = "", reason: str = "") -> bool:
    """Record that this document is in force, unless that is recorded; returns whether it was new.

    Whoever changes the document calls it, and governance calls it on sight: cheap when nothing changed.

    Args:
        store: of the deployment.
        trust: what is in force.
        by: who put it there, as the operating system says; empty where governance just found it.
        reason: why.

    Raises:
        IonError: ``trust-older`` when the record knows a higher version, or another document of this version:
            then somebody put an older file back, and nothing must be decided under it.
    """
    _refuse_older(store.latest(TrustChanged), trust)
    if store.find(TrustChanged, trust.digest, limit=1):
        return False
    with store.command() as command:
        newest = command.find(TrustChanged, limit=1, newest_first=True)
        _refuse_older(newest[0] if newest else None, trust)
        if command.find(TrustChanged, trust.digest, limit=1):
            return False
        fact = TrustChanged(
            version=trust.document.version,
            digest=trust.digest,
            envelope=trust.envelope.decode(),
            by=by,
            reason=reason,
        )
        command.record(fact, observed_id("trust", trust.digest))
    return True


def _refuse_older(newest: Recorded[TrustChanged] | None, trust: Trust) -> None:
    if newest is None or newest.fact.digest == trust.digest:
        return
    seen, version = newest.fact.version, trust.document.version
    if seen >= version:
        other = f"version {version}" if seen > version else f"another version {version}"
        message = f"the trust document in force is {other}, the record knows version {seen}"
        raise IonError("trust-older", message, "restore trust/trust.json, or have the root sign a newer one")
