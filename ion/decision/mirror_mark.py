"""A mark that somebody says the mirror changed: left by the webhook, seen by the watch. It says nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ion.home import Home


def leave_mark(home: Home) -> None:
    """Say that the registry changed.

    Raises:
        OSError: the home cannot be written.
    """
    path = _path(home)
    path.parent.mkdir(exist_ok=True)
    path.touch()


def mark(home: Home) -> int:
    """Return what is another number after each `leave_mark`."""
    try:
        return _path(home).stat().st_mtime_ns
    except OSError:
        return 0


def _path(home: Home) -> Path:
    return home.root / "run" / "mlflow-changed"
