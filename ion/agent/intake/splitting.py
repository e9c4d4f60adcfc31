"""Lines out of pieces of a stream, without ever keeping more of one than a line may have."""

from __future__ import annotations


class LineSplitter:
    """Takes bytes as they come and gives whole lines, in order; None for one that was too long.

    Empty lines are left out.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = bytearray()
        self._skipping = False

    @property
    def inside(self) -> bool:
        """Whether a line has begun and not ended."""
        return self._skipping or bool(self._rest)

    def feed(self, data: bytes) -> list[bytes | None]:
        """Return the lines that end in ``data``."""
        *ended, rest = data.split(b"\n")
        lines: list[bytes | None] = []
        for part in ended:
            self._add(part)
            lines += self.end()
        self._add(rest)
        return lines

    def end(self) -> list[bytes | None]:
        """Return the line that has begun, as the last one of a stream, if there is any."""
        line: bytes | None = None if self._skipping else bytes(self._rest)
        self._rest.clear()
        self._skipping = False
        return [] if line is not None and not line.strip() else [line]

    def _add(self, part: bytes) -> None:
        if self._skipping:
            return
        self._rest += part
        if len(self._rest) > self._longest:
            self._skipping = True
            self._rest.clear()
