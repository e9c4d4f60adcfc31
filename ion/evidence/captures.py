"""Capture keys, and what a capture block tells without any: which row is sealed under which key.

A block holds sections, one per key; deleting a key destroys its section's rows and nothing else. The
rows themselves are sealed and opened in `ion.serving.capture`. Format: docs/spec/captures.md.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import field
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = b"IONCAP2\n"
PACKED_MAGIC = b"IONCAP3\n"
"""The same, but sections hold packed columns (`ion.serving.packing`) instead of compressed lines."""

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
MAX_ROWS = 1 << 16
"""Rows in one block, and so also sections: both are told in two bytes."""

_KEY_ID_BYTES = 12
_SIZE = struct.Struct("<I")
_COUNTS = struct.Struct("<II")  # rows, sections; and per section rows, sealed bytes
_BAD_BLOCK = "bad-capture"


@dataclass(frozen=True, slots=True)
class CaptureKey:
    """A symmetric key under an id; the id is random, public, and in every block the key sealed.

    ``subject`` is the tag (`ion.serving.subject`) of the person whose rows it seals, empty for a key that
    rows of several share.
    """

    key_id: str
    secret: bytes = field(repr=False)
    subject: str = ""

    def __post_init__(self) -> None:
        """Refuse a key that is not AES-256."""
        if len(self.secret) != KEY_BYTES or not 0 < len(self.key_id.encode()) <= 255:  # noqa: PLR2004 - one length byte
            raise IonError("bad-key", f"a capture key has an id and {KEY_BYTES} bytes")

    @classmethod
    def generate(cls, subject: str = "") -> CaptureKey:
        """Return a new key under a new id; neither says anything of ``subject``."""
        return cls(os.urandom(_KEY_ID_BYTES).hex(), os.urandom(KEY_BYTES), subject)


@dataclass(frozen=True, slots=True)
class Section:
    """The rows of a block that one key seals; ``start`` and ``end`` are where their bytes are."""

    key_id: str
    nonce: bytes
    rows: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Directory:
    """What a block says in the clear. Every section authenticates all of it, once opened.

    ``places`` has the section number of each row, in row order; ``digest`` is of the header's bytes;
    ``packed`` says whether sections hold packed columns instead of compressed lines.
    """

    sections: tuple[Section, ...]
    places: Sequence[int]
    digest: bytes
    packed: bool

    def place(self, index: int) -> tuple[Section, int]:
        """Return the section of the row at ``index`` (from 0), and its number among that section's rows.

        Raises:
            IonError: ``no-such-row``.
        """
        if not 0 <= index < len(self.places):
            raise IonError("no-such-row", f"row {index} of a block of {len(self.places)}")
        number = self.places[index]
        return self.sections[number], sum(1 for other in self.places[:index] if other == number)


def block_header(
    sections: Sequence[tuple[str, bytes, int, int]], places: Sequence[int], *, packed: bool = False
) -> bytes:
    """Return a block's first bytes.

    Args:
        sections: key id, nonce, number of rows and sealed bytes of each.
        places: the section number of each row; left out of the header when there is one section.
        packed: whether sections hold packed columns instead of compressed lines.
    """
    parts = [_COUNTS.pack(len(places), len(sections))]
    for key_id, nonce, rows, size in sections:
        name = key_id.encode()
        parts += bytes([len(name)]), name, nonce, _COUNTS.pack(rows, size)
    if len(sections) > 1:
        parts.append(struct.pack(f"<{len(places)}H", *places))
    header = b"".join(parts)
    return (PACKED_MAGIC if packed else MAGIC) + _SIZE.pack(len(header)) + header


def header_digest(header: bytes) -> bytes:
    """Return the 32 bytes by which each section is bound to its block's header."""
    return hashlib.sha256(header).digest()


def read_directory(block: bytes) -> Directory:
    """Return the directory of a block. Nothing of it is authentic before a section was opened.

    Raises:
        IonError: ``bad-capture``.
    """
    try:
        return _directory(block)
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise IonError(_BAD_BLOCK, "the capture block is cut short, or not one") from error


def row_key(block: bytes, index: int) -> str:
    """Return the id of the key that seals the row at ``index`` (from 0).

    Raises:
        IonError: ``bad-capture``, ``no-such-row``.
    """
    return read_directory(block).place(index)[0].key_id


def _directory(block: bytes) -> Directory:
    magic = block[: len(MAGIC)]
    if magic not in {MAGIC, PACKED_MAGIC}:
        raise ValueError("another format")
    (size,) = _SIZE.unpack_from(block, len(MAGIC))
    offset = len(MAGIC) + _SIZE.size
    end = offset + size
    rows, count = _COUNTS.unpack_from(block, offset)
    offset += _COUNTS.size
    if rows > MAX_ROWS or count > rows or (rows and not count) or end > len(block):
        raise ValueError("numbers that fit nothing")
    sections: list[Section] = []
    start = end
    for _ in range(count):
        length = block[offset]
        name = block[offset + 1 : offset + 1 + length].decode()
        offset += 1 + length
        nonce = block[offset : offset + NONCE_BYTES]
        held, sealed = _COUNTS.unpack_from(block, offset + NONCE_BYTES)
        offset += NONCE_BYTES + _COUNTS.size
        sections.append(Section(name, nonce, held, start, start + sealed))
        start += sealed
    places: Sequence[int] = bytes(rows)
    if count > 1:
        places = struct.unpack_from(f"<{rows}H", block, offset)
        offset += 2 * rows
    counted = [0] * count
    for place in places:
        counted[place] += 1
    if offset != end or start != len(block) or counted != [section.rows for section in sections]:
        raise ValueError("parts that do not fit together")
    return Directory(tuple(sections), places, header_digest(block[:end]), magic == PACKED_MAGIC)
