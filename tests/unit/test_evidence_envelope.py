from __future__ import annotations

import base64
import copy
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from ion.canonical import canonical_bytes, digest_bytes
from ion.errors import IonError
from ion.evidence import Signer, TrustRoot, Unverified, Verified, create_key, load_signer
from ion.evidence.envelope import sign, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TYPE = "application/vnd.in-toto+json"
PAYLOAD = {"b": [1, 2.5, None], "a": "é"}


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    create_key(tmp_path / "key.pem")
    return load_signer(f"file:{tmp_path}/key.pem")


@pytest.fixture
def other(tmp_path: Path) -> Signer:
    create_key(tmp_path / "other.pem")
    return load_signer(f"file:{tmp_path}/other.pem")


def test_what_was_signed_is_verified_with_any_trusted_key(signer: Signer, other: Signer) -> None:
    data = sign(PAYLOAD, TYPE, signer)
    expected = Verified(PAYLOAD, signer.public.key_id, digest_bytes(data))
    assert verify(data, TrustRoot((signer.public,)), TYPE) == expected
    assert verify(data, TrustRoot((other.public, signer.public)), TYPE) == expected
    assert verify(data, TrustRoot((other.public,)), TYPE) == Unverified("no trusted key signed it")


def test_another_payload_type_is_refused(signer: Signer) -> None:
    data = sign(PAYLOAD, "application/vnd.other+json", signer)
    assert isinstance(verify(data, TrustRoot((signer.public,)), TYPE), Unverified)
    relabelled = data.replace(b"vnd.other", b"vnd.in-toto")
    assert verify(relabelled, TrustRoot((signer.public,)), TYPE) == Unverified("no trusted key signed it")


def test_signing_leaves_the_payload_as_it_was(signer: Signer) -> None:
    before = copy.deepcopy(PAYLOAD)
    sign(PAYLOAD, TYPE, signer)
    assert before == PAYLOAD


def _edited(data: bytes, edit: Callable[[dict[str, object]], object]) -> bytes:
    value = json.loads(data)
    edit(value)
    return canonical_bytes(value)


def test_one_signature_exactly(signer: Signer, other: Signer) -> None:
    trust = TrustRoot((signer.public, other.public))
    data, second = sign(PAYLOAD, TYPE, signer), json.loads(sign(PAYLOAD, TYPE, other))["signatures"]

    def refuse(edit: Callable[[dict[str, object]], object]) -> None:
        assert isinstance(verify(_edited(data, edit), trust, TYPE), Unverified)

    assert isinstance(verify(_edited(data, lambda _: None), trust, TYPE), Verified)
    refuse(lambda value: value.update(signatures=[]))
    refuse(lambda value: value["signatures"].extend(second))  # type: ignore[attr-defined]
    refuse(lambda value: value["signatures"].append(value["signatures"][0]))  # type: ignore[attr-defined,index]
    refuse(lambda value: value["signatures"][0].update(keyid=other.public.key_id))  # type: ignore[index]
    refuse(lambda value: value["signatures"][0].update(extra=1))  # type: ignore[index]
    refuse(lambda value: value.update(extra=1))
    refuse(lambda value: value.pop("payload"))
    refuse(lambda value: value.update(payload="e30"))
    refuse(lambda value: value.update(payload="e3 0="))


def test_bytes_have_one_form(signer: Signer) -> None:
    trust, data = TrustRoot((signer.public,)), sign(PAYLOAD, TYPE, signer)
    assert isinstance(verify(data + b"\n", trust, TYPE), Unverified)
    assert isinstance(verify(json.dumps(json.loads(data)).encode(), trust, TYPE), Unverified)
    sig = json.loads(data)["signatures"][0]["sig"].encode()
    assert sig.endswith(b"==")
    spare = sig[:-3] + bytes([sig[-3] + 1]) + b"=="  # the same 64 bytes, spelt with spare bits
    assert base64.b64decode(spare) == base64.b64decode(sig)
    assert isinstance(verify(data.replace(sig, spare), trust, TYPE), Unverified)


def test_a_signed_payload_of_two_meanings_is_refused(signer: Signer) -> None:
    payload = b'{"a":1,"a":2}'
    pae = b"DSSEv1 %d %b %d %b" % (len(TYPE), TYPE.encode(), len(payload), payload)
    signature = {"keyid": signer.public.key_id, "sig": base64.b64encode(signer.sign(pae)).decode()}
    body = {"payload": base64.b64encode(payload).decode(), "payloadType": TYPE, "signatures": [signature]}
    answer = verify(canonical_bytes(body), TrustRoot((signer.public,)), TYPE)
    assert isinstance(answer, Unverified)
    assert "payload" in answer.reason


def test_large_envelopes_are_refused_both_ways(signer: Signer) -> None:
    with pytest.raises(IonError) as error:
        sign({"a": "x" * (1 << 20)}, TYPE, signer)
    assert error.value.code == "bad-envelope"
    assert isinstance(verify(b"{" * ((1 << 20) + 1), TrustRoot((signer.public,)), TYPE), Unverified)


def test_openssl_verifies_the_signature_without_us(signer: Signer, tmp_path: Path) -> None:
    envelope = json.loads(sign(PAYLOAD, TYPE, signer))
    payload = base64.b64decode(envelope["payload"])
    (tmp_path / "pae").write_bytes(b"DSSEv1 %d %b %d %b" % (len(TYPE), TYPE.encode(), len(payload), payload))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "pub.pem").write_bytes(signer.public.to_pem())
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "pub.pem",
        "-rawin",
        "-in",
        "pae",
        "-sigfile",
        "sig",
    ]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "pae").write_bytes((tmp_path / "pae").read_bytes() + b" ")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0
