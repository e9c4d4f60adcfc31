"""``model.sig``: one form, from files and key alone, which OpenSSF model-signing accepts (tests/store)."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ion.errors import IonError
from ion.evidence import Manifest, create_key
from ion.evidence.files import write_new
from ion.evidence.founding import create_model_key
from ion.evidence.model_signature import ModelSigner, model_signature_problem, model_signer
from ion.home import Home

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"model.json": b"{}", "a/b.txt": b"b", ".gitattributes": b"*.bin -text\n"}
MANIFEST = Manifest.from_files(FILES)


@pytest.fixture
def signed(tmp_path: Path) -> tuple[bytes, str]:
    pem = create_model_key(tmp_path / "model.pem")
    return ModelSigner(tmp_path / "model.pem").sign(MANIFEST), pem


def test_the_signature_of_the_same_files_is_the_same_and_holds(tmp_path: Path, signed: tuple[bytes, str]) -> None:
    data, pem = signed
    assert ModelSigner(tmp_path / "model.pem").sign(Manifest.from_files(dict(reversed(FILES.items())))) == data
    assert model_signature_problem(data, MANIFEST, ["no key", pem]) == ""


def test_every_byte_counts(signed: tuple[bytes, str]) -> None:
    data, pem = signed
    for position in range(len(data)):
        for bit in (0, 5):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            assert model_signature_problem(bytes(changed), MANIFEST, [pem]), (position, bit)
    assert model_signature_problem(data + b"\n", MANIFEST, [pem])


def test_other_files_other_keys_and_no_keys_are_refused(tmp_path: Path, signed: tuple[bytes, str]) -> None:
    data, pem = signed
    renamed = {"z" + path: content for path, content in FILES.items()}
    for files in ({**FILES, "more": b""}, {"model.json": b"{}"}, {**FILES, "model.json": b"[]"}, renamed):
        problem = model_signature_problem(data, Manifest.from_files(files), [pem])
        assert problem == "it is not about exactly these files, or not in its one form"
    other = create_model_key(tmp_path / "other.pem")
    for keys in ([other], [], [create_key(tmp_path / "ed25519.pem").to_pem().decode()]):
        assert model_signature_problem(data, MANIFEST, keys) == "no trusted model key signed it"


def test_a_key_on_another_curve_is_no_model_key(tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP384R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_new(tmp_path / "p384.pem", pem)
    with pytest.raises(IonError) as caught:
        ModelSigner(tmp_path / "p384.pem")
    assert (caught.value.code, caught.value.message) == ("bad-key", "p384.pem is not an EC P-256 key")
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    create_model_key(tmp_path / "model.pem")
    bundle = json.loads(ModelSigner(tmp_path / "model.pem").sign(MANIFEST))
    bundle["verificationMaterial"]["publicKey"]["hint"] = hashlib.sha256(public).hexdigest()
    payload = b64decode(bundle["dsseEnvelope"]["payload"])
    message = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    sig = private.sign(message, ec.ECDSA(SHA256()))
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = b64encode(sig).decode()
    data = json.dumps(bundle, sort_keys=True, separators=(",", ":")).encode()
    assert model_signature_problem(data, MANIFEST, [public.decode()]) == "no trusted model key signed it"


def test_what_is_signed_is_the_documented_statement(signed: tuple[bytes, str]) -> None:
    payload = json.loads(b64decode(json.loads(signed[0])["dsseEnvelope"]["payload"]))
    digests = {path: hashlib.sha256(content) for path, content in FILES.items()}
    whole = hashlib.sha256(b"".join(digests[path].digest() for path in sorted(FILES))).hexdigest()
    assert payload == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": whole}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": [
                {"algorithm": "sha256", "digest": digests[path].hexdigest(), "name": path} for path in sorted(FILES)
            ],
            "serialization": {"allow_symlinks": False, "hash_type": "sha256", "method": "files"},
        },
    }


def test_a_deployment_signs_where_its_key_is(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert model_signer(home) is None
    pem = create_model_key(home.keys / "model.pem")
    signer = model_signer(home)
    assert signer is not None
    assert model_signature_problem(signer.sign(MANIFEST), MANIFEST, [pem]) == ""
    (home.keys / "model.pem").chmod(0o644)
    with pytest.raises(IonError) as caught:
        model_signer(home)
    assert caught.value.code == "key-permissions"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"[]", "model signature is not an object in canonical JSON form (RFC 8785)"),
        (b"{}", "model signature: field 'verificationMaterial' is missing"),
        (b'{"verificationMaterial":[]}', "model signature.verificationMaterial is not an object"),
        (b" " * (4 << 20) + b" ", f"model signature is larger than {4 << 20} bytes"),
    ],
)
def test_what_is_no_signature_is_told(signed: tuple[bytes, str], data: bytes, problem: str) -> None:
    assert model_signature_problem(data, MANIFEST, [signed[1]]) == problem


def test_a_signature_of_another_model_is_not_grafted_on(tmp_path: Path, signed: tuple[bytes, str]) -> None:
    data, pem = signed
    theirs = json.loads(ModelSigner(tmp_path / "model.pem").sign(Manifest.from_files({"x": b"x"})))
    ours = json.loads(data)
    ours["dsseEnvelope"]["signatures"] = theirs["dsseEnvelope"]["signatures"]
    grafted = json.dumps(ours, sort_keys=True, separators=(",", ":")).encode()
    assert model_signature_problem(grafted, MANIFEST, [pem]) == "the signature does not hold"


def test_unsigned_parts_have_one_form_only(signed: tuple[bytes, str]) -> None:
    data, pem = signed

    def changed(path: tuple[str | int, ...], value: object) -> str:
        bundle = json.loads(data)
        target = bundle
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value
        form = json.dumps(bundle, sort_keys=True, separators=(",", ":")).encode()
        return model_signature_problem(form, MANIFEST, [pem])

    sig = json.loads(data)["dsseEnvelope"]["signatures"][0]["sig"]
    assert changed(("mediaType",), "application/vnd.dev.sigstore.bundle.v0.2+json")
    assert changed(("verificationMaterial", "tlogEntries"), [{}])
    assert changed(("dsseEnvelope", "signatures", 0, "keyid"), "x")
    assert changed(("dsseEnvelope", "signatures"), [])
    assert changed(("dsseEnvelope", "signatures"), [{"keyid": "", "sig": sig}, {"keyid": "", "sig": sig}])
    assert changed(("dsseEnvelope", "signatures", 0, "sig"), "?") == "its signature is not base64"
    assert changed(("dsseEnvelope", "signatures", 0, "sig"), sig + "\n") == "its signature is not base64"
    assert changed(("dsseEnvelope", "signatures"), [1]) == "signature is not an object"
    assert changed(("dsseEnvelope", "signatures", 0, "sig"), b64encode(b64decode(sig) + b"\0").decode())
    assert changed(("dsseEnvelope", "payloadType"), "application/json")
    assert changed(("more",), 1)


def test_only_a_private_p256_key_of_ones_own_signs_models(tmp_path: Path) -> None:
    create_key(tmp_path / "ed25519.pem")
    (tmp_path / "none.pem").write_text("no key")
    (tmp_path / "none.pem").chmod(0o600)
    create_model_key(tmp_path / "open.pem")
    (tmp_path / "open.pem").chmod(0o644)
    codes = {
        "ed25519.pem": "bad-key",
        "none.pem": "bad-key",
        "missing.pem": "key-missing",
        "open.pem": "key-permissions",
    }
    for name, code in codes.items():
        with pytest.raises(IonError) as caught:
            ModelSigner(tmp_path / name)
        assert caught.value.code == code
