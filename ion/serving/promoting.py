"""The promotions of a deployment, with its pointers beside its serving processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.decision.promotion import PointerFiles, Promotions
from ion.evidence.artifacts import ArtifactStore
from ion.evidence.trust import trust_file
from ion.serving.pointer import pointer_path, read_pointer, write_pointer

if TYPE_CHECKING:
    from ion.evidence.keys import Signer
    from ion.home import Home
    from ion.store import GovernanceStore


def open_promotions(home: Home, store: GovernanceStore, signer: Signer) -> Promotions:
    """Return what promotes, halts, revokes and publishes in the deployment at ``home``."""
    files = PointerFiles(path=lambda node: pointer_path(home.root, node), read=read_pointer, write=write_pointer)
    return Promotions(store, ArtifactStore(home.artifacts), signer, files, trust_file(home))
