"""Whatever happens to a spool's bytes, what ships is true, and the rest is told."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ion.agent.shipping import ship_all
from ion.agent.spool import SpoolWriter
from ion.facts import AlertRaised, GapNoted
from ion.testing import MemoryReceiver, written

RECORDS = [written(GapNoted(scope="s", what="x", count=number, reason="r" * number), number).raw for number in range(5)]


def spooled(spool: Path) -> tuple[Path, list[int]]:
    """Write the records and return the file and the size after each."""
    writer = SpoolWriter(spool, "agent-1")
    path = spool / "agent-1" / "facts-00000000"
    ends = [path.stat().st_size]
    for record in RECORDS:
        writer.append(record)
        ends.append(path.stat().st_size)
    writer.close()
    return path, ends


def shipped(receiver: MemoryReceiver) -> list[bytes]:
    return [record.raw for record in receiver.records if record.agent == "agent-1"]


def covers(gap: GapNoted, number: int) -> bool:
    return gap.first is not None and gap.first <= number and (gap.last is None or number <= gap.last)


def told(receiver: MemoryReceiver) -> list[GapNoted]:
    return [gap for gap in receiver.facts(GapNoted) if gap.what == "spool bytes"]


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_cut_ships_the_whole_frames_before_it_and_tells_the_bytes_after(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "spool"
        path, ends = spooled(spool)
        cut = data.draw(st.integers(ends[0], ends[-1]))
        os.truncate(path, cut)
        receiver = MemoryReceiver()
        ship_all(spool, receiver)
        whole = max(number for number, end in enumerate(ends) if end <= cut)
        assert shipped(receiver) == RECORDS[:whole]
        assert [gap.count for gap in told(receiver)] == ([cut - ends[whole]] if cut > ends[whole] else [])
        assert list(spool.iterdir()) == []


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_costs_one_record_at_most_and_is_always_told(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "spool"
        path, ends = spooled(spool)
        at, bit = data.draw(st.integers(0, ends[-1] - 1)), data.draw(st.integers(0, 7))
        damaged = bytearray(path.read_bytes())
        damaged[at] ^= 1 << bit
        path.write_bytes(damaged)
        receiver = MemoryReceiver()
        ship_all(spool, receiver)
        hit = next(number for number, end in enumerate(ends) if at < end) - 1  # -1: the head of the segment
        assert shipped(receiver) == [record for number, record in enumerate(RECORDS) if number != hit] or (
            # The stored link of a frame may be the damaged part: its content proves itself.
            shipped(receiver) == RECORDS
        )
        missing = [number for number in range(len(RECORDS)) if RECORDS[number] not in shipped(receiver)]
        gaps = receiver.facts(GapNoted)
        assert all(any(covers(gap, number) for gap in gaps if gap.scope == "agent-1") for number in missing)
        alerts = [alert.alert for alert in receiver.facts(AlertRaised)]
        assert set(alerts) == {"spool-corrupt"} or (hit == len(RECORDS) - 1 and not alerts)  # a torn tail
        assert list(spool.iterdir()) == []


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.sampled_from(["write", "ship", "forget cursor", "down", "up"]), max_size=25))
def test_any_interleaving_of_writing_and_shipping_ends_with_everything_once(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool, receiver = Path(folder) / "spool", MemoryReceiver()
        writer, count = SpoolWriter(spool, "agent-1"), 0
        for step in steps:
            if step == "write":
                writer.append(written(GapNoted(scope="s", what="x", count=count, reason=""), count).raw)
                count += 1
            elif step == "forget cursor":
                (spool / "agent-1" / "shipped").unlink(missing_ok=True)
            elif step in {"down", "up"}:
                receiver.down = step == "down"
            else:
                try:
                    ship_all(spool, receiver)
                except ConnectionError:
                    assert receiver.down
        writer.close()
        receiver.down = False
        ship_all(spool, receiver)
        assert [record.seq for record in receiver.records] == list(range(count))
        assert receiver.conflicts == 0
