"""What a power cut leaves, at the worst: the bytes that were synced, under the names whose folders were synced."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class DurableDisk:
    """Sees every fsync and fdatasync of this process.

    Stricter than most disks: nothing but a sync of the file keeps its bytes, nothing but one of its folder its name.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, tuple[int, int]]] = {}
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self._seen(getattr(os, name)))

    def _seen(self, real: object) -> object:
        def sync(handle: int) -> None:
            real(handle)  # type: ignore[operator]
            found = os.fstat(handle)
            if stat.S_ISDIR(found.st_mode):
                with os.scandir(handle) as entries:
                    names = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
                self._folders[found.st_ino] = {name: (each.st_ino, each.st_mode) for name, each in names.items()}
            else:
                with open(f"/proc/self/fd/{handle}", "rb") as file:  # noqa: PTH123 - by its descriptor
                    self._files[found.st_ino] = file.read()

        return sync

    def cut(self, target: Path) -> None:
        """Write to ``target`` what would be there when the power came back now."""
        self._restore(self._root.stat().st_ino, target)

    def _restore(self, inode: int, target: Path) -> None:
        target.mkdir()
        for name, (member, mode) in self._folders.get(inode, {}).items():
            if stat.S_ISDIR(mode):
                self._restore(member, target / name)
            else:
                (target / name).write_bytes(self._files.get(member, b""))
                (target / name).chmod(0o600)
