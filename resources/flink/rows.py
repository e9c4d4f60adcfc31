"""The three row forms of a streaming node: patients in, predictions out, rows set aside.

- patient: comma-separated numbers, one per feature in the model's order. Where the node declares a data
  subject, the row begins with the person's id, as a field of its own.
- prediction: ``epoch,seq,model,line,us,score,label,file``
- set aside: ``epoch,line,reason,file``

``file`` (relative to the inbox) and ``line`` (from 1) are where the patient stands; text that could
break a line is percent-encoded. Output holds no patient data: readers go back to the position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote

Reason = Literal["empty", "short", "extra-column", "malformed", "non-finite"]


@dataclass(frozen=True, slots=True)
class Unscorable:
    """Why a row cannot be scored: a value, never an exception."""

    reason: Reason


class Prediction(NamedTuple):
    """One committed prediction; ``us`` is when it was computed."""

    epoch: str
    seq: int
    model: str
    line: int
    us: int
    score: float
    label: str
    file: str


class SetAside(NamedTuple):
    """One committed row that could not be scored."""

    epoch: str
    line: int
    reason: str
    file: str


def parse_patient(text: str | None, features: int) -> list[float] | Unscorable:
    """Return the row's numbers, or why it has none."""
    if text is None or not text.strip():
        return Unscorable("empty")
    parts = text.split(",")
    if len(parts) != features:
        return Unscorable("short" if len(parts) < features else "extra-column")
    try:
        values = list(map(float, parts))
    except ValueError:
        return Unscorable("malformed")
    if "_" in text:  # float() takes 1_000, CSV does not
        return Unscorable("malformed")
    # A sum is finite unless a member is not, or the sum itself overflows.
    if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
        return Unscorable("non-finite")
    return values


def subject_of(row: bytes) -> bytes:
    """Return the person's id of a row that begins with it."""
    return row.partition(b",")[0]


def without_subject(row: bytes) -> bytes:
    """Return what follows the person's id."""
    return row.partition(b",")[2]


def quoted(text: str) -> str:
    """Return the text with everything that could break a row encoded; a path's slashes stay."""
    return quote(text, safe="/ :@!$&'()*+;=~")


def read_set_aside(data: bytes) -> list[SetAside]:
    """Parse a committed quarantine file.

    Raises:
        ValueError: it is not one.
    """
    found = []
    rows = data.decode().split("\n")
    if rows.pop():
        raise ValueError("the last row is cut short")
    for row in rows:
        epoch, line, reason, file = row.split(",")
        found.append(SetAside(epoch, int(line), reason, file))
    return found


def unquoted(text: str) -> str:
    """Undo `quoted`."""
    return unquote(text)
