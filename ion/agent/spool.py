"""Writing a spool: append-only segments of linked frames, one folder per agent (docs/spec/spool.md).

A spool belongs to one user (0700, files 0600), unless its folder lets its group write: that of a hand,
from which governance takes the facts over (0770, files 0660).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

from ion.agent.files import open_within, sync_folder, takes_group
from ion.agent.frames import FIRST_LINK, MOST_BYTES, SEGMENT_HEAD, SegmentHead, framed
from ion.agent.segments import WRITING, segment_name
from ion.errors import IonError

if TYPE_CHECKING:
    from pathlib import Path

SEGMENT_BYTES = 16 * 1024 * 1024
"""A segment that has grown so large is followed by another."""


class SpoolWriter:
    """Appends frames to the newest segment of ``<spool>/<agent>``. One writer, held by a lock while it lives.

    Raises:
        IonError: ``spool-unusable`` when the folder cannot be made or written.
    """

    def __init__(self, spool: Path, agent: str, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = spool / agent
        self._most = segment_bytes
        self._number = 0
        self._file = self._lock = -1
        self._link = FIRST_LINK
        self._frames = self._durable = 0
        self._size = self._synced_size = SEGMENT_HEAD
        self._writing: tuple[int, bytes] | None = None
        self.failed = ""
        """Why this spool is not to be trusted any more: nothing is appended to it, its agent has to be another."""
        try:
            _make_folders(spool)
            self._folder.mkdir(mode=0o700)
            if takes_group(spool):
                self._folder.chmod(stat.S_ISGID | 0o770)  # not by mkdir, which asks the umask
            # Before there is a segment: a shipper never sees one without its writer.
            self._lock = open_within(self._folder, WRITING, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = self._new_segment(0)
            sync_folder(spool)
        except OSError as error:
            self.abandon()
            raise IonError(
                "spool-unusable",
                f"cannot write the spool {self._folder}: {error.strerror}",
                "check ION_HOME: its spool folder must be writable and on a local disk",
            ) from error

    @property
    def frames(self) -> int:
        """How many frames were written: the sequence number of the next record."""
        self._settle()
        return self._frames

    @property
    def durable(self) -> int:
        """How many of the frames `sync` has made durable."""
        return self._durable

    @property
    def unsynced(self) -> int:
        """How many bytes the next `sync` makes durable."""
        return self._size - self._synced_size

    @property
    def segment(self) -> int:
        """The number of the segment that is being written; those before are whole."""
        return self._number

    def append(self, record: bytes, block: bytes = b"") -> None:
        """Write one frame; a later `sync` makes it durable.

        Raises:
            IonError: ``spool-unusable`` when the disk refuses (full, gone, read-only) or the spool
                was closed or has `failed`, ``fact-too-large`` over 64 MiB. The file is as before.
        """
        if len(record) + len(block) > MOST_BYTES:
            size = len(record) + len(block)
            raise IonError("fact-too-large", f"a fact of {size} bytes cannot be spooled", "tell it in parts")
        self._settle()
        if self._size >= self._most:
            self._roll()
        frame, link = framed(self._link, record, block)
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
        self._writing = None
        if not self._size <= present < self._size + length:
            self._durable = 0  # who knows what else is gone
            raise self._fail("somebody else changed it")
        try:
            os.ftruncate(self._file, self._size)  # no reader took it: a frame ships only when complete
        except OSError as error:
            raise self._fail(error.strerror or "it cannot be cut") from error

    def _roll(self) -> None:
        """Go on in a new segment; the one before is durable then, and never written again."""
        self.sync()
        try:
            handle = self._new_segment(self._number + 1)
        except OSError as error:
            raise IonError("spool-unusable", f"cannot begin a segment: {error.strerror}", "free disk space") from error
        former, self._file = self._file, handle
        self._number += 1
        self._size = self._synced_size = SEGMENT_HEAD
        os.close(former)

    def _new_segment(self, number: int) -> int:
        """Make a segment under another name, so that it is there whole or not at all, and return it opened."""
        hidden = self._folder / "facts.new"
        hidden.unlink(missing_ok=True)
        handle = open_within(self._folder, hidden.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            os.write(handle, SegmentHead(self._frames, self._link).pack())
            if os.fstat(handle).st_size != SEGMENT_HEAD:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - as the disk would say
            os.fsync(handle)
            hidden.rename(self._folder / segment_name(number))
            sync_folder(self._folder)
        except OSError:
            os.close(handle)
            raise
        return handle

    def in_place(self) -> bool:
        """Tell whether the segment is still where shippers look for it, as long as it was left."""
        if self._file < 0:
            return False
        try:
            there = (self._folder / segment_name(self._number)).stat()
        except OSError:
            return False
        here = os.fstat(self._file)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) and here.st_size >= self._size

    def sync(self) -> None:
        """Make everything appended so far survive a power cut.

        Once the disk has refused, nothing in this segment is believed to be on it: the operating system may
        have dropped what it could not write, and say of the next attempt that all is well.

        Raises:
            IonError: ``spool-unusable``; the spool has `failed`.
        """
        if self.failed:
            raise IonError("spool-unusable", f"the spool is not trusted any more: {self.failed}")
        self._settle()
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise self._fail(f"the disk did not keep it: {error.strerror}") from error
        self._durable, self._synced_size = self._frames, self._size

    def _fail(self, reason: str) -> IonError:
        self.failed = reason
        self.abandon()
        return IonError("spool-unusable", f"the spool is not trusted any more: {reason}", "look at the disk")

    def close(self) -> None:
        """Sync, release the lock; closing twice is harmless.

        Raises:
            IonError: ``spool-unusable``; it is closed all the same.
        """
        try:
            self._settle()
            if self._file >= 0 and self.unsynced:
                self.sync()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of the file without writing to it: a forked child's first act on its parent's spool."""
        # The numbers may be other files' by now: forget them before anything can go wrong.
        handles = (self._file, self._lock)
        self._file = self._lock = -1
        self._writing = None
        for handle in handles:
            if handle >= 0:
                os.close(handle)


def _make_folders(spool: Path) -> None:
    """Make the folder of all spools, and make the names above it durable."""
    if spool.is_dir():
        return
    made = [folder for folder in (spool, *spool.parents) if not folder.exists()]
    spool.mkdir(parents=True, mode=0o700, exist_ok=True)
    for folder in made:
        sync_folder(folder.parent)
