"""``model.sig``: one form, from files and key alone, which OpenSSF model-signing accepts (tests/store)."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import pytest

from ion.errors import IonError
from ion.evidence import Manifest, create_key
from ion.evidence.founding import create_model_key
from ion.evidence.model_signature import ModelSigner, model_signature_problem

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
    for files in ({**FILES, "more": b""}, {"model.json": b"{}"}, {**FILES, "model.json": b"[]"}):
        assert "exactly these files" in model_signature_problem(data, Manifest.from_files(files), [pem])
    renamed = {"z" + path: content for path, content in FILES.items()}
    assert "exactly these files" in model_signature_problem(data, Manifest.from_files(renamed), [pem])
    other = create_model_key(tmp_path / "other.pem")
    for keys in ([other], [], [create_key(tmp_path / "ed25519.pem").to_pem().decode()]):
        assert model_signature_problem(data, MANIFEST, keys) == "no trusted model key signed it"


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
    assert changed(("dsseEnvelope", "signatures", 0, "sig"), "?")
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
