"""Reading a file once, into memory and into its digest at the same time."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from ion.canonical import digest_bytes
from ion.errors import IonError
from ion.evidence.files import MIB, opened_beneath

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

LARGE = 16 * MIB
_CHUNK = 4 * MIB

Content: TypeAlias = bytes | memoryview
"""What a file holds: a read-only view where it is large."""


def read_hashed(root: Path, path: Path, limit: int) -> tuple[Content, str]:
    """Return the content of a regular file under ``root`` and its digest; no symbolic link is followed.

    The digest is that of the very bytes returned, whatever happens to the file meanwhile. A large file is
    hashed by another thread while it is read, into memory of large pages: filling a gibibyte of small ones
    takes longer than hashing it.

    Raises:
        OSError: as `opened_beneath`.
        IonError: ``not-a-file``, or ``file-too-large`` over ``limit`` bytes.
    """
    with opened_beneath(root, path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise _too_large(path, limit)
        if size >= LARGE:
            return _read_large(file, size)
        content = file.read(limit + 1)
        if len(content) > limit:  # it grew
            raise _too_large(path, limit)
        return content, digest_bytes(content)


def _read_large(file: BufferedReader, size: int) -> tuple[memoryview, str]:
    memory = mmap.mmap(-1, size)
    with suppress(AttributeError, OSError):  # not every system has them
        memory.madvise(mmap.MADV_HUGEPAGE)
    content = memoryview(memory)
    hashed, waiting = hashlib.sha256(), SimpleQueue[memoryview | None]()

    def work() -> None:
        while (chunk := waiting.get()) is not None:
            hashed.update(chunk)

    worker = threading.Thread(target=work, name="ion-hashing", daemon=True)
    worker.start()
    done = 0
    try:
        while read := file.readinto(content[done : done + _CHUNK]):
            waiting.put(content[done : done + read])
            done += read
    finally:
        waiting.put(None)
        worker.join()
    return content[:done].toreadonly(), "sha256:" + hashed.hexdigest()


def _too_large(path: Path, limit: int) -> IonError:
    return IonError("file-too-large", f"{path.name} is larger than {limit} bytes")
