"""Ed25519 public keys: one byte form and so one id each, whatever file they come from."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ion.errors import IonError
from ion.evidence.files import read_regular, write_atomic
from ion.values import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

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

    @classmethod
    def of(cls, key: Ed25519PublicKey) -> PublicKey:
        """Return the key in its one form."""
        return cls(_der(key))

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


def load_public(path: Path) -> PublicKey:
    """Return the public key in a file: PEM, or one line as OpenSSH writes it (``ssh-ed25519 AAAA… comment``).

    Raises:
        IonError: ``key-missing`` or ``bad-key``, also for a file with more than one key or a private one.
    """
    try:
        data = read_regular(path, MAX_KEY_BYTES)
    except OSError as error:
        raise IonError("key-missing", f"cannot read the key {path}: {error.strerror}") from error
    if b"PRIVATE KEY-----" in data:
        raise IonError("bad-key", f"{path.name} holds a private key", "hand out the public half, NAME.pub.pem, only")
    try:
        key = _parse(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IonError("bad-key", f"{path.name} holds no public key in PEM or OpenSSH form") from error
    if not isinstance(key, Ed25519PublicKey):
        raise IonError("bad-key", f"{path.name} is not an ed25519 key")
    return PublicKey.of(key)


def write_public(path: Path, public: PublicKey) -> None:
    """Write the PEM form, mode 0644, replacing what is there; folders it needs are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, public.to_pem())


def _parse(data: bytes) -> object:
    if not data.lstrip().startswith(b"-----"):
        lines = [line for line in data.splitlines() if line.strip()]
        if len(lines) != 1:
            message = "not one line"
            raise ValueError(message)
        return serialization.load_ssh_public_key(lines[0].strip())
    if data.count(b"-----BEGIN") != 1:
        message = "not one key"
        raise ValueError(message)
    return serialization.load_pem_public_key(data)


def _der(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@lru_cache(maxsize=64)
def _verifier(der: bytes) -> SSlibKey:
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

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
