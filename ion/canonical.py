"""The one place where values become hashed bytes: RFC 8785 JSON and SHA-256."""

from __future__ import annotations

import hashlib
import json
import re

import rfc8785

from ion.errors import IonError

_SIMPLE = frozenset({str, bool, type(None)})
_SIMPLE_OR_INTEGER = _SIMPLE | {int}
_WRITER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
_LARGEST = 2**53 - 1
_SMALLEST = 1e-4
"""Python writes smaller floats with an exponent, RFC 8785 only those under 1e-6."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


def canonical_bytes(value: object) -> bytes:
    """Return the RFC 8785 form of a JSON value.

    Raises:
        IonError: ``not-canonical`` for NaN, infinities, integers beyond 2^53, lone surrogates or foreign types.
    """
    try:
        return _quickly(value) or rfc8785.dumps(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError) as error:
        raise IonError("not-canonical", f"value has no canonical JSON form: {error}") from error


def _quickly(value: object) -> bytes:
    """Return what `rfc8785.dumps` would, several times faster; empty for what is left to it to write or refuse.

    Python's own writer differs from RFC 8785 in the order of keys beyond ASCII, in integers beyond 2^53, and
    in floats that are whole or need an exponent; in nothing else, and a property test holds it to that.
    """
    try:
        text = _WRITER.encode(_plain(value))
    except _OtherError:
        return b""
    return text.encode("ascii") if text.isascii() else b""


class _OtherError(Exception):
    """A value that Python writes otherwise than RFC 8785, or that JSON does not have."""


def _plain(value: object) -> object:
    """Return a value that Python writes as RFC 8785 does: of JSON's own types exactly, whole floats as integers."""
    kind = type(value)
    if kind in _SIMPLE:
        return value
    if isinstance(value, int | float) and kind in {int, float}:
        return _number(value)
    if isinstance(value, dict) and kind is dict and set(map(type, value)) <= {str}:
        members = value.values()
        kinds = set(map(type, members))
        simple = kinds <= _SIMPLE or (
            kinds <= _SIMPLE_OR_INTEGER
            and all(-_LARGEST <= member <= _LARGEST for member in members if type(member) is int)
        )
        return value if simple else {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple) and kind in {list, tuple}:
        kinds = set(map(type, value))
        if kinds <= _SIMPLE or (kinds == {int} and min(value) >= -_LARGEST and max(value) <= _LARGEST):
            return value
        each = _number if kinds == {float} else _plain
        return [each(member) for member in value]
    raise _OtherError


def _number(value: float) -> float:
    if isinstance(value, int) or value.is_integer():
        if -_LARGEST <= value <= _LARGEST:
            return int(value)
    elif value >= _SMALLEST or value <= -_SMALLEST:
        return value
    raise _OtherError


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
