"""The bill of materials written again from what a bundle proves: it must be the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.evidence.mlbom import Ingredients, mlbom
from ion.facts import DatasetRecorded, ModelRecorded
from ion.interop.bundle import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ion.evidence.manifest import Manifest
    from ion.facts import Fact
    from ion.interop.bundle.records import Signed

_KINDS = {
    layout.SIGNATURE: "digital-signature",
    layout.PROVENANCE: "attestation",
    layout.CHECKS: "quality-metrics",
    layout.DECISION: "attestation",
}


def restated_mlbom(files: Mapping[str, bytes], manifest: Manifest, signed: Signed, facts: Iterable[Fact]) -> bytes:
    """Return the bill of materials of a bundle whose other files are ``files``; ``facts`` are those of its ledger."""
    listed = list(facts)
    (model,) = [fact for fact in listed if isinstance(fact, ModelRecorded)]
    approvals = sorted(path for path in files if path.startswith(layout.APPROVALS))
    kinds = {
        **{path: kind for path, kind in _KINDS.items() if path in files},
        **dict.fromkeys(approvals, "attestation"),
    }
    return mlbom(
        Ingredients(
            manifest=manifest,
            model=model,
            datasets={fact.digest: fact for fact in listed if isinstance(fact, DatasetRecorded)},
            provenance=signed.provenance,
            decision=signed.decision,
            documents=[(kind, path, digest_bytes(files[path])) for path, kind in kinds.items()],
        )
    )
