"""Rows of numbers in half the bytes: four bits for each character, eight bytes for each score.

Compressing such text takes several times as long as sealing it, and saves little more: digits are nearly
random. Format: docs/spec/captures.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ion.errors import IonError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHABET = b"0123456789.,-+e\n"
_NONE = 0xFF
_CODES = bytes(ALPHABET.index(each) if each in ALPHABET else _NONE for each in range(256))
_PAIRS = np.array([(first, second) for first in ALPHABET for second in ALPHABET], np.uint8)
_END = b"\n"
_STEP = 1 << 15
"""Bytes at a time: even, and so few that what is computed in between stays in the processor's cache."""


def pack(inputs: bytes, scores: NDArray[np.float64]) -> bytes:
    """Return rows, as lines of text joined by line ends, and their scores (n), packed.

    Empty when the text has characters beyond the sixteen; then it must be kept in another way.
    """
    pieces = [scores.astype("<f8").tobytes()]
    for start in range(0, len(inputs), _STEP):
        codes = inputs[start : start + _STEP].translate(_CODES)
        if _NONE in codes:
            return b""
        pairs = np.frombuffer(codes if len(codes) % 2 == 0 else codes + bytes([ALPHABET.index(_END)]), "<u2")
        pieces.append(((pairs << 4) | (pairs >> 8)).astype(np.uint8).tobytes())
    return b"".join(pieces)


def unpack(packed: bytes, rows: int) -> list[bytes]:
    """Return the rows: each its text, ``;`` and its score.

    Raises:
        IonError: ``bad-capture`` when it does not hold so many rows.
    """
    scores = np.frombuffer(packed[: 8 * rows], "<f8")
    lines = _PAIRS[np.frombuffer(packed, np.uint8, offset=8 * rows)].tobytes().split(_END)
    if len(lines) == rows + 1 and not lines[-1]:  # an odd number of characters was filled up
        lines.pop()
    if len(lines) != rows or len(scores) != rows:
        raise IonError("bad-capture", "a packed section does not hold as many rows as it says")
    return [b"%b;%b" % (line, repr(score).encode()) for line, score in zip(lines, scores.tolist(), strict=True)]
