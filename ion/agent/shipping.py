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

from ion.agent.capture_keys import KeyReceiver, hand_over_keys
from ion.agent.spool import LARGEST_TAIL, has_writer, open_within, read_frames
from ion.canonical import digest_bytes
from ion.clock import Clock
from ion.errors import IonError
from ion.facts import AlertRaised, GapNoted, StatisticsRecorded
from ion.ids import new_id, observed_id
from ion.records import Record, read_record, write_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_BATCH = 500
_PATIENCE_SECONDS = 10.0
_BATCH_BYTES = 16 * 1024 * 1024
_MAGIC = b"ION1"
_MOST_CURSOR = 4096
_DAMAGE = frozenset({"spool-corrupt", "bad-fact", "foreign-agent"})


class Receiver(KeyReceiver, Protocol):
    """What shipping needs of a store."""

    def append(self, records: Sequence[Record], blocks: Mapping[str, bytes] | None = None) -> object:
        """Take records idempotently."""


@dataclass(frozen=True, slots=True)
class _Cursor:
    """How far a spool was shipped: the byte, and the link there."""

    offset: int
    link: bytes


_START = _Cursor(0, bytes(32))


@dataclass(frozen=True, slots=True)
class SpoolFolder:
    """The spool of one agent.

    Args:
        agent: its name; every fact in it must be told under that name.
        files: the folder that its files are opened in.
        place: where the folder goes away from, once it is shipped or set aside.
        quarantine: where a damaged one goes.
        most: bytes shipped at a time, about; what is left waits for the next time.
        patience: seconds to wait for its writer to let go of the keys.
    """

    agent: str
    files: Path
    place: Path
    quarantine: Path
    most: float = float("inf")
    patience: float = _PATIENCE_SECONDS

    @classmethod
    def of(cls, folder: Path) -> SpoolFolder:
        """Return the spool in ``folder``, ``<home>/spool/<agent>``, of this process's own user."""
        return cls(folder.name, folder, folder, folder.parent.parent / "quarantine")


def ship_all(spool: Path, receiver: Receiver, *, wait: bool = False) -> int:
    """Ship what every agent of one user has spooled; returns the number of facts shipped.

    A damaged spool is set aside with an alert and a gap fact; the others still ship.
    """
    if not spool.is_dir():
        return 0
    agents = sorted(folder for folder in spool.iterdir() if (folder / "facts").is_file())
    return sum(ship_agent(folder, receiver, wait=wait) for folder in agents)


def ship_agent(spool: Path | SpoolFolder, receiver: Receiver, *, wait: bool = False) -> int:
    """Ship one agent's spool; its folder goes once the agent has ended and all is shipped.

    While another ships the same spool there is nothing to do, or with ``wait`` to wait for, up to 10 s.
    Returns the number of facts shipped: 0 also when another was at it, or the folder is gone.
    """
    folder = spool if isinstance(spool, SpoolFolder) else SpoolFolder.of(spool)
    with _only_shipper(folder.files, _PATIENCE_SECONDS if wait else 0.0) as alone:
        if not alone:
            return 0
        try:
            return _ship_folder(folder, receiver)
        except FileNotFoundError:
            if (folder.files / "facts").exists():
                raise
            return 0  # somebody removed the folder meanwhile; its agent notices and says so


def is_shipped(folder: Path) -> bool:
    """Tell whether everything in an agent's spool has been shipped."""
    try:
        return _read_cursor(folder).offset == (folder / "facts").stat().st_size
    except FileNotFoundError:
        return True


def _ship_folder(folder: SpoolFolder, receiver: Receiver) -> int:
    ended = not has_writer(folder.files)  # asked first: what is written after the answer stays for the next time
    walk = _Walk(folder, receiver, _read_cursor(folder.files))
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
        if error.code not in _DAMAGE:
            raise
        _set_aside(folder, receiver, error, walk.cursor.offset)
        return walk.shipped
    if ended and walk.at_end:
        _retire(folder, receiver, walk.cursor.offset)
    return walk.shipped


