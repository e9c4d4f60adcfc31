"""Ed25519 keys: made once, readable by one user, addressed by URI."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from ion.errors import IonError
from ion.evidence.files import read_regular, write_atomic, write_new

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_KEY_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An ed25519 public key as DER SubjectPublicKeyInfo (RFC 8410).

    Raises:
        IonError: ``bad-key`` for other bytes, also for another encoding of a key.
    """

    der: bytes

    def __post_init__(self) -> None:
        """Insist on the one DER form, so that a key cannot have two ids."""
        if _der(_load_der(self.der)) != self.der:
            raise IonError("bad-key", "the public key is not in DER form")

    @property
    def key_id(self) -> str:
        """``sha256:<hex>`` of the DER form: one id per key, whatever file it came from."""
        return "sha256:" + hashlib.sha256(self.der).hexdigest()

    def to_pem(self) -> bytes:
        """Return the PEM form that openssl reads."""
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return _load_der(self.der).public_bytes(encoding, form)

    def verifier(self) -> SSlibKey:
        """Return the key as securesystemslib checks signatures with it, under its true id."""
        return _verifier(self.der)


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that signs. The private part stays in ``backend``, which has no repr."""

    public: PublicKey
    backend: CryptoSigner = field(repr=False)

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> Signer:
        """Return a signer with this private key."""
        public = PublicKey(_der(private.public_key()))
        return cls(public, CryptoSigner(private, public.verifier()))

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte ed25519 signature of ``data`` (RFC 8032)."""
        return bytes.fromhex(self.backend.sign(data).signature)


def create_key(path: Path) -> PublicKey:
    """Make a private key: PKCS8 PEM, mode 0600, whole or absent; folders it needs are made 0700.

    Raises:
        IonError: ``key-exists``; a key is never replaced.
    """
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        write_new(path, pem, mode=0o600)
    except FileExistsError as error:
        raise IonError("key-exists", f"there is a key at {path}", "load it; move it away to make another") from error
    return PublicKey(_der(private.public_key()))


def load_signer(uri: str) -> Signer:
    """Return the signer a URI names; ``file:/absolute/path`` is a PKCS8 PEM file of mode 0600.

    Raises:
        IonError: ``signer-scheme``, ``key-missing``, ``key-permissions`` or ``bad-key``.
    """
    scheme = urlsplit(uri).scheme
    if scheme not in _SCHEMES:
        known = ", ".join(f"{name}:" for name in _SCHEMES)
        raise IonError("signer-scheme", f"no signer for {scheme or 'a URI without scheme'!r}", f"known: {known}")
    return _SCHEMES[scheme](uri)


def load_public(path: Path) -> PublicKey:
    """Return the public key in a PEM file.

    Raises:
        IonError: ``key-missing`` or ``bad-key``.
    """
    try:
        key = serialization.load_pem_public_key(_read(path, private=False))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IonError("bad-key", f"{path.name} holds no public key in PEM form") from error
    if not isinstance(key, Ed25519PublicKey):
        raise IonError("bad-key", f"{path.name} is not an ed25519 key")
    return PublicKey(_der(key))


def write_public(path: Path, public: PublicKey) -> None:
    """Write the PEM form, mode 0644, replacing what is there; folders it needs are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, public.to_pem())


def _load_file(uri: str) -> Signer:
    parts = urlsplit(uri)
    path = Path(unquote(parts.path))
    if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment or not path.is_absolute():
        raise IonError("signer-scheme", "a file: signer needs an absolute local path", "write file:/path/to/key.pem")
    try:
        key = serialization.load_pem_private_key(_read(path, private=True), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # No cause: a parser's message may quote the key.
        raise IonError("bad-key", f"{path.name} holds no private key in PKCS8 PEM form") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise IonError("bad-key", f"{path.name} is not an ed25519 key")
    return Signer.of(key)


_SCHEMES: dict[str, Callable[[str], Signer]] = {"file": _load_file}


def _read(path: Path, *, private: bool) -> bytes:
    try:
        return read_regular(path, MAX_KEY_BYTES, private=private)
    except OSError as error:
        raise IonError("key-missing", f"cannot read the key {path}: {error.strerror}") from error


def _der(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@lru_cache(maxsize=64)
def _verifier(der: bytes) -> SSlibKey:
    key_id = "sha256:" + hashlib.sha256(der).hexdigest()
    return SSlibKey.from_crypto(_load_der(der), keyid=key_id)


def _load_der(der: bytes) -> Ed25519PublicKey:
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IonError("bad-key", "not a public key in DER form") from error
    if not isinstance(key, Ed25519PublicKey):
        raise IonError("bad-key", "not an ed25519 public key")
    return key
