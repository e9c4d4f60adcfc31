"""The spool: an append-only file of hash-linked frames, one folder per agent.

Frame: magic ``ION1``, two big-endian lengths (record, block), the 32-byte link
SHA-256(previous link || header || record || block), then the record and the block. A frame whose
link does not follow is never shipped; a torn tail (the writer died) is left out and told.

A spool belongs to one user (0700, files 0600), unless its folder lets its group write: that of a hand,
from which governance takes the facts over (0770, files 0660).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import struct
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEADER = struct.Struct(">4sII")
_LINK = 32
_MAGIC = b"ION1"
_MAX_FRAME = 64 * 1024 * 1024
LARGEST_TAIL = _HEADER.size + _LINK + _MAX_FRAME
"""No frame that was cut short is larger."""

_GROUP_MAY_ALL = 0o070


@dataclass(frozen=True, slots=True)
class Frame:
    """One spooled record with its block, where the next frame starts, and the link so far."""

    record: bytes
    block: bytes
    end: int
    link: bytes


class SpoolWriter:
    """Appends frames to ``<spool>/<agent>/facts``. One writer, held by a lock while it lives.

    Raises:
        IonError: ``spool-unusable`` when the folder cannot be made or written.
    """

    def __init__(self, spool: Path, agent: str) -> None:
        folder = spool / agent
        self._path = folder / "facts"
        self._file = -1
        try:
            spool.mkdir(parents=True, mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700)
            if takes_group(spool):
                folder.chmod(stat.S_ISGID | 0o770)  # not by mkdir, which asks the umask
            self._file = _locked_file(self._path)
            _sync_folder(folder)
            _sync_folder(spool)
        except OSError as error:
            self.abandon()
            raise IonError(
                "spool-unusable",
                f"cannot write the spool {folder}: {error.strerror}",
                "check ION_HOME: its spool folder must be writable and on a local disk",
            ) from error
        self._link = bytes(_LINK)
        self._size = 0
        self._frames = 0
        self._writing: tuple[int, bytes] | None = None

    @property
    def frames(self) -> int:
        """How many frames are in the file: the sequence number of the next record."""
        self._settle()
        return self._frames

    def append(self, record: bytes, block: bytes = b"") -> None:
        """Write one frame; a later `sync` makes it durable.

        Raises:
            IonError: ``spool-unusable`` when the disk refuses (full, gone, read-only) or the spool
                was closed, ``fact-too-large`` over 64 MiB. The file is as before.
        """
        if len(record) + len(block) > _MAX_FRAME:
            size = len(record) + len(block)
            raise IonError("fact-too-large", f"a fact of {size} bytes cannot be spooled", "tell it in parts")
        self._settle()
        header = _HEADER.pack(_MAGIC, len(record), len(block))
        link = hashlib.sha256(b"".join((self._link, header, record, block))).digest()
        frame = b"".join((header, link, record, block))
        self._writing = (len(frame), link)
        try:
            written = os.write(self._file, frame)
        except OSError as error:
            self._writing = None
            raise IonError("spool-unusable", f"cannot write the spool: {error.strerror}", "free disk space") from error
        self._settle()
        if written != len(frame):
            raise IonError("spool-unusable", "cannot write the spool: the disk is full", "free disk space")

    def _settle(self) -> None:
        """Take in the last write, whole or not at all, also when a signal handler interrupted it."""
        if self._writing is None:
            return
        length, link = self._writing
        present = os.fstat(self._file).st_size
        if present == self._size + length:
            self._size, self._link, self._frames, self._writing = present, link, self._frames + 1, None
            return
        if present > self._size:
            os.ftruncate(self._file, self._size)  # no reader took it: a frame ships only when complete
        self._writing = None

    def in_place(self) -> bool:
        """Tell whether the file is still where shippers look for it."""
        try:
            there = self._path.stat()
        except OSError:
            return False
        here = os.fstat(self._file)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def sync(self) -> None:
        """Make everything appended so far survive a power cut.

        Raises:
            IonError: ``spool-unusable``.
        """
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise IonError("spool-unusable", f"cannot sync the spool: {error.strerror}") from error

    def close(self) -> None:
        """Sync, release the lock; closing twice is harmless.

        Raises:
            IonError: ``spool-unusable``; it is closed all the same.
        """
        try:
            if self._file >= 0:
                self.sync()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of the file without writing to it: a forked child's first act on its parent's spool."""
        # The number may be another file's by now: forget it before anything can go wrong.
        handle, self._file = self._file, -1
        if handle >= 0:
            os.close(handle)


def read_frames(folder: Path, start: int, link: bytes) -> Iterator[Frame]:
    """Yield complete frames of an agent's spool from byte ``start``, whose link so far is ``link``.

    Stops before an incomplete frame.

    Raises:
        IonError: ``spool-corrupt`` at a complete frame that does not follow from the one before.
    """
    with os.fdopen(open_within(folder, "facts"), "rb") as file:
        file.seek(start)
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            magic, record_size, block_size = _HEADER.unpack(header)
            if magic != _MAGIC or record_size + block_size > _MAX_FRAME:
                raise _corrupt(start)
            body = file.read(_LINK + record_size + block_size)
            if len(body) < _LINK + record_size + block_size:
                return
            recorded, payload = body[:_LINK], body[_LINK:]
            link = hashlib.sha256(link + header + payload).digest()
            if link != recorded:
                raise _corrupt(start)
            start = file.tell()
            yield Frame(payload[:record_size], payload[record_size:], start, link)


def has_writer(folder: Path) -> bool:
    """Tell whether the agent that writes this spool is alive."""
    handle = open_within(folder, "facts")
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def open_within(folder: Path, name: str, flags: int = os.O_RDONLY) -> int:
    """Open a file of a spool whose owner may want to mislead: it is a file, it is here, and it is the owner's.

    With ``O_CREAT`` it gets the modes of its folder. The caller closes what is returned.

    Raises:
        OSError: it is not there, or is a link, a pipe or somebody else's.
    """
    # O_NONBLOCK: a pipe put here must not hang whoever opens it.
    handle = os.open(folder / name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        found = os.fstat(handle)
        _check_own(found, folder, name)
        if flags & os.O_CREAT and found.st_uid == os.geteuid() and takes_group(folder):
            os.fchmod(handle, 0o660)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _check_own(found: os.stat_result, folder: Path, name: str) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in {folder.stat().st_uid, os.geteuid()}:
        raise PermissionError(errno.EPERM, "not a file of this spool", name)


def takes_group(folder: Path) -> bool:
    """Tell whether a folder is meant to be written by its group, too."""
    return folder.stat().st_mode & _GROUP_MAY_ALL == _GROUP_MAY_ALL


def _locked_file(path: Path) -> int:
    """Create the file under another name and lock it before a shipper can see it without its writer."""
    hidden = path.with_name("facts.new")
    handle = open_within(path.parent, hidden.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(path)
    except OSError:
        os.close(handle)
        raise
    return handle


def _corrupt(at: int) -> IonError:
    return IonError("spool-corrupt", f"the spool is damaged at byte {at}", "it is kept for inspection")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
