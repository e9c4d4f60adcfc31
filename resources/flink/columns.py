"""Committed prediction files, column by column: a thousand rows are looked at without an object for each.

Every check that a row-by-row reader makes is made here on arrays: eight fields in each row, whole
numbers where there must be some, where the epoch or the input file changes, where the sequence jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import TYPE_CHECKING

import numpy as np

from resources.flink.rows import Prediction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

FIELDS = 8
_EPOCH, _SEQ, _MODEL, _LINE, _US, _SCORE, _LABEL, _FILE = range(FIELDS)
_COMMA, _NEWLINE, _ZERO, _NINE = b",\n09"
_LONGEST_NUMBER = 18
_LONGEST_COLUMN = 64
_WORD = 8
_POWERS = 10 ** np.arange(_LONGEST_NUMBER, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of one input file (as in output rows), and the lowest and highest of their lines (from 1)."""

    file: str
    first: int
    last: int
    rows: int


@dataclass(frozen=True, slots=True)
class Predictions:
    """Committed predictions: where each field stands in ``data``, and what was found of the rows.

    ``starts`` and ``ends`` are (rows, 8); ``seq`` and ``line`` (from 1) are (rows,). ``turns`` says of each
    row whether its input file is another one than the row before has.
    """

    data: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    seq: NDArray[np.int64]
    line: NDArray[np.int64]
    turns: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.seq)

    def __iter__(self) -> Iterator[Prediction]:
        for start, end in zip(self.starts[:, 0].tolist(), self.ends[:, -1].tolist(), strict=True):
            epoch, seq, model, line, us, score, label, file = self.data[start:end].decode().split(",")
            yield Prediction(epoch, int(seq), model, int(line), int(us), float(score), label, file)

    @property
    def epoch(self) -> str:
        """The first row's epoch; of a range, that of all."""
        return self._text(0, _EPOCH)

    @property
    def model(self) -> str:
        """The first row's model; of a range, that of all: an epoch has one."""
        return self._text(0, _MODEL)

    def us(self, row: int) -> int:
        """When a row was computed (µs).

        Raises:
            ValueError: the field is no whole number.
        """
        return int(self._text(row, _US))

    def scores(self) -> bytes:
        """Return the scores as written, each the shortest text of its double, one a line."""
        return self._lines(_SCORE)

    def labels(self) -> NDArray[np.bytes_]:
        """Return the labels as written, one for each row."""
        starts, widths = self.starts[:, _LABEL], self.ends[:, _LABEL] - self.starts[:, _LABEL]
        width = max(1, int(widths.max())) if len(self) else 1
        if width > _LONGEST_COLUMN:
            return np.array([self.data[a:b] for a, b in zip(starts.tolist(), (starts + widths).tolist(), strict=True)])
        places = np.arange(width)
        text = np.frombuffer(self.data, np.uint8)[np.minimum(starts[:, None] + places, len(self.data) - 1)]
        text[places >= widths[:, None]] = 0
        return text.view(f"S{width}").ravel()

    def part(self, start: int, end: int) -> Predictions:
        """Return rows ``start`` up to ``end``."""
        return self._picked(slice(start, end))

    def ranges(self) -> list[Predictions]:
        """Cut where the epoch changes or the sequence is not the next."""
        if not len(self):
            return []
        jumps = np.ones(len(self), bool)
        jumps[1:] = np.diff(self.seq) != 1
        return self._cut(jumps | _changes(self.data, self.starts[:, _EPOCH], self.ends[:, _EPOCH]))

    def split(self, places: Sequence[int]) -> list[Predictions]:
        """Cut at each of the rising ``places``, byte numbers of ``data``; no piece is empty."""
        cuts = sorted({0, *np.searchsorted(self.starts[:, 0], places).tolist(), len(self)})
        return list(starmap(self.part, pairwise(cuts)))

    def sources(self) -> list[Source]:
        """Return where each run of rows from one input file comes from, in order."""
        return self._sources(self.turns)

    def pieces(self) -> list[Source]:
        """Return the same, cut also where the lines do not follow each other: each holds all of its lines."""
        breaks = self.turns.copy()
        breaks[1:] |= np.diff(self.line) != 1
        return self._sources(breaks)

    def _sources(self, breaks: NDArray[np.bool_]) -> list[Source]:
        if not len(self):
            return []
        cuts = np.concatenate((np.zeros(1, np.int64), np.flatnonzero(breaks[1:]) + 1))
        rows = np.diff(cuts, append=len(self))
        firsts, lasts = np.minimum.reduceat(self.line, cuts), np.maximum.reduceat(self.line, cuts)
        starts, ends = self.starts[cuts, _FILE], self.ends[cuts, _FILE]
        columns = (column.tolist() for column in (starts, ends, firsts, lasts, rows))
        return [Source(self.data[a:b].decode(), *found) for a, b, *found in zip(*columns, strict=True)]

    def _picked(self, rows: slice) -> Predictions:
        columns = (self.starts, self.ends, self.seq, self.line, self.turns)
        starts, ends, seq, line, turns = (column[rows] for column in columns)
        return Predictions(self.data, starts, ends, seq, line, turns)

    def _cut(self, breaks: NDArray[np.bool_]) -> list[Predictions]:
        """Return the rows in pieces, each from a break to the next; the first row always begins one."""
        cuts = (np.flatnonzero(breaks[1:]) + 1).tolist()
        return [self.part(start, end) for start, end in pairwise([0, *cuts, len(self)])] if len(self) else []

    def _text(self, row: int, column: int) -> str:
        return self.data[self.starts[row, column] : self.ends[row, column]].decode()

    def _lines(self, column: int) -> bytes:
        """Return one column's texts, one a line, without a last line end."""
        starts, widths = self.starts[:, column], self.ends[:, column] - self.starts[:, column] + 1
        before = np.cumsum(widths)
        picked = np.repeat(starts - before + widths, widths) + np.arange(before[-1] if len(before) else 0)
        text = np.frombuffer(self.data, np.uint8)[picked]
        text[before - 1] = _NEWLINE
        return text[:-1].tobytes()


