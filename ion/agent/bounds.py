"""How much of an agent may wait in its spool, in bytes and days; what is over is given up and told."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Protocol

from ion.agent.files import open_within, sync_folder
from ion.agent.frames import Frame, SegmentHead, framed
from ion.agent.segments import OLD, Cursor, Segment, segment_name, segment_numbers
from ion.agent.shipping import only_shipper
from ion.errors import IonError
from ion.facts import AlertRaised
from ion.ids import observed_id
from ion.records import read_record
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ion.agent.evicting import Losses, Told
    from ion.facts import Fact

_DAY = 86400.0
_ENOUGH = 0.9
"""Of the bound is what is left: or there would be something to give up with every segment."""

_LARGEST_SEGMENT = 16 * 1024 * 1024


class Tell(Protocol):
    """Makes facts durable, each with its id, before anything is given up."""

    def __call__(self, facts: Sequence[tuple[Fact, str]], /) -> object:
        """Tell facts."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that may wait: ``most_bytes`` of one agent, none of it for longer than ``most_seconds``."""

    most_bytes: int = 1024**3
    most_seconds: float = 30 * _DAY

    @classmethod
    def find(cls) -> Bounds:
        """Return the bounds of ``ION_SPOOL_MAX_BYTES`` and ``ION_SPOOL_MAX_AGE`` (days).

        Raises:
            IonError: ``bad-spool-bound``.
        """
        most, days = os.environ.get("ION_SPOOL_MAX_BYTES"), os.environ.get("ION_SPOOL_MAX_AGE")
        try:
            found = cls(int(most) if most else cls().most_bytes, float(days) * _DAY if days else cls().most_seconds)
        except ValueError as error:
            raise _bad(f"not a bound of the spool: {error}") from error
        if found.most_bytes < 1 or not found.most_seconds > 0:
            raise _bad("a bound of the spool is above zero")
        return found

    @property
    def segment_bytes(self) -> int:
        """How large a segment grows: only whole ones are looked through."""
        return max(1, min(_LARGEST_SEGMENT, self.most_bytes // 8))


def _bad(message: str) -> IonError:
    return IonError("bad-spool-bound", message, "set ION_SPOOL_MAX_BYTES to bytes and ION_SPOOL_MAX_AGE to days")


def keep_within(folder: Path, bounds: Bounds, tell: Tell, *, ended: bool = False) -> int:
    """Give up what is over the bounds, lowest value and oldest first; returns the bytes that are free now.

    Nothing happens while another ships this spool. ``ended``: its writer has, so that its last segment counts, too.

    Raises:
        IonError: whatever ``tell`` raises; nothing was given up then that was not told.
        OSError: the disk refuses.
    """
    with only_shipper(folder, 0.0) as alone:
        if not alone:
            return 0
        numbers = segment_numbers(folder)
        cursor = Cursor.load(folder)
        sizes = {number: (folder / segment_name(number)).stat().st_size for number in numbers}
        begun = cursor.segment if cursor is not None else OLD
        whole = [number for number in (numbers if ended else numbers[:-1]) if number > begun]
        oldest = time.time() - bounds.most_seconds
        too_old = {number for number in whole if (folder / segment_name(number)).stat().st_mtime < oldest}
        before = sum(sizes.values())
        target = bounds.most_bytes if before <= bounds.most_bytes else int(bounds.most_bytes * _ENOUGH)
        if before <= bounds.most_bytes and not too_old:
            return 0
        from ion.agent.evicting import LADDER

        for rung in LADDER:
            for number in whole:
                if number in too_old or sum(sizes.values()) > target:
                    sizes[number] = _reduce(folder, number, rung, tell)
        if sum(sizes.values()) > bounds.most_bytes:
            message = (
                f"the spool of {folder.name} is over its bound of {bounds.most_bytes} bytes; the rest is never given up"
            )
            tell(
                [
                    (
                        AlertRaised(scope=folder.name, alert="spool-full", message=message),
                        observed_id("full", folder.name),
                    )
                ]
            )
        return before - sum(sizes.values())


def _reduce(folder: Path, number: int, rung: Callable[[list[Told], Losses], None], tell: Tell) -> int:
    """Write a segment again without what a rung gives up, told before; returns its size."""
    from ion.agent.evicting import Losses, Told

    with Segment(folder, number) as segment:
        head, size = segment.head, segment.size
        if head is None:
            return size
        told: list[Told] = []
        link = head.link
        for item in segment.read(segment.start, link, closed=True):
            if not isinstance(item, Frame) or not item.follows:
                return size  # damage is for the shipper, as it is
            try:
                told.append(Told(read_record(item.record), item.block))
            except IonError:
                return size
            link = item.link
    losses = Losses()
    rung(told, losses)
    if not losses.counts:
        return size
    identity = ("given up", folder.name, str(number), rung.__name__, str(size))
    gaps = losses.gaps(folder.name)
    tell([(gap, observed_id(*identity, str(index))) for index, gap in enumerate(gaps)])
    _rewrite(folder, number, SegmentHead(head.first, head.link, head.ends or link), told)
    return (folder / segment_name(number)).stat().st_size


def _rewrite(folder: Path, number: int, head: SegmentHead, told: list[Told]) -> None:
    hidden, there = folder / "facts.rewritten", folder / segment_name(number)
    written = there.stat().st_mtime
    hidden.unlink(missing_ok=True)
    handle = open_within(folder, hidden.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    link = head.link
    with os.fdopen(handle, "wb") as file:
        file.write(head.pack())
        for each in told:
            if each.record is not None:
                frame, link = framed(link, each.record.raw, each.block)
                file.write(frame)
        file.flush()
        os.utime(file.fileno(), (written, written))  # it is as old as what it holds
        os.fsync(file.fileno())
    hidden.replace(there)
    sync_folder(folder)
