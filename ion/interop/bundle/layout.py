"""Which files a bundle has, and how large they may be. docs/spec/bundle.md."""

from __future__ import annotations

import re

from ion.evidence.envelope import MAX_ENVELOPE
from ion.evidence.files import MIB
from ion.evidence.manifest import MAX_BYTES
from ion.evidence.mlbom import MAX_MLBOM
from ion.evidence.model_signature import MAX_SIGNATURE, MODEL_FOLDER
from ion.evidence.public_keys import MAX_KEY_BYTES
from ion.ledger.note import MAX_NOTE
from ion.ledger.proof import MAX_PROOF_FILE

MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
PROVENANCE = "provenance.dsse.json"
CHECKS = "checks.dsse.json"
DECISION = "decision.dsse.json"
PROMOTION = "promotion.dsse.json"
REVOCATION = "revocation.dsse.json"
MLBOM = "mlbom.cdx.json"
TRUST = "trust.json"
ROOT = "root.pub.pem"
CHECKPOINT = "ledger/checkpoint.note"
MODEL = f"{MODEL_FOLDER}/"
APPROVALS, LEDGER = "approvals/", "ledger/"

REQUIRED = (MANIFEST, SIGNATURE, PROVENANCE, DECISION, MLBOM, TRUST, ROOT, CHECKPOINT)
OPTIONAL = (CHECKS, PROMOTION, REVOCATION)

MAX_RECORD = 16 * MIB
MAX_FILES = 20_000
"""Files of a bundle, folders not counted; a manifest of 1 MiB names fewer."""
MAX_DEPTH = 64
"""Folders within folders."""

_LIMITS = {
    MANIFEST: MAX_BYTES,
    SIGNATURE: MAX_SIGNATURE,
    MLBOM: MAX_MLBOM,
    ROOT: MAX_KEY_BYTES,
    CHECKPOINT: MAX_NOTE,
}
_APPROVAL = re.compile(r"approvals/([0-9a-f]{64})\.dsse\.json\Z")
_RECORD = re.compile(r"ledger/([1-9][0-9]{0,15})\.json\Z")
_PROOF = re.compile(r"ledger/([1-9][0-9]{0,15})\.tlog-proof\Z")


def approval_path(digest: str) -> str:
    """Return where the approval with this envelope digest lies."""
    return f"{APPROVALS}{digest.removeprefix('sha256:')}.dsse.json"


def approval_digest(path: str) -> str:
    """Return the envelope digest an approval's path names; empty for other paths."""
    match = _APPROVAL.match(path)
    return f"sha256:{match[1]}" if match else ""


def record_path(position: int) -> str:
    """Return where the record at a position of the ledger lies."""
    return f"{LEDGER}{position}.json"


def proof_path(position: int) -> str:
    """Return where the proof lies that the ledger holds the record."""
    return f"{LEDGER}{position}.tlog-proof"


def record_position(path: str) -> int | None:
    """Return the position a record's path names; None for other paths."""
    match = _RECORD.match(path)
    return int(match[1]) if match else None


def limit_of(path: str) -> int | None:
    """Return how many bytes the file may have; None for a path that no bundle has, 0 for files of the model."""
    if path in REQUIRED or path in OPTIONAL or _APPROVAL.match(path):
        return _LIMITS.get(path, MAX_ENVELOPE)
    if _RECORD.match(path):
        return MAX_RECORD
    if _PROOF.match(path):
        return MAX_PROOF_FILE
    return 0 if path.startswith(MODEL) else None
