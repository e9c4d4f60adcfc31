"""The one place where values become hashed bytes: RFC 8785 JSON and SHA-256."""

from __future__ import annotations

import hashlib
import re

import rfc8785

from ion.errors import IonError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


def canonical_bytes(value: object) -> bytes:
    """Return the RFC 8785 form of a JSON value.

    Raises:
        IonError: ``not-canonical`` for NaN, infinities, integers beyond 2^53, lone surrogates or foreign types.
    """
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError) as error:
        raise IonError("not-canonical", f"value has no canonical JSON form: {error}") from error


def digest_bytes(data: bytes | memoryview) -> str:
    """Return ``sha256:<hex>`` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_json(value: object) -> str:
    """Return ``sha256:<hex>`` of the value's RFC 8785 form."""
    return digest_bytes(canonical_bytes(value))


def checked_digest(text: object) -> str:
    """Return ``text`` if it has the form ``sha256:<64 hex>``.

    Raises:
        IonError: ``bad-digest`` otherwise.
    """
    if isinstance(text, str) and _DIGEST.match(text):
        return text
    raise IonError("bad-digest", f"not a sha256 digest: {text!r}"[:120])