class _Walk:
    """One pass over a spool from a cursor, in batches; ``shipped`` facts so far."""

    def __init__(self, folder: SpoolFolder, receiver: Receiver, cursor: _Cursor) -> None:
        self.cursor = cursor
        self.shipped = 0
        self.at_end = False
        self._folder = folder
        self._receiver = receiver
        self._batch: list[Record] = []
        self._blocks: dict[str, bytes] = {}
        self._bytes = 0

    def ship_rest(self) -> None:
        """Ship every whole frame after the cursor, or as many as may go at a time; on a damaged one, all before it.

        Raises:
            IonError: ``spool-corrupt``, ``bad-fact`` or ``foreign-agent``; whatever the receiver raises.
        """
        reached, limit = self.cursor, self.cursor.offset + self._folder.most
        try:
            for frame in read_frames(self._folder.files, self.cursor.offset, self.cursor.link):
                if reached.offset >= limit:
                    break
                self._batch.append(self._own(read_record(frame.record)))
                if frame.block:
                    self._blocks[_name(self._batch[-1].fact, frame.block)] = frame.block
                self._bytes += len(frame.record) + len(frame.block)
                reached = _Cursor(frame.end, frame.link)
                if len(self._batch) >= _BATCH or self._bytes >= _BATCH_BYTES:
                    self._ship(reached)
            else:
                self.at_end = True
        except IonError as error:
            if error.code in _DAMAGE:
                self._ship(reached)
            raise
        self._ship(reached)

    def _own(self, record: Record) -> Record:
        """Return the record, unless it speaks in another agent's name."""
        if record.agent != self._folder.agent:
            told = f"the spool of {self._folder.agent} holds a fact in the name of {record.agent}"
            raise IonError("foreign-agent", told[:300], "it is kept for inspection")
        return record

    def _ship(self, reached: _Cursor) -> None:
        if not self._batch:
            return
        hand_over_keys(self._folder.files, self._receiver, self._folder.patience)  # before the facts that name them
        self._receiver.append(self._batch, self._blocks)
        _write_cursor(self._folder.files, reached)
        self.cursor = reached
        self.shipped += len(self._batch)
        self._batch, self._blocks, self._bytes = [], {}, 0


def _name(fact: object, block: bytes) -> str:
    """Return what a block is called: as the fact calls its points, by its bytes otherwise."""
    return fact.digest if isinstance(fact, StatisticsRecorded) else digest_bytes(block)


def _read_cursor(folder: Path) -> _Cursor:
    try:
        with os.fdopen(open_within(folder, "shipped"), "rb") as file:
            state = json.loads(file.read(_MOST_CURSOR))
        cursor = _Cursor(int(state["offset"]), bytes.fromhex(state["link"]))
    except (OSError, ValueError, KeyError, TypeError):
        return _START
    return cursor if 0 <= cursor.offset <= (folder / "facts").stat().st_size else _START


def _write_cursor(folder: Path, cursor: _Cursor) -> None:
    temporary = folder / "shipped.new"
    temporary.unlink(missing_ok=True)  # O_EXCL: never what somebody else put here
    handle = open_within(folder, temporary.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(handle, "wb") as file:
        file.write(json.dumps({"offset": cursor.offset, "link": cursor.link.hex()}).encode())
    temporary.replace(folder / "shipped")


@contextmanager
def _only_shipper(folder: Path, patience: float) -> Iterator[bool]:
    try:
        handle = open_within(folder, "shipping", os.O_WRONLY | os.O_CREAT)
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


def _retire(folder: SpoolFolder, receiver: Receiver, at: int) -> None:
    """Remove the spool of an agent that has ended, all of it shipped but for a torn tail."""
    with os.fdopen(open_within(folder.files, "facts"), "rb") as file:
        file.seek(at)
        tail = file.read(LARGEST_TAIL + 1)
    # More frames follow: a length was damaged, nothing was torn.
    if _MAGIC in tail[len(_MAGIC) :] or len(tail) > LARGEST_TAIL:
        error = IonError("spool-corrupt", f"the spool of {folder.agent} is damaged at byte {at}")
        _set_aside(folder, receiver, error, at)
        return
    if tail:
        reason = f"the agent died while writing; {len(tail)} unacknowledged bytes at {at} were cut"
        fact = GapNoted(scope=folder.agent, what="spool bytes", count=len(tail), reason=reason)
        tell_of_spool(receiver, fact, folder.agent, "torn")
    shutil.rmtree(folder.place)


def _set_aside(folder: SpoolFolder, receiver: Receiver, error: IonError, at: int) -> None:
    lost = (folder.files / "facts").lstat().st_size - at
    gap = GapNoted(scope=folder.agent, what="spool bytes", count=lost, reason=error.message, first=at)
    tell_of_spool(receiver, gap, folder.agent, f"corrupt-{at}")
    kind = "foreign-agent" if error.code == "foreign-agent" else "spool-corrupt"
    alert = AlertRaised(scope=folder.agent, alert=kind, message=error.message)
    tell_of_spool(receiver, alert, folder.agent, f"alert-{at}")
    folder.quarantine.mkdir(mode=0o700, exist_ok=True)
    target = folder.quarantine / folder.agent
    folder.place.rename(target.with_name(f"{folder.agent}-{new_id()}") if target.exists() else target)


def tell_of_spool(receiver: Receiver, fact: GapNoted | AlertRaised, agent: str, what: str) -> None:
    """Record a fact about a spool once, as an agent of its own."""
    identity = observed_id("shipping", agent, what)
    record = write_record(fact, fact_id=identity, agent=f"shipping-{identity}", seq=0, stamp=Clock().tick())
    receiver.append([record])
