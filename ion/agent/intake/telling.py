"""What one line or event asks to be recorded, and the limits on what may be asked."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ion.canonical import canonical_bytes
from ion.errors import IonError
from ion.facts import GOVERNANCE_ONLY, KINDS, Fact, InputsCaptured, RowsQuarantined, StatisticsRecorded

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
"""Of the lines; docs/spec/intake.md."""

WITH_BLOCK: tuple[type[Fact], ...] = (StatisticsRecorded, InputsCaptured, RowsQuarantined)
"""Facts that name a block of bytes, which a line does not carry."""

TELLABLE: dict[str, type[Fact]] = {
    name: kind for name, kind in KINDS.items() if kind not in GOVERNANCE_ONLY and kind not in WITH_BLOCK
}
"""The facts that a line may tell as they are, by name."""


@dataclass(frozen=True, slots=True)
class Telling:
    """A fact to spool, the block it names, and the id by which telling it again changes nothing."""

    fact: Fact
    fact_id: str = ""
    block: bytes = b""


@dataclass(frozen=True, slots=True)
class Told:
    """What a line or an event asks for.

    Args:
        key: under which it is known when it comes again; empty where the sender gave no id.
        content: digest of all that was sent under this key.
        tellings: what to spool, in this order.
        answer: what the sender hears beside ``ok``.
    """

    key: str
    content: str
    tellings: tuple[Telling, ...]
    answer: Mapping[str, object] = field(default_factory=dict)


def read_object(text: bytes, code: str) -> dict[str, object]:
    """Return the JSON object in ``text``.

    Raises:
        IonError: ``code`` when it is not UTF-8, not one JSON object, names a field twice, or holds NaN.
    """
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_no_constant,
            parse_int=_number,
            parse_float=_number,
        )
    except (ValueError, RecursionError, IonError) as error:
        raise IonError(code, f"not JSON: {error}"[:300], "write one JSON object") from error
    if not isinstance(value, dict):
        raise IonError(code, f"a {type(value).__name__}, not a JSON object", "write one JSON object")
    return value


def checked_uuid(value: object, name: str, code: str) -> str:
    """Return a UUID in its usual form.

    Raises:
        IonError: ``code``.
    """
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError:
        raise IonError(code, f"{name} is no UUID: {value!r}"[:200], "make one with uuidgen") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        message = "a field stands twice"
        raise ValueError(message)
    return found


def _number(text: str) -> int | float:
    """Read a number as RFC 8785 writes it: it does not tell 1.0 from 1, nor an integer from 2^53 on from a float."""
    number = float(text)
    if number.is_integer() and abs(number) < 2**53:
        return int(number)
    if text.lstrip("-").isdecimal() and canonical_bytes(number) != text.encode():
        message = f"{text} would lose digits: tell it as a text"
        raise ValueError(message)
    return number


def _no_constant(text: str) -> object:
    message = f"{text} is no JSON"
    raise ValueError(message)
