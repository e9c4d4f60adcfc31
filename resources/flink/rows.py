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
from itertools import compress, islice, pairwise
from operator import ne
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


@dataclass(frozen=True, slots=True)
class Predictions:
    """Committed predictions as columns of one length: rows are many, and most are only counted.

    Field by field as in `Prediction`; ``score`` keeps the text, which is the float's shortest form.
    """

    epoch: Sequence[str]
    seq: Sequence[int]
    model: Sequence[str]
    line: Sequence[int]
    us: Sequence[int]
    score: Sequence[str]
    label: Sequence[str]
    file: Sequence[str]

    def __len__(self) -> int:
        return len(self.seq)

    def part(self, start: int, end: int) -> Predictions:
        """Return rows ``start`` up to ``end``."""
        return Predictions(
            self.epoch[start:end],
            self.seq[start:end],
            self.model[start:end],
            self.line[start:end],
            self.us[start:end],
            self.score[start:end],
            self.label[start:end],
            self.file[start:end],
        )

    def every(self, step: int) -> Predictions:
        """Return each ``step``-th row, from the first."""
        columns = (self.epoch, self.seq, self.model, self.line, self.us, self.score, self.label, self.file)
        epoch, seq, model, line, us, score, label, file = (column[::step] for column in columns)
        return Predictions(epoch, seq, model, line, us, score, label, file)

    def __iter__(self) -> Iterator[Prediction]:
        scores = map(float, self.score)
        columns = (self.epoch, self.seq, self.model, self.line, self.us, scores, self.label, self.file)
        return (Prediction(*row) for row in zip(*columns, strict=True))

    def ranges(self) -> list[Predictions]:
        """Cut where the epoch changes or the sequence is not the next."""
        count = len(self)
        whole = len(set(self.epoch)) == 1 and list(self.seq) == list(range(self.seq[0], self.seq[0] + count))
        if whole or not count:
            return [self] if count else []
        keys = list(zip(self.epoch, self.seq, strict=True))
        cuts = [index for index, ((before, seq), key) in enumerate(pairwise(keys), start=1) if key != (before, seq + 1)]
        return [self.part(start, end) for start, end in pairwise([0, *cuts, count])]

    def files(self) -> list[tuple[str, Sequence[int]]]:
        """Return ``(file, lines)`` for each run of rows from one input file, in order."""
        count = len(self)
        cuts = compress(range(1, count), map(ne, islice(self.file, 1, None), self.file))
        return [(self.file[start], self.line[start:end]) for start, end in pairwise([0, *cuts, count]) if end]


def read_predictions(data: bytes) -> Predictions:
    """Parse a committed prediction file.

    Raises:
        ValueError: it is not one.
    """
    text = data.decode()
    if text and not text.endswith("\n"):
        raise ValueError("the last row is cut short")
    count = text.count("\n")
    # Newlines become fields of their own: where every ninth field is one, every row has eight.
    fields = text.replace("\n", ",\n,").split(",")
    if fields[8::9].count("\n") != count or len(fields) != 9 * count + 1:
        raise ValueError("a row does not have eight fields")
    epoch, seq, model, line, us, score, label, file = (fields[column : 9 * count : 9] for column in range(8))
    return Predictions(epoch, list(map(int, seq)), model, list(map(int, line)), list(map(int, us)), score, label, file)


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
