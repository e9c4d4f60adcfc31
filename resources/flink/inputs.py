"""Input rows by position: what committed output points at, read again from the inbox."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from resources.flink.rows import unquoted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from resources.flink.columns import Source

_REMEMBERED_BYTES = 32 << 20
_NEWLINE = ord("\n")


@dataclass(frozen=True, slots=True)
class _File:
    """One inbox file; ``bounds[n]`` is where line ``n + 1`` starts. A last line may lack its line end."""

    data: bytes
    bounds: NDArray[np.int64]

    @property
    def lines(self) -> int:
        return len(self.bounds) - 1

    def span(self, first: int, last: int) -> bytes:
        """Return lines ``first`` to ``last`` (from 1) with the line ends between them."""
        return self.data[self.bounds[first - 1] : self.bounds[last] - 1]


_GONE = _File(b"", np.zeros(1, np.int64))


class InputRows:
    """The lines of inbox files; the files read last are remembered, up to 32 MiB.

    Lines end with a newline byte alone, as in Flink's line format.
    """

    def __init__(self, inbox: Path) -> None:
        self._inbox = inbox
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._held = 0

    def rows(self, file: str, lines: Sequence[int]) -> list[bytes | None]:
        """Return the lines (from 1) of ``file`` (as in output rows); None for what is gone."""
        held = self._file(file)
        return [held.span(line, line) if 0 < line <= held.lines else None for line in lines]

    def span(self, file: str, first: int, last: int) -> bytes | None:
        """Return lines ``first`` to ``last`` (from 1) of ``file`` as they stand there; None if one is gone."""
        held = self._file(file)
        return held.span(first, last) if 0 < first <= last <= held.lines else None

    def _file(self, name: str) -> _File:
        held = self._files.get(name)
        if held is not None:
            return held
        try:
            path = f"{self._inbox}/{unquoted(name) if '%' in name else name}"
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - ten times a second
                data = file.read()
        except OSError:
            return _GONE
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE) + 1
        rest = [] if data.endswith(b"\n") or not data else [len(data) + 1]
        self._files[name] = held = _File(data, np.concatenate((np.zeros(1, np.int64), ends, np.array(rest, np.int64))))
        self._held += len(data)
        while self._held > _REMEMBERED_BYTES and len(self._files) > 1:
            self._held -= len(self._files.popitem(last=False)[1].data)
        return held


class ScoredInputs:
    """The input rows of some predictions and their scores, as columns.

    ``inputs`` are the rows as they stand in the inbox, one a line, an empty line for what is gone;
    ``missing`` counts those. ``scores`` are one a line, too.
    """

    def __init__(self, inbox: InputRows, source: Sequence[Source], scores: bytes) -> None:
        pieces: list[bytes] = []
        self.rows = sum(piece.rows for piece in source)
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
