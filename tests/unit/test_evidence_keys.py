from __future__ import annotations

import hashlib
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib import signer as backends

from ion.errors import IonError
from ion.evidence import PublicKey, TrustRoot, create_key, load_public, load_signer, write_public
from ion.evidence import keys as keys_module
from ion.evidence.envelope import Verified, sign, verify
from ion.evidence.key_folder import KeyFolder, file_uri, make_key, public_path

if TYPE_CHECKING:
    from collections.abc import Iterator
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


# Passphrases ----------------------------------------------------------------------------------------


def write_private(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    path.chmod(0o600)
    return file_uri(path)


def openssh(private: Ed25519PrivateKey) -> bytes:
    form = serialization.PrivateFormat.OpenSSH
    return private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def test_a_key_under_a_passphrase_opens_with_it_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = create_key(tmp_path / "anna.pem", "Grüße")
    uri = file_uri(tmp_path / "anna.pem")
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (tmp_path / "anna.pem").read_bytes()
    assert failure(uri) == "key-passphrase"
    assert load_signer(uri, lambda _: "Grüße").public == public
    asked = []
    with pytest.raises(IonError) as error:
        load_signer(uri, lambda name: asked.append(name) or "wrong")  # type: ignore[func-returns-value]
    assert (error.value.code, asked) == ("key-passphrase", ["anna.pem"])
    monkeypatch.setenv("ION_KEY_PASSPHRASE", "Grüße")
    assert load_signer(uri).public == public
    monkeypatch.setenv("ION_KEY_PASSPHRASE", "another key's")
    assert failure(uri) == "key-passphrase"
    assert load_signer(uri, lambda _: "Grüße").public == public


def test_openssl_opens_the_key_and_the_passphrase_is_slow_to_guess(tmp_path: Path) -> None:
    public = create_key(tmp_path / "anna.pem", "geheim")
    der = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "anna.pem", "-passin", "pass:geheim", "-pubout", "-outform", "DER"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    assert PublicKey(der) == public
    shown = subprocess.run(
        ["openssl", "asn1parse", "-in", tmp_path / "anna.pem"], check=True, capture_output=True, text=True
    ).stdout
    rounds = [int(line.rpartition(":")[2], 16) for line in shown.splitlines() if "INTEGER" in line]
    assert rounds == [600_000]
    assert {"PBKDF2", "hmacWithSHA256", "aes-256-cbc"} <= {line.rpartition(":")[2] for line in shown.splitlines()}


def test_two_keys_under_one_passphrase_share_no_salt(tmp_path: Path) -> None:
    for name in ("one", "two"):
        create_key(tmp_path / f"{name}.pem", "same")
    heads = {(tmp_path / f"{name}.pem").read_bytes()[:120] for name in ("one", "two")}
    assert len(heads) == 2


# OpenSSH --------------------------------------------------------------------------------------------


def test_openssh_keys_are_taken(tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    public = PublicKey.of(private.public_key())
    uri = write_private(tmp_path / "id_ed25519", openssh(private))
    assert load_signer(uri).public == public
    line = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (tmp_path / "id.pub").write_bytes(line + b" anna@example.org\n")
    assert load_public(tmp_path / "id.pub") == public


def test_an_encrypted_openssh_key_opens_where_bcrypt_is_and_says_so_where_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "geheim", "-f", path], check=True)
    try:
        import bcrypt  # noqa: F401
    except ImportError:
        with pytest.raises(IonError) as error:
            load_signer(file_uri(path), lambda _: "geheim")
        assert error.value.code == "extra-missing"
        assert "bcrypt" in error.value.hint
    else:
        assert load_signer(file_uri(path), lambda _: "geheim").public == load_public(tmp_path / "id_ed25519.pub")
        assert failure(file_uri(path)) == "key-passphrase"


