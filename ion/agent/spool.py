"""The spool: an append-only file of hash-linked frames, one folder per agent.

Frame: magic ``ION1``, two big-endian lengths (record, block), the 32-byte link
SHA-256(previous link || header || record || block), then the record and the block. A frame whose
link does not follow is never shipped; a torn tail (the writer died) is left out and told.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ion.errors import IonError

_HEADER = struct.Struct(">4sII")
_LINK = 32
_MAGIC = b"ION1"
_MAX_FRAME = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """One spooled record with its block, where the next frame starts, and the link so far."""

    record: bytes
    block: bytes
    end: int
    link: bytes


class SpoolWriter:
    """Appends frames to ``<spool>/<agent>/facts``. One writer, held by a lock while it lives."""

    def __init__(self, spool: Path, agent: str) -> None:
        folder = spool / agent
        try:
            folder.mkdir(parents=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
            self._file = os.open(folder / "facts", flags, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sync_folder(folder)
            _sync_folder(spool)
        except OSError as error:
            raise IonError(
                "spool-unusable", f"cannot write the spool {folder}: {error.strerror}",
                "check ION_HOME: its spool folder must be writable and on a local disk",
            ) from error
        self._link = bytes(_LINK)

    def append(self, record: bytes, block: bytes = b"") -> None:
        """Write one frame; a later `sync` makes it durable.

        Raises:
            IonError: ``spool-unusable`` when the disk refuses (full, gone, read-only).
        """
        header = _HEADER.pack(_MAGIC, len(record), len(block))
        link = hashlib.sha256(b"".join((self._link, header, record, block))).digest()
        frame = b"".join((header, link, record, block))
        try:
            written = os.write(self._file, frame)
            if written != len(frame):
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                raise OSError(28, "the disk is full")
        except OSError as error:
            raise IonError("spool-unusable", f"cannot write the spool: {error.strerror}", "free disk space") from error
        self._link = link

    def sync(self) -> None:
        """Make everything appended so far survive a power cut."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Sync, release the lock."""
        os.fdatasync(self._file)
        os.close(self._file)


def read_frames(folder: Path, start: int, link: bytes) -> Iterator[Frame]:
    """Yield complete frames of an agent's spool from byte ``start``, whose link so far is ``link``.

    Stops before an incomplete frame.

    Raises:
        IonError: ``spool-corrupt`` at a complete frame that does not follow from the one before.
    """
    with (folder / "facts").open("rb") as file:
        file.seek(start)
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            magic, record_size, block_size = _HEADER.unpack(header)
            if magic != _MAGIC or record_size + block_size > _MAX_FRAME:
                raise _corrupt(folder, start)
            body = file.read(_LINK + record_size + block_size)
            if len(body) < _LINK + record_size + block_size:
                return
            recorded, payload = body[:_LINK], body[_LINK:]
            link = hashlib.sha256(link + header + payload).digest()
            if link != recorded:
                raise _corrupt(folder, start)
            start = file.tell()
            yield Frame(payload[:record_size], payload[record_size:], start, link)


def has_writer(folder: Path) -> bool:
    """Tell whether the agent that writes this spool is alive."""
    with (folder / "facts").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _corrupt(folder: Path, at: int) -> IonError:
    return IonError("spool-corrupt", f"the spool of {folder.name} is damaged at byte {at}", "it is kept for inspection")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
