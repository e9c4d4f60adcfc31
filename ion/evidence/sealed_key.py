"""A private key under a passphrase: PKCS8 that openssl opens, slow to guess.

Sources: RFC 5958 (EncryptedPrivateKeyInfo), RFC 8018 (PBES2, PBKDF2). The library that reads it writes the
same form with 2,048 rounds only, and takes no other number; so the envelope is written here.
"""

from __future__ import annotations

import os
from base64 import b64encode
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROUNDS = 600_000
"""About a third of a second to open. OWASP's number for PBKDF2 with HMAC-SHA256 (2023)."""

# Object identifiers as DER, tag and length included.
_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("06082a864886f70d0209")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
_INTEGER, _OCTETS, _NULL, _SEQUENCE = 0x02, 0x04, b"\x05\x00", 0x30


def sealed_pkcs8(private: Ed25519PrivateKey, passphrase: str) -> bytes:
    """Return the key as PEM (``ENCRYPTED PRIVATE KEY``): PBKDF2-HMAC-SHA256, then AES-256-CBC."""
    salt, start = os.urandom(16), os.urandom(16)
    key = PBKDF2HMAC(hashes.SHA256(), 32, salt, ROUNDS).derive(passphrase.encode())
    plain = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pad = padding.PKCS7(128).padder()
    cipher = Cipher(algorithms.AES(key), modes.CBC(start)).encryptor()
    sealed = cipher.update(pad.update(plain) + pad.finalize()) + cipher.finalize()
    rounds = _der(_INTEGER, ROUNDS.to_bytes(4, "big").lstrip(b"\0"))  # positive: the top bit is clear
    derivation = _sequence(_der(_OCTETS, salt), rounds, _sequence(_HMAC_SHA256, _NULL))
    scheme = _sequence(_sequence(_PBKDF2, derivation), _sequence(_AES_256_CBC, _der(_OCTETS, start)))
    return _pem(_sequence(_sequence(_PBES2, scheme), _der(_OCTETS, sealed)))


def _sequence(*parts: bytes) -> bytes:
    return _der(_SEQUENCE, b"".join(parts))


def _der(tag: int, content: bytes) -> bytes:
    """Return one DER value; nothing here reaches 256 bytes."""
    size = len(content)
    length = bytes([size]) if size < 0x80 else bytes([0x81, size])  # noqa: PLR2004 - X.690, 8.1.3
    return bytes([tag]) + length + content


def _pem(der: bytes) -> bytes:
    text = b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(
        ["-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, "-----END ENCRYPTED PRIVATE KEY-----", ""]
    ).encode()
