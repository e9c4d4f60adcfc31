"""The three row forms of a streaming node: patients in, predictions out, rows set aside.

- patient: comma-separated numbers, one per feature in the model's order.
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


def quoted(text: str) -> str:
    """Return the text with everything that could break a row encoded; a path's slashes stay."""
    return quote(text, safe="/ :@!$&'()*+;=~")


def read_predictions(data: bytes) -> list[Prediction]:
    """Parse a committed prediction file.

    Raises:
        ValueError: it is not one.
    """
    found = []
    for row in data.decode().split("\n")[:-1]:
        epoch, seq, model, line, us, score, label, file = row.split(",")
        found.append(Prediction(epoch, int(seq), model, int(line), int(us), float(score), label, file))
    return found


def read_set_aside(data: bytes) -> list[SetAside]:
    """Parse a committed quarantine file.

    Raises:
        ValueError: it is not one.
    """
    found = []
    for row in data.decode().split("\n")[:-1]:
        epoch, line, reason, file = row.split(",")
        found.append(SetAside(epoch, int(line), reason, file))
    return found


def unquoted(text: str) -> str:
    """Undo `quoted`."""
    return unquote(text)
