"""The signature of a model's files as OpenSSF model-signing checks it: ``model.sig``. docs/spec/bundle.md.

Source: model-signing 1.1 (predicate ``https://model_signing/signature/v1.0`` in a Sigstore bundle 0.3), key
method: ECDSA over P-256. Where that form leaves room (white space, key id, base64, the order of files), this
module writes one form and accepts no other, so that a signature follows from the manifest and the key alone.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ion.canonical import canonical_bytes
from ion.errors import IonError
from ion.evidence.files import read_regular
from ion.evidence.in_toto import PAYLOAD_TYPE, statement_form
from ion.evidence.keys import MAX_KEY_BYTES
from ion.evidence.manifest import MAX_BYTES
from ion.evidence.parsing import Fields, parse_canonical

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ion.evidence.manifest import Manifest
    from ion.home import Home

SIGNATURE_TYPE = "https://model_signing/signature/v1.0"
MODEL_FOLDER = "model"
"""What model-signing calls the model: the name of the folder its files lie in."""
MAX_SIGNATURE = 4 * MAX_BYTES
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_CODE = "bad-model-signature"


class ModelSigner:
    """Signs models with an EC P-256 key in a file (PKCS8 PEM, 0600).

    Raises:
        IonError: ``key-missing``, ``key-permissions`` or ``bad-key``.
    """

    def __init__(self, path: Path) -> None:
        try:
            data = read_regular(path, MAX_KEY_BYTES, private=True)
        except OSError as error:
            raise IonError("key-missing", f"cannot read the model key {path}: {error.strerror}") from error
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # No cause: a parser's message may quote the key.
            raise IonError("bad-key", f"{path.name} holds no private key in PKCS8 PEM form") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise IonError("bad-key", f"{path.name} is not an EC P-256 key")
        self._key = key

    def sign(self, manifest: Manifest) -> bytes:
        """Return ``model.sig``: the same for the same files and key (RFC 6979)."""
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        signature = self._key.sign(_encoded(_payload(manifest)), algorithm)
        return _bundle(manifest, _pem(self._key.public_key()), signature)


def model_signer(home: Home) -> ModelSigner | None:
    """Return the signer of models of a deployment; None where the key is not kept or not readable here.

    Raises:
        IonError: ``key-permissions`` or ``bad-key``.
    """
    try:
        return ModelSigner(home.keys / "model.pem")
    except IonError as error:
        if error.code == "key-missing":
            return None
        raise


def model_signature_problem(data: bytes, manifest: Manifest, public_pems: Iterable[str]) -> str:
    """Return why ``data`` is not the signature of these files by one of these keys; empty when it is."""
    try:
        fields = Fields.of(parse_canonical(data, MAX_SIGNATURE, "model signature"), "model signature", _CODE)
        hint = fields.inner("verificationMaterial").inner("publicKey").text("hint")
        signatures = fields.inner("dsseEnvelope").items("signatures")
        texts = [Fields.of(each, "signature", _CODE).text("sig") for each in signatures[:1]]
        signature = b64decode("".join(texts), validate=True)
    except (IonError, ValueError) as error:
        return error.message if isinstance(error, IonError) else "its signature is not base64"
    for pem in public_pems:
        key = _public(pem)
        if key is not None and hashlib.sha256(_pem(key)).hexdigest() == hint:
            break
    else:
        return "no trusted model key signed it"
    if _bundle(manifest, _pem(key), signature) != data:
        return "it is not about exactly these files, or not in its one form"
    try:
        key.verify(signature, _encoded(_payload(manifest)), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return "the signature does not hold"
    return ""


def _payload(manifest: Manifest) -> bytes:
    resources = [
        {"algorithm": "sha256", "digest": entry.sha256.removeprefix("sha256:"), "name": entry.path}
        for entry in manifest.entries
    ]
    # model-signing's digest of the whole leaves out the names, which is why nothing of ours refers to it.
    whole = hashlib.sha256(b"".join(bytes.fromhex(each["digest"]) for each in resources)).hexdigest()
    serialization_type = {"allow_symlinks": False, "hash_type": "sha256", "method": "files"}
    predicate: dict[str, object] = {"resources": resources, "serialization": serialization_type}
    return canonical_bytes(statement_form(MODEL_FOLDER, f"sha256:{whole}", SIGNATURE_TYPE, predicate))


def _bundle(manifest: Manifest, pem: bytes, signature: bytes) -> bytes:
    return canonical_bytes(
        {
            "mediaType": _MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": hashlib.sha256(pem).hexdigest()},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": b64encode(_payload(manifest)).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"keyid": "", "sig": b64encode(signature).decode()}],
            },
        }
    )


def _encoded(payload: bytes) -> bytes:
    """Return the DSSE pre-authentication encoding: what is signed."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _public(pem: str) -> ec.EllipticCurvePublicKey | None:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1) else None


def _pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
