"""Rows of numbers in half the bytes: four bits for each character, eight bytes for each score.

Compressing such text takes several times as long as sealing it, and saves little more: digits are nearly
random. Format: docs/spec/captures.md.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

from ion.errors import IonError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALPHABET = b"0123456789.,-+e\n"
_DIGITS = b"0123456789abcdef"
_OTHER = b"x"
_TO_DIGITS = bytes(_DIGITS[ALPHABET.index(each)] if each in ALPHABET else _OTHER[0] for each in range(256))
_FROM_DIGITS = bytes.maketrans(_DIGITS, ALPHABET)


def pack(inputs: bytes, scores: NDArray[np.float64]) -> bytes:
    """Return rows, as lines of text joined by line ends, and their scores (n), packed.

    Empty when the text has characters beyond the sixteen; then it must be kept in another way.
    """
    digits = (inputs if len(inputs) % 2 == 0 else inputs + b"\n").translate(_TO_DIGITS)
    try:
        return scores.astype("<f8").tobytes() + binascii.unhexlify(digits)
    except binascii.Error:
        return b""


def unpack(packed: bytes, rows: int) -> list[bytes]:
    """Return the rows: each its text, ``;`` and its score.

    Raises:
        IonError: ``bad-capture`` when it does not hold so many rows.
    """
    import numpy as np

    scores = np.frombuffer(packed[: 8 * rows], "<f8")
    lines = binascii.hexlify(packed[8 * rows :]).translate(_FROM_DIGITS).split(b"\n")
    if len(lines) == rows + 1 and not lines[-1]:  # an odd number of characters was filled up
        lines.pop()
    if len(lines) != rows or len(scores) != rows:
        raise IonError("bad-capture", "a packed section does not hold as many rows as it says")
    return [b"%b;%b" % (line, repr(score).encode()) for line, score in zip(lines, scores.tolist(), strict=True)]