def other_public_files(folder: Path) -> Iterator[Path]:
    """Files that hold no one ed25519 public key."""
    pem, spki = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ssh, line = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    one, two = (Ed25519PrivateKey.generate().public_key() for _ in range(2))
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    contents = {
        "ec.pem": curve.public_bytes(pem, spki),
        "ec.pub": curve.public_bytes(ssh, line),
        "rsa.pub": rsa.generate_private_key(65537, 2048).public_key().public_bytes(ssh, line),
        "two.pub": one.public_bytes(ssh, line) + b"\n" + two.public_bytes(ssh, line),
        "two.pem": one.public_bytes(pem, spki) + two.public_bytes(pem, spki),
        "cut.pub": one.public_bytes(ssh, line)[:-9],
        "private.pem": openssh(Ed25519PrivateKey.generate()),
        "empty.pub": b"",
        "zeros.pub": bytes(100),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        yield folder / name


def test_public_keys_of_another_kind_or_more_than_one_are_refused(tmp_path: Path) -> None:
    for path in other_public_files(tmp_path):
        with pytest.raises(IonError) as error:
            load_public(path)
        assert error.value.code == "bad-key", path.name


def test_private_keys_of_another_kind_are_refused(tmp_path: Path) -> None:
    key, encoding = rsa.generate_private_key(65537, 2048), serialization.Encoding.PEM
    for form in (serialization.PrivateFormat.OpenSSH, serialization.PrivateFormat.PKCS8):
        uri = write_private(tmp_path / "key", key.private_bytes(encoding, form, serialization.NoEncryption()))
        assert failure(uri) == "bad-key"


# Signers by scheme ------------------------------------------------------------------------------------


class Kms(backends.Signer):  # type: ignore[misc]
    """What a KMS is to us: it signs, we never see the key. ``down`` and ``lies`` make it fail."""

    private = Ed25519PrivateKey.generate()
    down = lies = False

    def __init__(self, public: backends.Key) -> None:
        self._public = public

    @property
    def public_key(self) -> backends.Key:
        return self._public

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: backends.Key, *_: object) -> Kms:
        assert priv_key_uri == "testkms:decisions/1"
        return cls(public_key)

    def sign(self, payload: bytes) -> backends.Signature:
        if self.down:
            raise ConnectionError("no route to the KMS")
        return backends.Signature(self._public.keyid, self.private.sign(b"?" if self.lies else payload).hex())


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> type[Kms]:
    monkeypatch.setitem(backends.SIGNER_FOR_URI_SCHEME, "testkms", Kms)
    monkeypatch.setattr(Kms, "down", False)
    monkeypatch.setattr(Kms, "lies", False)
    return Kms


def test_a_kms_signs_by_its_uri_and_public_key(tmp_path: Path, kms: type[Kms]) -> None:
    public = PublicKey.of(kms.private.public_key())
    write_public(tmp_path / "a b.pub.pem", public)
    signer = load_signer(f"testkms:decisions/1#{tmp_path}/a%20b.pub.pem")
    assert signer.public == public
    answer = verify(sign({"a": 1}, "text/x", signer), TrustRoot((public,)), "text/x")
    assert isinstance(answer, Verified)
    assert answer.key_id == public.key_id


@pytest.mark.parametrize(("fault", "code"), [("down", "signer-failed"), ("lies", "bad-key")])
def test_a_kms_that_cannot_or_does_not_sign_is_seen_at_once(
    tmp_path: Path, kms: type[Kms], monkeypatch: pytest.MonkeyPatch, fault: str, code: str
) -> None:
    write_public(tmp_path / "kms.pub.pem", PublicKey.of(kms.private.public_key()))
    monkeypatch.setattr(kms, fault, True)
    assert failure(f"testkms:decisions/1#{tmp_path}/kms.pub.pem") == code


def test_a_kms_whose_key_is_another_is_refused(tmp_path: Path, kms: type[Kms]) -> None:
    assert kms
    write_public(tmp_path / "other.pub.pem", create_key(tmp_path / "other.pem"))
    assert failure(f"testkms:decisions/1#{tmp_path}/other.pub.pem") == "bad-key"


