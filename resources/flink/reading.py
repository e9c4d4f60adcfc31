"""What reading costs a running job: few system calls, and no memory handed back only to be asked for again."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_GUESS = 1 << 16
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_KEPT_BYTES = 32 << 20


def read_file(path: str) -> bytes:
    """Return a file's bytes.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = [os.read(handle, _GUESS)]
        while pieces[-1] and (len(pieces) > 1 or len(pieces[0]) == _GUESS):
            pieces.append(os.read(handle, max(_GUESS, os.fstat(handle).st_size)))
    finally:
        os.close(handle)
    return b"".join(pieces) if len(pieces) > 1 else pieces[0]


def keep_freed_memory() -> None:
    """Let this process keep up to 32 MiB that it freed, where the C library is glibc; Arrow's memory, too.

    Else every look at committed files gives its megabytes back and asks for them again, page by page: a
    fifth of what the look costs.
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
