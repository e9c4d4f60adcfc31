"""One job per node: a lock that the starter takes and the job inherits, so that there is no moment between."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

INHERITED = "ION_FLINK_LOCK"
"""Environment variable: the number of the inherited, locked file descriptor."""


def take_lock(path: Path) -> int | None:
    """Return a locked descriptor, or None when a job holds the lock."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def hold_lock(path: Path) -> int | None:
    """Return the lock in the job itself: the inherited one, else a fresh one; None when it is held."""
    inherited = os.environ.pop(INHERITED, "")
    if not inherited:
        return take_lock(path)
    handle = int(inherited)
    same = os.path.samestat(os.fstat(handle), path.stat())
    if not same:
        os.close(handle)
        return take_lock(path)
    os.set_inheritable(handle, False)  # noqa: FBT003 - its only form. The JVM must not hold it when this process dies
    return handle


def is_locked(path: Path) -> bool:
    """Tell whether a job holds the lock."""
    if not path.exists():
        return False
    handle = take_lock(path)
    if handle is None:
        return True
    os.close(handle)
    return False
