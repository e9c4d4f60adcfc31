"""Input rows by position: what committed output points at, read again from the inbox."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from resources.flink.rows import unquoted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_REMEMBERED_BYTES = 32 << 20


class InputRows:
    """The lines of inbox files; the files read last are remembered, up to 32 MiB.

    Lines end with a newline byte alone, as in Flink's line format.
    """

    def __init__(self, inbox: Path) -> None:
        self._inbox = inbox
        self._files: OrderedDict[str, list[bytes]] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._held = 0

    def rows(self, file: str, lines: Sequence[int]) -> list[bytes | None]:
        """Return the lines (from 1) of ``file`` (as in output rows); None for what is gone."""
        held = self._files.get(file) or self._read(file)
        count = len(held)
        if not lines:
            return []
        first, end = lines[0], lines[-1] + 1
        if first > 0 and end <= count + 1 and list(lines) == list(range(first, end)):
            return list(held[first - 1 : end - 1])  # a file's rows mostly come in one piece
        return [held[line - 1] if 0 < line <= count else None for line in lines]

    def _read(self, file: str) -> list[bytes]:
        try:
            data = (self._inbox / (unquoted(file) if "%" in file else file)).read_bytes()
        except OSError:
            return []
        self._files[file] = lines = data.split(b"\n")
        self._sizes[file] = len(data)
        self._held += len(data)
        while self._held > _REMEMBERED_BYTES and len(self._files) > 1:
            self._held -= self._sizes.pop(self._files.popitem(last=False)[0])
        return lines
