"""Input rows by position: what committed output points at, read again from the inbox."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from resources.flink.reading import read_file
from resources.flink.rows import unquoted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from resources.flink.columns import Source

_REMEMBERED_BYTES = 32 << 20


class InputRows:
    """The lines of inbox files; the files read last are remembered, up to 32 MiB.

    Lines end with a newline byte alone, as in Flink's line format.
    """

    def __init__(self, inbox: Path) -> None:
        self._inbox = inbox
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._held = 0

    def rows(self, file: str, lines: Sequence[int]) -> list[bytes | None]:
        """Return the lines (from 1) of ``file`` (as in output rows); None for what is gone."""
        held = _lines(self._file(file))
        return [held[line - 1] if 0 < line <= len(held) else None for line in lines]

    def span(self, file: str, first: int, last: int) -> bytes | None:
        """Return lines ``first`` to ``last`` (from 1) of ``file`` as they stand there; None if one is gone."""
        data = self._file(file)
        if first == 1 and last > 0 and data.endswith(b"\n") and data.count(b"\n") == last:
            return data[:-1]  # all of it: mostly so
        held = _lines(data)
        return b"\n".join(held[first - 1 : last]) if 0 < first <= last <= len(held) else None

    def _file(self, name: str) -> bytes:
        data = self._files.get(name)
        if data is not None:
            return data
        try:
            data = read_file(f"{self._inbox}/{unquoted(name) if '%' in name else name}")
        except OSError:
            return b""
        self._files[name] = data
        self._held += len(data)
        while self._held > _REMEMBERED_BYTES and len(self._files) > 1:
            self._held -= len(self._files.popitem(last=False)[1])
        return data


def _lines(data: bytes) -> list[bytes]:
    """Return the lines; the last may lack its line end."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


class ScoredInputs:
    """The input rows of some predictions and their scores, as columns.

    ``inputs`` are the rows as they stand in the inbox, one a line, an empty line for what is gone;
    ``missing`` counts those. ``scores`` has one for each.
    """

    def __init__(self, inbox: InputRows, source: Sequence[Source], scores: NDArray[np.float64]) -> None:
        pieces: list[bytes] = []
        self.missing = 0
        self.scores = scores
        for piece in source:
            whole = inbox.span(piece.file, piece.first, piece.last)
            if whole is None:
                single = inbox.rows(piece.file, range(piece.first, piece.last + 1))
                self.missing += single.count(None)
                whole = b"\n".join(text or b"" for text in single)
            pieces.append(whole)
        self.inputs = b"\n".join(pieces)

    def some(self, most: int) -> list[bytes]:
        """Return about ``most`` input rows, evenly spread, or all if there are fewer; none of what is gone."""
        count = len(self.scores)
        if count <= most:
            return [row for row in self.inputs.split(b"\n") if row]
        found = []
        for number in range(most):  # the row after some byte: looking for a row by its number costs much more
            start = self.inputs.find(b"\n", number * len(self.inputs) // most) + 1
            end = self.inputs.find(b"\n", start)
            found.append(self.inputs[start : end if end >= 0 else None])
        return [row for row in found if row]
