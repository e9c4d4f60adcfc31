"""Evidence: what was signed about which bytes. Artifacts by digest, keys, envelopes, statements.

From bytes to a decision that anyone can check::

    manifest = artifacts.put_model({"model.json": data})      # manifest.digest is the model version
    decision = sign_statement(DecisionStatement(model=manifest.digest, ...), load_signer("file:/keys/decision.pem"))
    match verify_decision(decision, load_trust(home).root("decision")):
        case DecisionStatement() as statement: ...
        case Unverified(reason): ...
"""

from ion.evidence.artifacts import ArtifactStore
from ion.evidence.envelope import Unverified, Verified
from ion.evidence.founding import founded_trust
from ion.evidence.keys import PublicKey, Signer, create_key, load_public, load_signer, write_public
from ion.evidence.manifest import Entry, Manifest
from ion.evidence.statements import (
    DecisionStatement,
    EvidenceReference,
    PromotionStatement,
    sign_statement,
    verify_decision,
    verify_promotion,
)
from ion.evidence.trust import Trust, load_trust, trust_file
from ion.evidence.trust_root import TrustRoot

__all__ = [
    "ArtifactStore",
    "DecisionStatement",
    "Entry",
    "EvidenceReference",
    "Manifest",
    "PromotionStatement",
    "PublicKey",
    "Signer",
    "Trust",
    "TrustRoot",
    "Unverified",
    "Verified",
    "create_key",
    "founded_trust",
    "load_public",
    "load_signer",
    "load_trust",
    "sign_statement",
    "trust_file",
    "verify_decision",
    "verify_promotion",
    "write_public",
]
