"""Reading a spool: its segments in order, what in them is whole, and how far it was shipped."""

from __future__ import annotations

import fcntl
import json
import os
import re
from typing import TYPE_CHECKING, Self

from ion.agent.files import open_within
from ion.agent.frames import FIRST_LINK, SEGMENT_HEAD, Frame, SegmentHead, is_torn, next_frame, read_frame
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

OLD = -1
"""The number of a spool's only file in format 1, ``facts``."""

WRITING = "writing"
"""The file that the writer of a spool holds locked while it lives."""

_NAME = re.compile(r"facts-(\d{8})\Z")
_MOST_CURSOR = 4096


def segment_name(number: int) -> str:
    """Return the name of a segment's file."""
    return "facts" if number == OLD else f"facts-{number:08d}"


def segment_numbers(folder: Path) -> list[int]:
    """Return the numbers of the segments that are there, in order."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names, not paths
    except FileNotFoundError:
        return []
    found = [int(match[1]) for match in map(_NAME.match, names) if match]
    return sorted([*found, OLD] if "facts" in names else found)


def has_writer(folder: Path) -> bool:
    """Tell whether the agent that writes this spool is alive."""
    try:
        handle = open_within(folder, WRITING)
    except FileNotFoundError:
        try:
            handle = open_within(folder, segment_name(OLD))  # format 1 locked the facts themselves
        except FileNotFoundError:
            return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that are no frame; ``torn`` when its writer died while writing them."""

    first: int
    after: int
    torn: bool = False


class Segment:
    """One opened segment; close it after use. Its size is that at opening.

    Raises:
        OSError: it is not there, or not a file of this spool.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.file: BinaryIO = os.fdopen(open_within(folder, segment_name(number)), "rb")
        self.size = os.fstat(self.file.fileno()).st_size
        self.head: SegmentHead | None = SegmentHead(0, FIRST_LINK)
        self.start = 0
        if number != OLD:
            self.head = SegmentHead.parse(self.file.read(SEGMENT_HEAD))
            self.start = SEGMENT_HEAD if self.head else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def read(self, at: int, link: bytes | None, *, closed: bool) -> Iterator[Frame | Damage]:
        """Yield the frames from byte ``at`` on, and what between them is damaged.

        What stands at the end and is no frame counts as damage only when the segment is ``closed``: else it
        is still being written. ``link`` is the link before, None when it is not known.
        """
        while at < self.size:
            frame = read_frame(self.file, at, self.size, link)
            if frame is not None:
                yield frame
                at, link = frame.end, frame.link
                continue
            after = next_frame(self.file, at + 1, self.size)
            if after is None:
                if closed:
                    yield Damage(at, self.size, is_torn(self.file, at, self.size))
                return
            yield Damage(at, after)
            at, link = after, None


def read_frames(folder: Path) -> Iterator[Frame]:
    """Yield every whole frame of a spool from its beginning, whatever is between them."""
    for number in segment_numbers(folder):
        with Segment(folder, number) as segment:
            link = segment.head.link if segment.head else None
            for item in segment.read(segment.start, link, closed=True):
                if isinstance(item, Frame):
                    yield item


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a spool was shipped.

    Args:
        segment: the number of the segment.
        offset: the byte there; 0 for its beginning.
        link: the link there, None when it is not known.
        seq: the number of the next frame.
    """

    segment: int
    offset: int
    link: bytes | None
    seq: int

    @classmethod
    def load(cls, folder: Path) -> Cursor | None:
        """Return what `save` wrote, or None when there is nothing that makes sense."""
        try:
            with os.fdopen(open_within(folder, "shipped"), "rb") as file:
                state = json.loads(file.read(_MOST_CURSOR))
            link = bytes.fromhex(state["link"])
            cursor = cls(int(state.get("segment", OLD)), int(state["offset"]), link or None, int(state.get("seq", 0)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        sound = cursor.segment >= OLD and cursor.offset >= 0 and cursor.seq >= -1 and len(link) in {0, 32}
        return cursor if sound else None

    def save(self, folder: Path) -> None:
        """Keep the cursor beside the segments.

        Raises:
            OSError: the disk refuses.
        """
        temporary = folder / "shipped.new"
        temporary.unlink(missing_ok=True)  # O_EXCL: never what somebody else put here
        handle = open_within(folder, temporary.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        state = {
            "segment": self.segment,
            "offset": self.offset,
            "link": (self.link or b"").hex(),
            "seq": self.seq,
        }
        with os.fdopen(handle, "wb") as file:
            file.write(json.dumps(state).encode())
        temporary.replace(folder / "shipped")


def is_shipped(folder: Path) -> bool:
    """Tell whether everything in an agent's spool has been shipped."""
    numbers = segment_numbers(folder)
    if not numbers:
        return True
    cursor = Cursor.load(folder)
    try:
        size = (folder / segment_name(numbers[-1])).stat().st_size
    except FileNotFoundError:
        return True
    if cursor is None:
        return size <= (0 if numbers[-1] == OLD else SEGMENT_HEAD) and len(numbers) == 1
    return cursor.segment == numbers[-1] and (cursor.offset == size or (cursor.offset == 0 and size <= SEGMENT_HEAD))
