"""Bounded reads of regular files, and writes that are whole or absent after a crash."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import BufferedReader
    from pathlib import Path
    from typing import BinaryIO

MIB = 1 << 20


def read_regular(path: Path, limit: int, *, private: bool = False) -> bytes:
    """Return the whole content of a regular file of at most ``limit`` bytes.

    Args:
        path: the file; a symbolic link is followed, a pipe or device is refused without blocking.
        limit: bytes; one byte more is an error, so that a growing file cannot exhaust memory.
        private: refuse a file its group or others may read, judged on the opened descriptor.

    Raises:
        OSError: the file cannot be opened or read.
        IonError: ``not-a-file``, ``file-too-large`` or ``key-permissions``.
    """
    with _regular(path, _open(path)) as file:
        status = os.fstat(file.fileno())
        if private and status.st_mode & 0o077:
            raise IonError(
                "key-permissions",
                f"{path.name} can be read by others (mode {stat.S_IMODE(status.st_mode):04o})",
                "chmod 600 it, and replace the key if others may have read it",
            )
        data = file.read(limit + 1)
    if len(data) > limit:
        raise IonError("file-too-large", f"{path.name} is larger than {limit} bytes")
    return data


@contextmanager
def opened_beneath(root: Path, path: Path) -> Iterator[BufferedReader]:
    """Open a regular file under ``root`` with no symbolic link on the way: links lead where somebody else says.

    Raises:
        OSError: it cannot be opened; a link is ``ELOOP`` or ``ENOTDIR``.
        IonError: ``not-a-file``.
    """
    *folders, name = path.relative_to(root).parts
    within = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
            os.close(within)
            within = inner
        descriptor = _open(name, os.O_NOFOLLOW, within)
    finally:
        os.close(within)
    with _regular(path, descriptor) as file:
        yield file


def _open(path: Path | str, flags: int = 0, within: int | None = None) -> int:
    # O_NONBLOCK: opening a FIFO somebody planted must not hang the reader.
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags, dir_fd=within)


@contextmanager
def _regular(path: Path, descriptor: int) -> Iterator[BufferedReader]:
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise IonError("not-a-file", f"{path.name} is not a regular file")
        yield file


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace ``path`` by ``data``: readers see the old or the new content, also after a power cut.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full; ``path`` is unchanged.
    """
    write_pieces(path, (data,), mode=mode)


def write_pieces(path: Path, pieces: Iterable[bytes], *, mode: int = 0o644) -> None:
    """Replace ``path`` as `write_atomic` does, by bytes that come in pieces. What ``pieces`` raises changes nothing.

    Raises:
        OSError: as `write_atomic`.
    """
    with _written_beside(path, pieces, mode) as temporary:
        temporary.replace(path)


def write_new(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Create ``path`` with ``data``, atomically, and never replace what is there.

    Raises:
        FileExistsError: ``path`` exists; it is unchanged.
        OSError: as for `write_atomic`.
    """
    with _written_beside(path, (data,), mode) as temporary:
        os.link(temporary, path)


@contextmanager
def writing_new(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Open a file that is too large to hold: it is at ``path`` when the block has ended well, and never in part.

    Raises:
        FileExistsError: ``path`` exists; it is unchanged.
        OSError: as for `write_atomic`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


@contextmanager
def _written_beside(path: Path, pieces: Iterable[bytes], mode: int) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            os.fchmod(descriptor, mode)  # exact, whatever the umask says
            file.flush()
            os.fsync(descriptor)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
