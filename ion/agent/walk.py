"""One pass over a spool: what is whole to the receiver, what is damaged aside and told."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from ion.agent.body import block_name
from ion.agent.capture_keys import hand_over_keys
from ion.agent.damage import set_aside, tell_broken, tell_damage, tell_hole, tell_truncated
from ion.agent.frames import Frame
from ion.agent.receiver import Remembering
from ion.agent.segments import OLD, Cursor, Damage, Segment, segment_name, segment_numbers
from ion.errors import IonError
from ion.records import Record, read_record

if TYPE_CHECKING:
    from ion.agent.damage import SpoolFolder
    from ion.agent.receiver import Receiver

_BATCH = 500
_BATCH_BYTES = 16 * 1024 * 1024


class Walk:
    """One pass over a spool from where it was left, in batches; ``shipped`` facts so far."""

    def __init__(self, folder: SpoolFolder, receiver: Receiver) -> None:
        self.shipped = 0
        self._folder = folder
        self._receiver = receiver
        self._batch: list[Record] = []
        self._blocks: dict[str, bytes] = {}
        self._bytes = 0
        self._walked = 0
        self._damage: Damage | None = None

    def ship_rest(self, *, ended: bool) -> int:
        """Ship every whole frame after the cursor, or as many as may go at a time; return how many.

        ``ended``: whether the spool's writer has, asked before.

        Raises:
            Exception: whatever the receiver raises; OSError.
        """
        numbers = segment_numbers(self._folder.files)
        if not numbers:
            return 0
        self._place = self._begin(numbers)
        for number, following in zip(numbers, [*numbers[1:], None], strict=True):
            if number < self._place.segment:
                (self._folder.files / segment_name(number)).unlink()  # shipped, and interrupted before it went
                continue
            with Segment(self._folder.files, number) as segment:
                if not self._ship_segment(segment, following, closed=ended or following is not None):
                    return self.shipped
                if following is not None:
                    self._leave(segment, following)
        if ended:
            self._retire()
        return self.shipped

    def _begin(self, numbers: list[int]) -> Cursor:
        """Return where to go on: where the last pass was left, or at the beginning."""
        cursor = Cursor.load(self._folder.files)
        if cursor is None or cursor.segment < numbers[0]:
            return Cursor(numbers[0], 0, None, -1)
        if cursor.segment not in numbers:
            gone = f"{segment_name(cursor.segment)}, of which something was acknowledged, is gone"
            tell_truncated(self._folder, self._receiver, cursor.seq, gone)
            return Cursor(numbers[0], 0, None, -1)
        return cursor

    def _ship_segment(self, segment: Segment, following: int | None, *, closed: bool) -> bool:
        """Ship a segment to its end; False when that is left for another time, or the folder was set aside."""
        place, first = self._enter(segment), True
        items = segment.read(place.offset, place.link, closed=closed)
        while (item := next(items, None)) is not None:
            if first and place.offset > segment.start and not (isinstance(item, Frame) and item.follows):
                # The cursor itself may be the damaged part. Shipping again is harmless: the store deduplicates.
                self._place, first = Cursor(segment.number, 0, None, -1), False
                place = self._enter(segment)
                items = segment.read(place.offset, place.link, closed=closed)
                continue
            first = False
            if isinstance(item, Damage):
                self._note(item)
                continue
            self._walked += item.end - self._place.offset
            if not self._take(segment, item):
                return False
            if self._walked >= self._folder.most:
                self._ship()
                self._tell_damage(segment, None)
                return False
        self._ship()
        if closed:
            self._tell_damage(segment, None if following is None else self._first_of(following))
        return True

    def _first_of(self, number: int) -> int | None:
        with Segment(self._folder.files, number) as segment:
            return segment.head.first if segment.head else None

    def _enter(self, segment: Segment) -> Cursor:
        """Begin a segment, or go on in it."""
        place, head = self._place, segment.head
        if head is None and place.offset == 0:
            self._note(Damage(0, min(1, segment.size)))
            place = Cursor(segment.number, min(1, segment.size), None, place.seq)
        elif head is not None and (place.segment != segment.number or place.offset < max(segment.start, 1)):
            seq = self._acknowledged(segment) if place.seq < 0 else place.seq
            if 0 <= seq < head.first:
                tell_hole(self._folder, self._receiver, seq, head.first)
            elif place.offset == 0 and place.link is not None and place.link != head.link:
                tell_broken(self._folder, self._receiver, segment.number, 0, head.first)
            place = Cursor(segment.number, segment.start, head.link, max(seq, head.first))
        elif place.offset > segment.size:
            reason = f"{segment_name(segment.number)} ends at byte {segment.size}, {place.offset} were acknowledged"
            tell_truncated(self._folder, self._receiver, place.seq, reason)
            place = Cursor(segment.number, segment.size, None, place.seq)
            place.save(self._folder.files)
        self._place = place
        return place

    def _acknowledged(self, segment: Segment) -> int:
        """Return up to which number the store has the facts, when the cursor was lost; -1 when nobody knows."""
        if segment.number <= 0 or not isinstance(self._receiver, Remembering):
            return -1
        newest = self._receiver.acknowledged(self._folder.agent)
        return 0 if newest is None else newest + 1

    def _take(self, segment: Segment, frame: Frame) -> bool:
        """Take the next whole frame; False when the whole spool was set aside."""
        before = self._place
        try:
            record = self._own(read_record(frame.record))
        except IonError as error:
            if error.code == "foreign-agent":
                self._ship()
                set_aside(self._folder, self._receiver, error, segment, before.offset, before.seq)
                return False
            self._note(Damage(self._damage.after if self._damage else before.offset, frame.end))
            return True
        expected = before.seq if before.seq >= 0 else record.seq
        if self._damage is not None:
            self._ship()
            self._tell_damage(segment, record.seq)
        else:
            if not frame.follows:
                tell_broken(self._folder, self._receiver, segment.number, before.offset, record.seq)
            rewritten = segment.head is not None and segment.head.ends  # what was given up is told already
            if record.seq > expected and segment.number != OLD and not rewritten:
                tell_hole(self._folder, self._receiver, expected, record.seq)
        self._batch.append(record)
        if frame.block:
            self._blocks[block_name(record.fact, frame.block)] = frame.block
        self._bytes += len(frame.record) + len(frame.block)
        self._place = Cursor(segment.number, frame.end, frame.link, max(expected, record.seq + 1))
        if len(self._batch) >= _BATCH or self._bytes >= _BATCH_BYTES:
            self._ship()
        return True

    def _own(self, record: Record) -> Record:
        """Return the record, unless it speaks in another agent's name."""
        if record.agent != self._folder.agent:
            told = f"the spool of {self._folder.agent} holds a fact in the name of {record.agent}"
            raise IonError("foreign-agent", told[:300], "it is kept for inspection")
        return record

    def _note(self, damage: Damage) -> None:
        """Remember what is damaged until it is known which fact follows it."""
        first = self._damage.first if self._damage else damage.first
        self._damage = Damage(first, damage.after, damage.torn and first == damage.first)

    def _tell_damage(self, segment: Segment, following: int | None) -> None:
        damage, self._damage = self._damage, None
        if damage is not None:
            seq = max(self._place.seq, 0)
            tell_damage(self._folder, self._receiver, segment, damage, seq, following)
            self._place = Cursor(segment.number, damage.after, None, max(seq, following or 0))
            if not self._batch:
                self._place.save(self._folder.files)

    def _ship(self) -> None:
        if not self._batch:
            return
        hand_over_keys(self._folder.files, self._receiver, self._folder.patience)  # before the facts that name them
        self._receiver.append(self._batch, self._blocks)
        self._place.save(self._folder.files)
        self.shipped += len(self._batch)
        self._batch, self._blocks, self._bytes = [], {}, 0

    def _leave(self, segment: Segment, following: int) -> None:
        """Go on in the next segment, and remove this one: all of it is in the store."""
        link, seq = self._place.link, self._place.seq
        if segment.head is not None and segment.head.ends:
            link, seq = segment.head.ends, max(seq, self._first_of(following) or 0)
        self._place = Cursor(segment.number + 1, 0, link, seq)
        self._place.save(self._folder.files)
        with suppress(FileNotFoundError):
            (self._folder.files / segment_name(segment.number)).unlink()

    def _retire(self) -> None:
        """Remove the spool of an agent that has ended, all of it shipped or told."""
        seq = max(self._place.seq, 0)
        newest = self._receiver.acknowledged(self._folder.agent) if isinstance(self._receiver, Remembering) else None
        if newest is not None and newest >= seq:
            reason = f"it ends before fact {seq}, the store acknowledged {newest}"
            tell_truncated(self._folder, self._receiver, newest + 1, reason)
        shutil.rmtree(self._folder.place)
