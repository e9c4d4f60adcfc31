"""Which part files are committed and not told yet: the output folders, looked at as seldom as they allow.

Committed files have no leading dot. A folder holds an hour's files and is listed whole, so listing gets dear
towards the hour's end: it may take only a small share of the time, and quiet folders are not listed at all.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from resources.flink.folders import Folders

_SETTLED_NS = 2_000_000_000
"""A folder's time has the file system's grain: one that changed this recently may change unseen."""
_OLD_NS = 600_000_000_000
_FULL_LOOK_S = 10.0
"""Folders that have been quiet for ten minutes change only when an old checkpoint is restored."""
_LISTING_SHARE = 0.00025
_LONGEST_REST_S = 5.0


@dataclass(slots=True)
class _Folder:
    """What is known of one hour's folder. ``due`` is in seconds of the monotonic clock."""

    name: str
    path: str
    changed: int = 0
    settled: bool = False
    due: float = 0.0
    known: set[str] = field(default_factory=set)


class OutputFiles:
    """Finds committed part files. One thread uses it."""

    def __init__(self, folders: Folders) -> None:
        self._root = folders.root
        self._roots = {os.fspath(root): 0 for root in (folders.predictions, folders.quarantine)}
        self._folders: dict[str, _Folder] = {}
        self._full_look_due = 0.0

    def fresh(self, told: Collection[str], *, now: bool = False) -> list[str]:
        """Return new files as ``<root>/<hour>/<file>``, in the order they were written, each once.

        Args:
            told: names that are no news.
            now: list every folder that may have changed, whatever it costs.
        """
        clock = time.monotonic()
        full = now or clock >= self._full_look_due
        if full:
            self._full_look_due = clock + _FULL_LOOK_S
        self._find_folders(always=full)
        quiet_since = time.time_ns() - _OLD_NS
        found: list[str] = []
        for folder in self._folders.values():
            if (now or clock >= folder.due) and (full or not folder.settled or folder.changed > quiet_since):
                found += self._listed(folder)
        return sorted((name for name in found if name not in told), key=self._written)

    def forget(self) -> None:
        """Let everything that was found be found again."""
        self._folders.clear()
        self._roots = dict.fromkeys(self._roots, 0)

    def _find_folders(self, *, always: bool) -> None:
        for root, seen in self._roots.items():
            changed = os.stat(root).st_mtime_ns  # noqa: PTH116 - here and below: several times a second
            if changed == seen and not always:
                continue
            # A fresh time may hide a second change: 0 is never a time, so the next look lists again.
            self._roots[root] = changed if time.time_ns() - changed > _SETTLED_NS else 0
            with os.scandir(root) as entries:
                for entry in entries:
                    if entry.name[0] != "." and entry.path not in self._folders and entry.is_dir():
                        name = f"{os.path.basename(root)}/{entry.name}"  # noqa: PTH119
                        self._folders[entry.path] = _Folder(name, entry.path)

    def _listed(self, folder: _Folder) -> list[str]:
        try:
            changed = os.stat(folder.path).st_mtime_ns  # noqa: PTH116
            if folder.settled and changed == folder.changed:
                return []
            began = time.thread_time()
            names = [name for name in os.listdir(folder.path) if name[0] != "."]  # noqa: PTH208
        except FileNotFoundError:  # somebody tidied up
            folder.known.clear()
            return []
        new = set(names) - folder.known
        folder.known.update(new)
        folder.changed, folder.settled = changed, time.time_ns() - changed > _SETTLED_NS
        took = time.thread_time() - began
        folder.due = time.monotonic() + min(took / _LISTING_SHARE, _LONGEST_REST_S)
        return [f"{folder.name}/{name}" for name in new]

    def _written(self, name: str) -> tuple[int, str]:
        """Order files by when they were written; a removed one comes first."""
        try:
            return (self._root / name).stat().st_mtime_ns, name
        except FileNotFoundError:
            return 0, name
