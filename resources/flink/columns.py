"""Committed prediction files, column by column: thousands of rows are looked at without an object for each.

Apache Arrow's CSV reader parses the fields that facts need, and refuses a row that does not have eight.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from resources.flink.rows import Prediction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

FIELDS = ("epoch", "seq", "model", "line", "us", "score", "label", "file")
_MODEL = FIELDS.index("model")
_NAMES = ("epoch", "label", "file")
_NUMBERS = ("seq", "line", "us")
_LARGEST = 2**53


@dataclass(frozen=True, slots=True)
class Names:
    """A column of texts, most of them the same: ``texts[codes[row]]``."""

    texts: tuple[str, ...]
    codes: NDArray[np.int32]

    def __getitem__(self, row: int) -> str:
        return self.texts[self.codes[row]]

    def are(self, text: str) -> NDArray[np.bool_]:
        """Tell of each row whether it holds ``text``."""
        return self.codes == (self.texts.index(text) if text in self.texts else -1)

    def changes(self) -> NDArray[np.bool_]:
        """Tell of each row whether it differs from the row before; the first does."""
        differs = np.ones(len(self.codes), bool)
        differs[1:] = self.codes[1:] != self.codes[:-1]
        return differs


@dataclass(frozen=True, slots=True)
class Source:
    """Consecutive lines of one input file (as in output rows); ``first`` is from 1."""

    file: str
    first: int
    rows: int

    @property
    def last(self) -> int:
        """The last line."""
        return self.first + self.rows - 1


@dataclass(frozen=True, slots=True)
class Predictions:
    """Committed predictions as columns; ``data`` is the text, ``begin`` the number of the first row in it."""

    data: bytes
    begin: int
    epochs: Names
    seq: NDArray[np.int64]
    line: NDArray[np.int64]
    us: NDArray[np.int64]
    score: NDArray[np.float64]
    label: Names
    file: Names

    def __len__(self) -> int:
        return len(self.seq)

    def __iter__(self) -> Iterator[Prediction]:
        for text in self.data.decode().split("\n")[self.begin : self.begin + len(self)]:
            epoch, seq, model, line, us, score, label, file = text.split(",")
            yield Prediction(epoch, int(seq), model, int(line), int(us), float(score), label, file)

    @property
    def epoch(self) -> str:
        """The first row's epoch; of a range, that of all."""
        return self.epochs[0]

    @property
    def model(self) -> str:
        """The first row's model; of a range, that of all: an epoch has one."""
        return self.data.split(b"\n", self.begin + 1)[self.begin].split(b",")[_MODEL].decode()

    def part(self, start: int, end: int) -> Predictions:
        """Return rows ``start`` up to ``end``."""
        rows = slice(start, end)
        epochs, label, file = (Names(names.texts, names.codes[rows]) for names in (self.epochs, self.label, self.file))
        numbers = (column[rows] for column in (self.seq, self.line, self.us))
        return Predictions(self.data, self.begin + start, epochs, *numbers, self.score[rows], label, file)

    def ranges(self, places: Sequence[int] = ()) -> list[tuple[Predictions, list[Source]]]:
        """Cut where the epoch changes, where the sequence is not the next, and before the rows at ``places``.

        Each range comes with where it was read: `pieces`.
        """
        breaks = self.epochs.changes()
        breaks[1:] |= np.diff(self.seq) != 1
        breaks[[place for place in places if place < len(self)]] = True
        pieces = iter(self.pieces(breaks))
        found = []
        for start, end in pairwise([*np.flatnonzero(breaks).tolist(), len(self)]):
            sources, rows = [], start
            while rows < end:
                sources.append(next(pieces))
                rows += sources[-1].rows
            found.append((self.part(start, end), sources))
        return found

    def pieces(self, breaks: NDArray[np.bool_] | None = None) -> list[Source]:
        """Return where runs of consecutive lines of one input file stand, in order; cut also at ``breaks``."""
        if not len(self):
            return []
        ends = self.file.changes() if breaks is None else breaks | self.file.changes()
        ends[1:] |= np.diff(self.line) != 1
        cuts = np.flatnonzero(ends)
        rows = np.diff(cuts, append=len(self))
        columns = (column.tolist() for column in (self.file.codes[cuts], self.line[cuts], rows))
        return [Source(self.file.texts[code], first, count) for code, first, count in zip(*columns, strict=True)]


def read_predictions(data: bytes) -> Predictions:
    """Parse committed prediction files, joined.

    Raises:
        ValueError: they are not some.
    """
    import pyarrow as pa
    from pyarrow import csv

    if not data:
        none, empty = np.empty(0, np.int64), Names((), np.empty(0, np.int32))
        return Predictions(data, 0, empty, none, none, none, np.empty(0), empty, empty)
    if not data.endswith(b"\n"):
        raise ValueError("the last row is cut short")
    if b"\r" in data:  # Arrow would end a row there
        raise ValueError("a row holds a carriage return")
    kinds = {
        **dict.fromkeys(_NAMES, pa.dictionary(pa.int32(), pa.string())),
        **dict.fromkeys(_NUMBERS, pa.uint64()),
        "score": pa.float64(),
    }
    table = csv.read_csv(
        pa.py_buffer(data),
        csv.ReadOptions(use_threads=False, column_names=FIELDS, block_size=len(data) + 1),
        csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        csv.ConvertOptions(column_types=kinds, include_columns=list(kinds), null_values=[]),
    )
    columns = {name: table.column(name).combine_chunks() for name in kinds}
    seq, line, us = (columns[name].to_numpy() for name in _NUMBERS)
    if max(int(numbers.max()) for numbers in (seq, line, us)) > _LARGEST:
        raise ValueError("a number is too large")
    epochs, label, file = (_names(columns[name]) for name in _NAMES)
    score = columns["score"].to_numpy()
    return Predictions(data, 0, epochs, *(each.view(np.int64) for each in (seq, line, us)), score, label, file)


def _names(column: pa.DictionaryArray) -> Names:
    return Names(tuple(column.dictionary.to_pylist()), column.indices.to_numpy())
