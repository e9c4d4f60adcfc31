from __future__ import annotations

import hashlib
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ion.errors import IonError
from ion.evidence import PublicKey, TrustRoot, create_key, load_public, load_signer, write_public

if TYPE_CHECKING:
    from pathlib import Path


def failure(uri: str) -> str:
    with pytest.raises(IonError) as error:
        load_signer(uri)
    return error.value.code


def test_a_key_is_private_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "decision.pem"
    public = create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_signer(f"file:{path}").public == public
    assert load_signer(f"file://{path}").public == public


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "decision.pem"
    create_key(path)
    before = path.read_bytes()
    with pytest.raises(IonError) as error:
        create_key(path)
    assert error.value.code == "key-exists"
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o777])
def test_a_key_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "decision.pem"
    create_key(path)
    path.chmod(mode)
    assert failure(f"file:{path}") == "key-permissions"


def test_other_keys_and_places_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(pem)
    path.chmod(0o600)
    assert failure(f"file:{path}") == "bad-key"
    path.write_bytes(b"nonsense")
    assert failure(f"file:{path}") == "bad-key"
    assert failure(f"file:{tmp_path}/absent.pem") == "key-missing"
    assert failure("file:relative.pem") == "signer-scheme"
    assert failure("file://elsewhere/key.pem") == "signer-scheme"
    assert failure("vault:key") == "signer-scheme"
    assert failure("/plain/path") == "signer-scheme"


def test_the_private_key_is_in_no_repr(tmp_path: Path) -> None:
    create_key(tmp_path / "key.pem")
    signer = load_signer(f"file:{tmp_path}/key.pem")
    assert "backend" not in repr(signer)


def test_the_public_key_round_trips_and_its_id_is_openssls(tmp_path: Path) -> None:
    public = create_key(tmp_path / "key.pem")
    write_public(tmp_path / "trust" / "key.pub.pem", public)
    assert load_public(tmp_path / "trust" / "key.pub.pem") == public
    der = subprocess.run(
        ["openssl", "pkey", "-in", str(tmp_path / "key.pem"), "-pubout", "-outform", "DER"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    assert public.key_id == "sha256:" + hashlib.sha256(der).hexdigest()


def test_a_public_key_has_one_form(tmp_path: Path) -> None:
    public = create_key(tmp_path / "key.pem")
    for der in (b"", public.der + b"\0", public.to_pem()):
        with pytest.raises(IonError) as error:
            PublicKey(der)
        assert error.value.code == "bad-key"


def test_a_trust_root_counts_a_key_once_and_is_never_empty(tmp_path: Path) -> None:
    public = create_key(tmp_path / "key.pem")
    assert TrustRoot((public, PublicKey(public.der))).keys == (public,)
    with pytest.raises(IonError) as error:
        TrustRoot(())
    assert error.value.code == "trust-empty"
