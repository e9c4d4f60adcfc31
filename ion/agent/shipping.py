"""Shipping: every agent's spool into the store, at least once; the store makes it exactly once."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ion.agent.damage import SpoolFolder
from ion.agent.files import open_within
from ion.agent.receiver import Receiver
from ion.agent.segments import has_writer, is_shipped, segment_numbers
from ion.agent.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Receiver", "SpoolFolder", "is_shipped", "ship_agent", "ship_all"]

_PATIENCE_SECONDS = 10.0
_LEFT_OVER_SECONDS = 3600.0


def ship_all(spool: Path, receiver: Receiver, *, wait: bool = False) -> int:
    """Ship what every agent of one user has spooled; returns the number of facts shipped.

    What is damaged in a spool is set aside with an alert and a gap fact; the rest of it and the others still ship.
    """
    if not spool.is_dir():
        return 0
    shipped = 0
    for folder in sorted(folder for folder in spool.iterdir() if folder.is_dir()):
        if segment_numbers(folder):
            shipped += ship_agent(folder, receiver, wait=wait)
        else:
            _sweep(folder)
    return shipped


def _sweep(folder: Path) -> None:
    """Remove what is left of a spool whose agent, or whose shipper, was killed while it came or went."""
    with suppress(OSError):
        # Not a young one: its agent may be about to lock it.
        if time.time() > folder.stat().st_mtime + _LEFT_OVER_SECONDS and not has_writer(folder):
            shutil.rmtree(folder)


def ship_agent(spool: Path | SpoolFolder, receiver: Receiver, *, wait: bool = False) -> int:
    """Ship one agent's spool; its folder goes once the agent has ended and all is shipped.

    While another ships the same spool there is nothing to do, or with ``wait`` to wait for, up to 10 s.
    Returns the number of facts shipped: 0 also when another was at it, or the folder is gone.
    """
    folder = spool if isinstance(spool, SpoolFolder) else SpoolFolder.of(spool)
    with only_shipper(folder.files, _PATIENCE_SECONDS if wait else 0.0) as alone:
        if not alone:
            return 0
        try:
            ended = not has_writer(folder.files)  # asked first: what is written afterwards stays for the next time
            return Walk(folder, receiver).ship_rest(ended=ended)
        except FileNotFoundError:
            if segment_numbers(folder.files):
                raise
            return 0  # somebody removed the folder meanwhile; its agent notices and says so


@contextmanager
def only_shipper(folder: Path, patience: float) -> Iterator[bool]:
    """Hold the lock of whoever ships or rewrites a spool; yield False when another has it, or the spool is gone."""
    try:
        handle = open_within(folder, "shipping", os.O_WRONLY | os.O_CREAT)
    except FileNotFoundError:  # another shipper finished and removed the folder
        yield False
        return
    try:
        yield _locked(handle, patience) and bool(segment_numbers(folder))
    finally:
        os.close(handle)


def _locked(handle: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        else:
            return True
