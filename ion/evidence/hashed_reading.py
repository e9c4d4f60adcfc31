"""Reading a file once, into memory and into its digest at the same time."""

from __future__ import annotations

import hashlib
import threading
from io import BytesIO
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.errors import IonError
from ion.evidence.files import MIB, opened_beneath

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

_LARGE = 16 * MIB
_CHUNK = 4 * MIB
_AHEAD = 2


def read_hashed(root: Path, path: Path, limit: int) -> tuple[bytes, str]:
    """Return the content of a regular file under ``root`` and its digest; no symbolic link is followed.

    The digest is that of the very bytes returned, whatever happens to the file meanwhile. A large file is
    hashed by another thread while it is read: filling a gibibyte of fresh memory takes about as long.

    Raises:
        OSError: as `opened_beneath`.
        IonError: ``not-a-file``, or ``file-too-large`` over ``limit`` bytes.
    """
    with opened_beneath(root, path) as file:
        start = file.read(min(_LARGE, limit + 1))
        if len(start) > limit:
            raise _too_large(path, limit)
        if len(start) < _LARGE:
            return start, digest_bytes(start)
        return _read_large(file, path, start, limit)


def _read_large(file: BufferedReader, path: Path, start: bytes, limit: int) -> tuple[bytes, str]:
    hashed, waiting = hashlib.sha256(), SimpleQueue[bytes]()
    room = threading.Semaphore(_AHEAD)

    def work() -> None:
        while chunk := waiting.get():
            hashed.update(chunk)
            room.release()

    worker = threading.Thread(target=work, name="ion-hashing", daemon=True)
    worker.start()
    content = BytesIO()
    try:
        chunk = start
        while chunk:
            room.acquire()
            waiting.put(chunk)
            content.write(chunk)
            if content.tell() > limit:
                raise _too_large(path, limit)
            chunk = file.read(_CHUNK)
    finally:
        waiting.put(b"")
        worker.join()
    return content.getvalue(), "sha256:" + hashed.hexdigest()


def _too_large(path: Path, limit: int) -> IonError:
    return IonError("file-too-large", f"{path.name} is larger than {limit} bytes")
