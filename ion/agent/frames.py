"""The bytes of a spool: frames that prove themselves, in segments that are linked (docs/spec/spool.md)."""

from __future__ import annotations

import hashlib
import os
import struct
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MAGIC = b"ION2"
FIRST_LINK = bytes(32)
"""The link before the first frame."""

MOST_BYTES = 64 * 1024 * 1024
"""Of record and block together."""

_HEADER = struct.Struct(">4sII")
_DIGESTS = 64
HEAD = _HEADER.size + _DIGESTS
"""Bytes of a frame before its record."""

LARGEST = HEAD + MOST_BYTES
"""No frame, and so none that was cut short, is larger."""

_OLD = b"ION1"
_OLD_LINK = 32
_SEGMENT = struct.Struct(">4sQ32s32s")
_SEGMENT_MAGIC = b"IONS"
SEGMENT_HEAD = _SEGMENT.size + 32

_PIECE = 1024 * 1024
_MOST_SEARCHED = _MOST_HASHED = 4 * LARGEST


@dataclass(frozen=True, slots=True)
class Frame:
    """One spooled record with its block.

    Args:
        end: the byte after it.
        link: of everything up to its end.
        follows: whether it follows from the link that was known before it.
    """

    record: bytes
    block: bytes
    end: int
    link: bytes
    follows: bool = True


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """How a segment begins: the number of its first frame, and the link before that.

    ``ends`` is the link after a segment that was rewritten, which its frames no longer add up to; else empty.
    """

    first: int
    link: bytes
    ends: bytes = b""

    def pack(self) -> bytes:
        """Return its bytes."""
        head = _SEGMENT.pack(_SEGMENT_MAGIC, self.first, self.link, self.ends or FIRST_LINK)
        return head + hashlib.sha256(head).digest()

    @classmethod
    def parse(cls, data: bytes) -> SegmentHead | None:
        """Return the head at the start of ``data``, or None when it is not a whole one."""
        head, digest = data[: _SEGMENT.size], data[_SEGMENT.size : SEGMENT_HEAD]
        if hashlib.sha256(head).digest() != digest:
            return None
        magic, first, link, ends = _SEGMENT.unpack(head)
        return cls(first, link, b"" if ends == FIRST_LINK else ends) if magic == _SEGMENT_MAGIC else None


def framed(link: bytes, record: bytes, block: bytes = b"") -> tuple[bytes, bytes]:
    """Return the frame that follows ``link``, and the link after it."""
    header = _HEADER.pack(MAGIC, len(record), len(block))
    digest = hashlib.sha256(b"".join((header, record, block))).digest()
    after = hashlib.sha256(link + digest).digest()
    return b"".join((header, digest, after, record, block)), after


def read_frame(file: BinaryIO, at: int, size: int, link: bytes | None) -> Frame | None:
    """Return the frame at byte ``at`` of a file of ``size`` bytes, or None when there is no whole, undamaged one.

    ``link`` is the link before it, None when that is not known. A frame of format 1 proves nothing without it.
    """
    extent = _extent(file, at, size)
    if extent is None or extent[3] > size:
        return None
    magic, record_size, header, end = extent
    file.seek(at + len(header))
    if magic == _OLD:
        body = file.read(end - at - len(header))
        recorded, payload = body[:_OLD_LINK], body[_OLD_LINK:]
        if link is None or hashlib.sha256(link + header + payload).digest() != recorded:
            return None
        return Frame(payload[:record_size], payload[record_size:], end, recorded)
    digest, recorded = file.read(32), file.read(32)
    payload = file.read(end - at - HEAD)
    if len(payload) != end - at - HEAD or hashlib.sha256(header + payload).digest() != digest:
        return None
    follows = link is None or hashlib.sha256(link + digest).digest() == recorded
    return Frame(payload[:record_size], payload[record_size:], end, recorded, follows)


def read_stream(file: BinaryIO, link: bytes = FIRST_LINK) -> Iterator[Frame]:
    """Yield the whole frames that stand in a file; stop before an incomplete one.

    Raises:
        IonError: ``spool-corrupt`` at a frame that is damaged, or does not follow from the one before.
    """
    at, size = 0, file.seek(0, os.SEEK_END)
    while at < size:
        frame = read_frame(file, at, size, link)
        if frame is None and is_torn(file, at, size):
            return
        if frame is None or not frame.follows:
            raise IonError("spool-corrupt", f"the frames are damaged at byte {at}", "send or copy them again")
        yield frame
        at, link = frame.end, frame.link


def is_torn(file: BinaryIO, at: int, size: int) -> bool:
    """Tell whether what stands from ``at`` to the end looks like one frame that was cut short."""
    file.seek(at)
    head = file.read(min(_HEADER.size, size - at))
    if len(head) < _HEADER.size:
        return head[:4] in {_OLD[: len(head)], MAGIC[: len(head)]}
    extent = _extent(file, at, size)
    return extent is not None and size < extent[3]


def next_frame(file: BinaryIO, start: int, size: int) -> int | None:
    """Return where the next frame that proves itself begins, at or after ``start``; None when there is none.

    Gives up after searching or hashing 256 MiB: somebody may have put there what only looks like a spool.
    """
    hashed, at = 0, start
    while at < min(size, start + _MOST_SEARCHED):
        file.seek(at)
        piece = file.read(_PIECE + len(MAGIC) - 1)
        found = piece.find(MAGIC)
        while found >= 0:
            extent = _extent(file, at + found, size)
            if extent is not None and extent[3] <= size:
                if read_frame(file, at + found, size, None) is not None:
                    return at + found
                hashed += extent[3] - at - found
                if hashed > _MOST_HASHED:
                    return None
            found = piece.find(MAGIC, found + 1)
        at += _PIECE
    return None


def _extent(file: BinaryIO, at: int, size: int) -> tuple[bytes, int, bytes, int] | None:
    """Return magic, length of the record, header and end of what may be a frame at ``at``."""
    if at + _HEADER.size > size:
        return None
    file.seek(at)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, record, block = _HEADER.unpack(header)
    if magic not in {MAGIC, _OLD} or record + block > MOST_BYTES:
        return None
    digests = _DIGESTS if magic == MAGIC else _OLD_LINK
    return magic, record, header, at + _HEADER.size + digests + record + block
