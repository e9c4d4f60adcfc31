"""Files of a spool, whose owner may want to mislead: no links, no pipes, nobody else's."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_GROUP_MAY_ALL = 0o070


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


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut.

    Raises:
        OSError: the disk refuses.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
