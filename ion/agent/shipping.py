"""Shipping: every agent's spool into the store, at least once; the store makes it exactly once."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ion.agent.spool import has_writer, read_frames
from ion.canonical import digest_bytes
from ion.clock import Clock
from ion.errors import IonError
from ion.facts import AlertRaised, GapNoted
from ion.ids import observed_id
from ion.records import Record, read_record, write_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_BATCH = 500
_PATIENCE_SECONDS = 10.0
_BATCH_BYTES = 16 * 1024 * 1024
_MAGIC = b"ION1"


class Receiver(Protocol):
    """What shipping needs of a store."""

    def append(self, records: Sequence[Record], blocks: Mapping[str, bytes] | None = None) -> object:
        """Take records idempotently."""


@dataclass(frozen=True, slots=True)
class _Cursor:
    """How far a spool was shipped: the byte, and the link there."""

    offset: int
    link: bytes


_START = _Cursor(0, bytes(32))


def ship_all(spool: Path, receiver: Receiver) -> int:
    """Ship what every agent has spooled; returns the number of facts shipped.

    A damaged spool is set aside with an alert and a gap fact; the others still ship.
    """
    if not spool.is_dir():
        return 0
    agents = sorted(folder for folder in spool.iterdir() if (folder / "facts").is_file())
    return sum(ship_agent(folder, receiver) for folder in agents)


def ship_agent(folder: Path, receiver: Receiver, *, wait: bool = False) -> int:
    """Ship one agent's spool; its folder goes once the agent has ended and all is shipped.

    While another ships the same spool there is nothing to do, or with ``wait`` to wait for, up to 10 s.
    Returns the number of facts shipped: 0 also when another was at it, or the folder is gone.
    """
    with _only_shipper(folder, _PATIENCE_SECONDS if wait else 0.0) as alone:
        if not alone:
            return 0
        try:
            return _ship_folder(folder, receiver)
        except FileNotFoundError:
            if (folder / "facts").exists():
                raise
            return 0  # somebody removed the folder meanwhile; its agent notices and says so


def is_shipped(folder: Path) -> bool:
    """Tell whether everything in an agent's spool has been shipped."""
    try:
        return _read_cursor(folder).offset == (folder / "facts").stat().st_size
    except FileNotFoundError:
        return True


def _ship_folder(folder: Path, receiver: Receiver) -> int:
    ended = not has_writer(folder)  # asked first: what is written after the answer stays for the next time
    walk = _Walk(folder, receiver, _read_cursor(folder))
    try:
        try:
            walk.ship_rest()
        except IonError as error:
            if error.code != "spool-corrupt" or walk.cursor == _START or walk.shipped:
                raise
            # The cursor itself may be the damaged part. Shipping again is harmless: the store deduplicates.
            walk = _Walk(folder, receiver, _START)
            walk.ship_rest()
    except IonError as error:
        if error.code not in {"spool-corrupt", "bad-fact"}:
            raise
        _set_aside(folder, receiver, error, walk.cursor.offset)
        return walk.shipped
    if ended:
        _retire(folder, receiver, walk.cursor.offset)
    return walk.shipped


class _Walk:
    """One pass over a spool from a cursor, in batches; ``shipped`` facts so far."""

    def __init__(self, folder: Path, receiver: Receiver, cursor: _Cursor) -> None:
        self.cursor = cursor
        self.shipped = 0
        self._folder = folder
        self._receiver = receiver
        self._batch: list[Record] = []
        self._blocks: dict[str, bytes] = {}
        self._bytes = 0

    def ship_rest(self) -> None:
        """Ship every whole frame after the cursor; on a damaged one, all before it.

        Raises:
            IonError: ``spool-corrupt`` or ``bad-fact``; whatever the receiver raises.
        """
        reached = self.cursor
        try:
            for frame in read_frames(self._folder, self.cursor.offset, self.cursor.link):
                self._batch.append(read_record(frame.record))
                if frame.block:
                    self._blocks[digest_bytes(frame.block)] = frame.block
                self._bytes += len(frame.record) + len(frame.block)
                reached = _Cursor(frame.end, frame.link)
                if len(self._batch) >= _BATCH or self._bytes >= _BATCH_BYTES:
                    self._ship(reached)
        except IonError as error:
            if error.code in {"spool-corrupt", "bad-fact"}:
                self._ship(reached)
            raise
        self._ship(reached)

    def _ship(self, reached: _Cursor) -> None:
        if not self._batch:
            return
        self._receiver.append(self._batch, self._blocks)
        _write_cursor(self._folder, reached)
        self.cursor = reached
        self.shipped += len(self._batch)
        self._batch, self._blocks, self._bytes = [], {}, 0


def _read_cursor(folder: Path) -> _Cursor:
    try:
        state = json.loads((folder / "shipped").read_text())
        cursor = _Cursor(int(state["offset"]), bytes.fromhex(state["link"]))
    except (OSError, ValueError, KeyError, TypeError):
        return _START
    return cursor if 0 <= cursor.offset <= (folder / "facts").stat().st_size else _START


def _write_cursor(folder: Path, cursor: _Cursor) -> None:
    temporary = folder / "shipped.new"
    temporary.write_text(json.dumps({"offset": cursor.offset, "link": cursor.link.hex()}))
    temporary.replace(folder / "shipped")


@contextmanager
def _only_shipper(folder: Path, patience: float) -> Iterator[bool]:
    try:
        handle = os.open(folder / "shipping", os.O_WRONLY | os.O_CREAT, 0o600)
    except FileNotFoundError:  # another shipper finished and removed the folder
        yield False
        return
    try:
        yield _locked(handle, patience) and (folder / "facts").exists()
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


def _retire(folder: Path, receiver: Receiver, at: int) -> None:
    """Remove the spool of an agent that has ended, all of it shipped but for a torn tail."""
    with (folder / "facts").open("rb") as file:
        file.seek(at)
        tail = file.read()
    if _MAGIC in tail[len(_MAGIC) :]:  # more frames follow: a length was damaged, nothing was torn
        error = IonError("spool-corrupt", f"the spool of {folder.name} is damaged at byte {at}")
        _set_aside(folder, receiver, error, at)
        return
    if tail:
        reason = f"the agent died while writing; {len(tail)} unacknowledged bytes at {at} were cut"
        fact = GapNoted(scope=folder.name, what="spool bytes", count=len(tail), reason=reason)
        _tell(receiver, fact, folder.name, "torn")
    shutil.rmtree(folder)


def _set_aside(folder: Path, receiver: Receiver, error: IonError, at: int) -> None:
    lost = (folder / "facts").stat().st_size - at
    gap = GapNoted(scope=folder.name, what="spool bytes", count=lost, reason=error.message, first=at)
    _tell(receiver, gap, folder.name, f"corrupt-{at}")
    alert = AlertRaised(scope=folder.name, alert="spool-corrupt", message=error.message)
    _tell(receiver, alert, folder.name, f"alert-{at}")
    target = folder.parent.parent / "quarantine" / folder.name
    target.parent.mkdir(mode=0o700, exist_ok=True)
    folder.rename(target)


def _tell(receiver: Receiver, fact: GapNoted | AlertRaised, agent: str, what: str) -> None:
    """Record a fact about a spool once, as an agent of its own."""
    identity = observed_id("shipping", agent, what)
    record = write_record(fact, fact_id=identity, agent=f"shipping-{identity}", seq=0, stamp=Clock().tick())
    receiver.append([record])
