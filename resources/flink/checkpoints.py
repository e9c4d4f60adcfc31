"""Where a streaming job may start again: the newest complete checkpoint or savepoint."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from resources.flink.folders import Folders

_KEPT = 5


def restore_points(folders: Folders) -> list[Path]:
    """Return complete checkpoints and savepoints, newest first. Without ``_metadata`` it is not complete."""
    marks = [*folders.checkpoints.glob("*/chk-*/_metadata"), *folders.savepoints.glob("savepoint-*/_metadata")]
    dated = []
    for mark in marks:
        try:
            dated.append((mark.stat().st_mtime_ns, mark.parent))
        except FileNotFoundError:  # subsumed while we looked
            continue
    return [folder for _, folder in sorted(dated, reverse=True)]


def newest_restore_point(folders: Folders) -> Path | None:
    """Return where to start from, or None to start from the beginning of the inbox."""
    return next(iter(restore_points(folders)), None)


def discard_old(folders: Folders) -> None:
    """Keep the newest five restore points; only while no job runs."""
    for folder in restore_points(folders)[_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)
    for job in folders.checkpoints.iterdir():
        if job.is_dir() and not any(job.glob("chk-*/_metadata")):
            shutil.rmtree(job, ignore_errors=True)