def read_predictions(data: bytes) -> Predictions:
    """Parse a committed prediction file.

    Raises:
        ValueError: it is not one.
    """
    if data and not data.endswith(b"\n"):
        raise ValueError("the last row is cut short")
    text = np.frombuffer(data, np.uint8)
    found = np.flatnonzero((text == _COMMA) | (text == _NEWLINE))
    rows = data.count(b"\n")
    if len(found) != FIELDS * rows or (text[found[FIELDS - 1 :: FIELDS]] != _NEWLINE).any():
        raise ValueError("a row does not have eight fields")
    starts = np.concatenate((np.zeros(1, np.int64), found[:-1] + 1)) if rows else found
    starts, ends = starts.reshape(rows, FIELDS), found.reshape(rows, FIELDS)
    seq, line = (_numbers(text, starts[:, column], ends[:, column]) for column in (_SEQ, _LINE))
    return Predictions(data, starts, ends, seq, line, _changes(data, starts[:, _FILE], ends[:, _FILE]))


def _numbers(text: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the decimal numbers that stand in ``text`` from ``starts`` to ``ends``."""
    widths = ends - starts
    if not len(widths):
        return widths
    longest = int(widths.max())
    if widths.min() < 1 or longest > _LONGEST_NUMBER:
        raise ValueError("a field that is no whole number")
    places = np.arange(longest)
    digits = text[np.maximum(ends[:, None] - 1 - places, 0)]
    digits = np.where(places < widths[:, None], digits, _ZERO)
    if digits.min() < _ZERO or digits.max() > _NINE:
        raise ValueError("a field that is no whole number")
    return (digits - _ZERO).astype(np.int64) @ _POWERS[:longest]


def _changes(data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell of each row whether its text, from ``starts`` to ``ends``, differs from that of the row before."""
    differs = np.ones(len(starts), bool)
    widths = ends - starts
    if not len(widths):
        return differs
    width = int(widths[0])
    if width < _WORD or (widths != width).any():
        texts = [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        differs[1:] = [after != before for before, after in pairwise(texts)]
        return differs
    # Eight bytes at a time, from wherever they stand; the last word overlaps the one before.
    words = np.ndarray((len(data) - _WORD + 1,), "<u8", data, strides=(1,))
    found = words[starts[:, None] + np.array([*range(0, width - _WORD, _WORD), width - _WORD])]
    differs[1:] = (found[1:] != found[:-1]).any(axis=1)
    return differs
