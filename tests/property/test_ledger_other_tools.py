"""Checkpoints and proofs are checked by code that is not ours: that of sigstore's client, made for its own log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import verify_checkpoint
from sigstore._internal.trust import Keyring
from sigstore.errors import VerificationError
from sigstore_models.common.v1 import PublicKey, PublicKeyDetails

from ion.evidence import create_key, load_signer
from ion.ledger import Checkpoint, NoteKey, Proof, inclusion_proof, leaf_hash, sign_checkpoint
from ion.ledger.merkle import Tree

if TYPE_CHECKING:
    from ion.evidence import Signer

RAWS = [b"record %d" % number for number in range(300)]
TREE = Tree(map(leaf_hash, RAWS))
ORIGIN = "dagster-ion/store-0123456789ab"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    path = tmp_path_factory.mktemp("keys") / "log.pem"
    create_key(path)
    return load_signer(f"file:{path}")


def entry(proof: Proof, raw: bytes, size: int, root: bytes, key_id: bytes) -> Any:  # noqa: ANN401 - as sigstore takes it
    """What sigstore calls an entry of a log, from a proof of ours."""
    inclusion = SimpleNamespace(
        log_index=proof.position - 1,
        tree_size=size,
        hashes=list(proof.hashes),
        root_hash=root,
        checkpoint=SimpleNamespace(envelope=proof.checkpoint.decode()),
    )
    inner = SimpleNamespace(inclusion_proof=inclusion, canonicalized_body=raw, log_id=SimpleNamespace(key_id=key_id))
    return SimpleNamespace(_inner=inner)


def keyring(signer: Signer) -> Any:  # noqa: ANN401 - as sigstore takes it
    from base64 import b64encode

    details = PublicKeyDetails.PKIX_ED25519
    return Keyring([PublicKey(raw_bytes=b64encode(signer.public.der), key_details=details)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(size=st.integers(1, 300), data=st.data())
def test_sigstore_verifies_our_proofs_and_checkpoints(signer: Signer, size: int, data: st.DataObject) -> None:
    position, root = data.draw(st.integers(1, size)), TREE.root(size)
    note = sign_checkpoint(Checkpoint(ORIGIN, size, root), signer)
    proof = Proof.parse(Proof(position, tuple(inclusion_proof(TREE, position - 1, size)), note).to_bytes())
    key_id = NoteKey.of(ORIGIN, signer.public).key_id
    raw = RAWS[position - 1]
    found = entry(proof, raw, size, root, key_id)
    verify_merkle_inclusion(found)
    verify_checkpoint(keyring(signer), found)

    with pytest.raises(VerificationError):
        verify_merkle_inclusion(entry(proof, raw + b" ", size, root, key_id))
    with pytest.raises(VerificationError):
        verify_checkpoint(keyring(signer), entry(proof, raw, size, bytes(32), key_id))
    forged = Proof(position, proof.hashes, note.replace(b"store-0", b"store-1", 1))
    with pytest.raises(VerificationError):
        verify_checkpoint(keyring(signer), entry(forged, raw, size, root, key_id))