def test_a_kms_needs_its_public_key_as_a_file(tmp_path: Path, kms: type[Kms]) -> None:
    assert kms
    assert failure("testkms:decisions/1") == "signer-scheme"
    assert failure("testkms:decisions/1#relative.pem") == "signer-scheme"
    assert failure(f"testkms:decisions/1#{tmp_path}/absent.pem") == "key-missing"


def test_a_scheme_that_reads_key_files_without_looking_at_their_mode_is_refused(tmp_path: Path) -> None:
    create_key(tmp_path / "key.pem")
    write_public(tmp_path / "key.pub.pem", load_signer(file_uri(tmp_path / "key.pem")).public)
    assert "file2" in backends.SIGNER_FOR_URI_SCHEME
    assert failure(f"file2:{tmp_path}/key.pem#{tmp_path}/key.pub.pem") == "signer-scheme"


def test_a_key_file_that_cannot_be_parsed_is_quoted_nowhere(tmp_path: Path) -> None:
    secret = "MC4CAQAwBQYDK2VwBCIEIsecretsecret"  # noqa: S105
    uri = write_private(
        tmp_path / "key.pem", f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n".encode()
    )
    with pytest.raises(IonError) as error:
        load_signer(uri)
    assert error.value.__cause__ is None
    assert "secret" not in str(error.value)


# The folder of a person's keys ----------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyFolder:
    monkeypatch.setenv("ION_KEYS", str(tmp_path / "my keys#1"))
    return KeyFolder.find()


def test_own_keys_are_where_the_configuration_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ION_KEYS", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert KeyFolder.find().path == tmp_path / ".config" / "ion" / "keys"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert KeyFolder.find().path == tmp_path / "xdg" / "ion" / "keys"
    monkeypatch.setenv("ION_KEYS", str(tmp_path / "keys"))
    assert KeyFolder.find().path == tmp_path / "keys"


def test_an_own_key_is_found_by_name_path_uri_or_because_it_is_the_only_one(
    folder: KeyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ION_KEY", raising=False)
    with pytest.raises(IonError) as error:
        folder.uri()
    assert error.value.code == "which-key"
    public = make_key(folder.private("anna"))
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    for named in ("", "anna", str(folder.private("anna")), file_uri(folder.private("anna"))):
        assert load_signer(folder.uri(named)).public == public == folder.public("anna")
    make_key(folder.private("ben"))
    assert folder.names() == ["anna", "ben"]
    with pytest.raises(IonError) as error:
        folder.uri()
    assert error.value.code == "which-key"
    monkeypatch.setenv("ION_KEY", "ben")
    assert folder.uri() == file_uri(folder.private("ben"))
    with pytest.raises(IonError) as error:
        folder.uri("carl")
    assert (error.value.code, error.value.hint) == ("key-missing", "there are: anna, ben")
    make_key(tmp_path / "elsewhere.pem")
    assert folder.uri(str(tmp_path / "elsewhere.pem")) == file_uri(tmp_path / "elsewhere.pem")


@pytest.mark.parametrize(
    "name",
    ["", "../anna", "a/b", ".anna", "-anna", "decision", "ledger", "root", "model", "a" * 65, "a.pem", "a.pub", "ä"],
)
def test_a_name_that_leads_elsewhere_or_means_something_else_is_refused(folder: KeyFolder, name: str) -> None:
    with pytest.raises(IonError) as error:
        folder.private(name)
    assert error.value.code == "bad-key-name"


def test_a_public_half_stands_beside_and_an_unwritable_folder_is_said(tmp_path: Path) -> None:
    public = make_key(tmp_path / "anna.pem")
    assert load_public(public_path(tmp_path / "anna.pem")) == public
    assert public_path(tmp_path / "id_ed25519").name == "id_ed25519.pub.pem"
    (tmp_path / "file").write_text("")
    with pytest.raises(IonError) as error:
        make_key(tmp_path / "file" / "anna.pem")
    assert error.value.code == "key-unwritable"


def test_the_probe_is_no_statement() -> None:
    """What a KMS signs when it is opened can never be taken for a DSSE envelope's signed bytes."""
    assert not keys_module.PROBE.startswith(b"DSSEv1 ")
