"""Ed25519 keys that sign: made once, readable by one user, addressed by URI."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ion.errors import IonError
from ion.evidence.files import read_regular, write_new
from ion.evidence.public_keys import MAX_KEY_BYTES, PublicKey, load_public, write_public
from ion.values import dataclass

if TYPE_CHECKING:
    from securesystemslib.signer import Signer as Backend  # type: ignore[attr-defined]

__all__ = [
    "MAX_KEY_BYTES",
    "Ask",
    "PublicKey",
    "Signer",
    "create_key",
    "load_public",
    "load_signer",
    "write_public",
]

Ask = Callable[[str], str]
"""Gets a secret from a person; the argument says which one."""

PROBE = b"dagster-ion: does this key sign what its public half verifies?"


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that signs. The private part stays in ``backend``, which has no repr."""

    public: PublicKey
    backend: Backend = field(repr=False)

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> Signer:
        """Return a signer with this private key."""
        from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

        public = PublicKey.of(private.public_key())
        return cls(public, CryptoSigner(private, public.verifier()))

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte ed25519 signature of ``data`` (RFC 8032)."""
        return bytes.fromhex(self.backend.sign(data).signature)


def create_key(path: Path, passphrase: str = "") -> PublicKey:
    """Make a private key: PKCS8 PEM, mode 0600, whole or absent; folders it needs are made 0700.

    Raises:
        IonError: ``key-exists``; a key is never replaced.
    """
    private = Ed25519PrivateKey.generate()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        write_new(path, _pem(private, passphrase), mode=0o600)
    except FileExistsError as error:
        raise IonError("key-exists", f"there is a key at {path}", "load it; move it away to make another") from error
    return PublicKey.of(private.public_key())


def _pem(private: Ed25519PrivateKey, passphrase: str) -> bytes:
    if passphrase:
        from ion.evidence.sealed_key import sealed_pkcs8

        return sealed_pkcs8(private, passphrase)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return private.private_bytes(encoding, form, serialization.NoEncryption())


def load_signer(uri: str, ask: Ask | None = None) -> Signer:
    """Return the signer a URI names.

    ``file:/absolute/path`` is a private key of mode 0600, PKCS8 PEM or OpenSSH. Another scheme is one that
    securesystemslib knows (``hv:`` for Vault, or one registered with it), followed by ``#`` and the path of
    the public key: ``hv:ion-decision/1#/etc/ion/decision.pub.pem``. docs/how-to/keys-and-trust.md.

    Args:
        uri: what signs, and where it is.
        ask: asked for a passphrase where ``ION_KEY_PASSPHRASE`` does not open the key.

    Raises:
        IonError: ``signer-scheme``, ``signer-failed``, ``key-missing``, ``key-permissions``,
            ``key-passphrase``, ``extra-missing`` or ``bad-key``.
    """
    scheme = urlsplit(uri).scheme
    if scheme in _SCHEMES:
        return _SCHEMES[scheme](uri, ask)
    # `file2:` is a private key file, too, but read without a look at who else may read it.
    from securesystemslib.signer import SIGNER_FOR_URI_SCHEME  # type: ignore[attr-defined]

    if scheme in SIGNER_FOR_URI_SCHEME and scheme != "file2":
        return _load_foreign(scheme, uri, ask)
    known = ", ".join(f"{name}:" for name in (*_SCHEMES, *SIGNER_FOR_URI_SCHEME) if name != "file2")
    raise IonError("signer-scheme", f"no signer for {scheme or 'a URI without scheme'!r}", f"known: {known}")


def _load_file(uri: str, ask: Ask | None) -> Signer:
    parts = urlsplit(uri)
    path = Path(unquote(parts.path))
    if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment or not path.is_absolute():
        raise IonError("signer-scheme", "a file: signer needs an absolute local path", "write file:/path/to/key.pem")
    try:
        data = read_regular(path, MAX_KEY_BYTES, private=True)
    except OSError as error:
        raise IonError("key-missing", f"cannot read the key {path}: {error.strerror}") from error
    key = _parse(data, path.name, ask)
    if not isinstance(key, Ed25519PrivateKey):
        raise IonError("bad-key", f"{path.name} is not an ed25519 key", "`ion keys new` makes one")
    return Signer.of(key)


_SCHEMES: dict[str, Callable[[str, Ask | None], Signer]] = {"file": _load_file}
"""Ours; securesystemslib's own table holds the others."""


def _parse(data: bytes, name: str, ask: Ask | None) -> object:
    """Return the private key. Errors have no cause: a parser's message may quote the key."""
    openssh = b"-----BEGIN OPENSSH PRIVATE KEY-----" in data
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    try:
        return load(data, None)
    except TypeError:
        pass  # it asks for a passphrase
    except (ValueError, UnsupportedAlgorithm):
        raise IonError("bad-key", f"{name} holds no private key in PKCS8 PEM or OpenSSH form") from None
    for source in (_passphrase_set, ask):
        secret = source(name) if source is not None else ""
        try:
            if secret:
                return load(data, secret.encode())
        except UnsupportedAlgorithm:
            hint = "install bcrypt, or make a key with `ion keys new`"
            raise IonError("extra-missing", f"{name}: an encrypted OpenSSH key needs bcrypt", hint) from None
        except (ValueError, TypeError):
            continue
    hint = "set ION_KEY_PASSPHRASE, or type it where you are asked"
    raise IonError("key-passphrase", f"{name} is under a passphrase, and none that opens it was given", hint)


def _passphrase_set(_name: str) -> str:
    return os.environ.get("ION_KEY_PASSPHRASE", "")


def _load_foreign(scheme: str, uri: str, ask: Ask | None) -> Signer:
    """Return a signer of securesystemslib's, once it has signed something that its public key verifies."""
    location, _, public_file = uri.partition("#")
    if not Path(unquote(public_file)).is_absolute():
        hint = f"{location}#/path/to/key.pub.pem"
        raise IonError("signer-scheme", f"a {scheme}: signer needs its public key as a file after a #", hint)
    public = load_public(Path(unquote(public_file)))
    try:
        from securesystemslib.signer import Signer as Loading  # type: ignore[attr-defined]

        backend = Loading.from_priv_key_uri(location, public.verifier(), ask)
        signature = backend.sign(PROBE)
    except Exception as error:  # what a KMS raises is its own
        hint = "check its address and your right to sign with it"
        message = f"the {scheme}: signer cannot be used: {type(error).__name__}: {error}"[:300]
        raise IonError("signer-failed", message, hint) from error
    try:
        public.verifier().verify_signature(signature, PROBE)
    except Exception as error:
        hint = "give the ed25519 public key that belongs to it"
        raise IonError("bad-key", f"{Path(public_file).name} does not verify what {location} signs", hint) from error
    return Signer(public, backend)
