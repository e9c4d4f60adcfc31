"""Strict reading of JSON that was hashed or signed: one byte form per value, no unknown field."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from ion.canonical import canonical_bytes, checked_digest
from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_INTEGER = (1 << 53) - 1
"""The largest integer JSON numbers carry exactly (RFC 8785, section 3.2.2.3)."""

Choice = TypeVar("Choice", bound=str)


def parse_canonical(data: bytes, limit: int, what: str) -> dict[str, object]:
    """Return the JSON object whose RFC 8785 form is exactly ``data``.

    Comparing with the canonical form leaves no room for duplicate keys, padding, another escape or
    another spelling of a number: two byte strings never mean the same object.

    Raises:
        IonError: ``bad-json``.
    """
    if len(data) > limit:
        raise IonError("bad-json", f"{what} is larger than {limit} bytes")
    try:
        value = json.loads(data.decode("utf-8"), parse_int=_number)
        canonical = canonical_bytes(value) == data
    except (ValueError, RecursionError, IonError) as error:
        raise IonError("bad-json", f"{what} is not canonical JSON") from error
    if not isinstance(value, dict) or not canonical:
        raise IonError("bad-json", f"{what} is not an object in canonical JSON form (RFC 8785)")
    return cast("dict[str, object]", value)


def _number(text: str) -> int | float:
    """Read an integer literal; RFC 8785 also writes the floats from 2^53 to 1e21 as such."""
    number = int(text)
    return number if abs(number) <= MAX_INTEGER else float(text)


def is_digest(value: object) -> bool:
    """Say whether ``value`` has the form ``sha256:<64 hex>``."""
    try:
        checked_digest(value)
    except IonError:
        return False
    return True


@dataclass(slots=True)
class Fields:
    """Reads the fields of one JSON object by type, and then insists that none is left over.

    Args:
        values: the object.
        what: how errors name it.
        code: the error code of a field that is missing, of another type or unknown.
    """

    values: Mapping[str, object]
    what: str
    code: str
    _read: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, value: object, what: str, code: str) -> Fields:
        """Return a reader of ``value``, which must be an object."""
        if not isinstance(value, dict):
            raise IonError(code, f"{what} is not an object")
        return cls(cast("dict[str, object]", value), what, code)

    def whole(self) -> dict[str, object]:
        """Return the object itself."""
        return dict(self.values)

    def fail(self, message: str) -> IonError:
        """Return the error to raise for this object."""
        return IonError(self.code, f"{self.what}: {message}")

    def take(self, name: str) -> object:
        """Return the raw value of a required field."""
        self._read.add(name)
        if name not in self.values:
            raise self.fail(f"field {name!r} is missing")
        return self.values[name]

    def text(self, name: str) -> str:
        """Return a non-empty string."""
        value = self.take(name)
        if not isinstance(value, str) or not value:
            raise self.fail(f"field {name!r} is not a non-empty string")
        return value

    def string(self, name: str) -> str:
        """Return a string, which may be empty."""
        value = self.take(name)
        if not isinstance(value, str):
            raise self.fail(f"field {name!r} is not a string")
        return value

    def literal(self, name: str, expected: str) -> None:
        """Check a field that has one legal value."""
        if self.take(name) != expected:
            raise self.fail(f"field {name!r} is not {expected!r}")

    def choice(self, name: str, choices: tuple[Choice, ...]) -> Choice:
        """Return one of ``choices``."""
        value = self.take(name)
        for candidate in choices:
            if value == candidate:
                return candidate
        raise self.fail(f"field {name!r} is not one of {', '.join(choices)}")

    def integer(self, name: str) -> int:
        """Return an integer from 0 to 2^53 - 1."""
        value = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INTEGER:
            raise self.fail(f"field {name!r} is not an integer from 0 to 2^53 - 1")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            raise self.fail(f"field {name!r} is neither true nor false")
        return value

    def digest(self, name: str) -> str:
        """Return a ``sha256:<hex>`` digest."""
        value = self.text(name)
        if not is_digest(value):
            raise self.fail(f"field {name!r} is not a sha256 digest")
        return value

    def optional_digest(self, name: str) -> str | None:
        """Return a ``sha256:<hex>`` digest, or None where the field is null."""
        return None if self.take(name) is None else self.digest(name)

    def items(self, name: str) -> list[object]:
        """Return a list."""
        value = self.take(name)
        if not isinstance(value, list):
            raise self.fail(f"field {name!r} is not a list")
        return cast("list[object]", value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""
        values = self.items(name)
        if not all(isinstance(value, str) for value in values):
            raise self.fail(f"field {name!r} is not a list of strings")
        return tuple(cast("list[str]", values))

    def inner(self, name: str) -> Fields:
        """Return a reader of a nested object."""
        return Fields.of(self.take(name), f"{self.what}.{name}", self.code)

    def done(self) -> None:
        """Refuse fields nobody read."""
        unknown = sorted(set(self.values) - self._read)
        if unknown:
            raise self.fail(f"unknown field {unknown[0]!r}")
