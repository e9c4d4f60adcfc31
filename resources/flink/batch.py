"""Committed prediction files that are told together, read as if they were one.

Looking at columns costs about as much for one file as for five, so the files of a batch are parsed in one
pass. One that is damaged never hides in its neighbours: then each is parsed by itself.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Self

from ion.canonical import digest_bytes
from resources.flink.columns import Predictions, Source, read_predictions
from resources.flink.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One committed file: its name below the node's folder, and what it holds."""

    name: str
    digest: str
    data: bytes

    @classmethod
    def read(cls, root: Path, name: str) -> Self:
        """Read the file.

        Raises:
            OSError: it is not there, or cannot be read.
        """
        data = read_file(f"{root}/{name}")
        return cls(name, digest_bytes(data), data)


@dataclass(frozen=True, slots=True)
class JoinedFiles:
    """Predictions of several files, one after the other; ``starts`` is the row with which each file begins.

    ``damaged`` are files that are no prediction files, and why; their rows are left out.
    """

    rows: Predictions
    files: Sequence[OutputFile]
    starts: Sequence[int]
    damaged: Sequence[tuple[OutputFile, Exception]]

    @classmethod
    def of(cls, files: Sequence[OutputFile]) -> Self:
        """Parse the files."""
        damaged: list[tuple[OutputFile, Exception]] = []
        try:
            rows = _read(files)
        except ValueError:
            whole = []
            for file in files:
                try:
                    read_predictions(file.data)
                    whole.append(file)
                except ValueError as error:
                    damaged.append((file, error))
            files, rows = whole, _read(whole)
        return cls(rows, files, [0, *accumulate(file.data.count(b"\n") for file in files)], damaged)

    def parts(self) -> list[tuple[OutputFile, Predictions, list[Source]]]:
        """Return consecutive predictions of one epoch and one file, and where their inputs stand, in order."""
        ranges = self.rows.ranges(self.starts)
        return [(self.files[bisect_right(self.starts, rows.begin) - 1], rows, inputs) for rows, inputs in ranges]


def _read(files: Sequence[OutputFile]) -> Predictions:
    for file in files:
        if file.data and not file.data.endswith(b"\n"):  # or its last row and the next file's first would be one
            raise ValueError("the last row is cut short")
    return read_predictions(b"".join(file.data for file in files))
