"""Shipping: every agent's spool into the store, at least once; the store makes it exactly once."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ion.agent.spool import has_writer, read_frames
from ion.canonical import digest_bytes
from ion.clock import Clock
from ion.errors import IonError
from ion.facts import AlertRaised, GapNoted, Record, read_record, write_record
from ion.ids import observed_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_BATCH = 500


class Receiver(Protocol):
    """What shipping needs of a store."""

    def append(self, records: Sequence[Record], blocks: Mapping[str, bytes] | None = None) -> object:
        """Take records idempotently."""


@dataclass(frozen=True, slots=True)
class _Cursor:
    """How far a spool was shipped: the byte, and the link there."""

    offset: int
    link: bytes


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

    While another process ships the same spool there is nothing to do, or with ``wait`` to wait for.
    """
    with _only_shipper(folder, wait=wait) as alone:
        if not alone:
            return 0
        ended = not has_writer(folder)
        cursor, shipped = _read_cursor(folder), 0
        batch: list[Record] = []
        blocks: dict[str, bytes] = {}
        try:
            for frame in read_frames(folder, cursor.offset, cursor.link):
                batch.append(read_record(frame.record))
                if frame.block:
                    blocks[digest_bytes(frame.block)] = frame.block
                cursor = _Cursor(frame.end, frame.link)
                if len(batch) >= _BATCH:
                    shipped += _ship(folder, receiver, batch, blocks, cursor)
                    batch, blocks = [], {}
            shipped += _ship(folder, receiver, batch, blocks, cursor)
        except IonError as error:
            if error.code not in {"spool-corrupt", "bad-fact"}:
                raise
            shipped += _ship(folder, receiver, batch, blocks, cursor)
            _set_aside(folder, receiver, error, cursor.offset)
            return shipped
        if ended:
            torn = (folder / "facts").stat().st_size - cursor.offset
            if torn:
                _note_torn_tail(folder, receiver, torn, cursor.offset)
            shutil.rmtree(folder)
        return shipped


def _ship(
    folder: Path, receiver: Receiver, batch: list[Record], blocks: dict[str, bytes], cursor: _Cursor
) -> int:
    if batch:
        receiver.append(batch, blocks)
        state = json.dumps({"offset": cursor.offset, "link": cursor.link.hex()})
        temporary = folder / "shipped.new"
        temporary.write_text(state)
        temporary.replace(folder / "shipped")
    return len(batch)


def _read_cursor(folder: Path) -> _Cursor:
    try:
        state = json.loads((folder / "shipped").read_text())
        return _Cursor(int(state["offset"]), bytes.fromhex(state["link"]))
    except (OSError, ValueError, KeyError):
        return _Cursor(0, bytes(32))  # shipping again is harmless: the store deduplicates


@contextmanager
def _only_shipper(folder: Path, *, wait: bool) -> Iterator[bool]:
    try:
        handle = os.open(folder / "shipping", os.O_WRONLY | os.O_CREAT, 0o600)
    except FileNotFoundError:  # another shipper finished and removed the folder
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield (folder / "facts").exists()
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def _note_torn_tail(folder: Path, receiver: Receiver, size: int, at: int) -> None:
    reason = f"the agent died while writing; {size} unacknowledged bytes at {at} were cut"
    fact = GapNoted(scope=folder.name, what="spool bytes", count=size, reason=reason)
    _tell(receiver, fact, folder.name, "torn")


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
