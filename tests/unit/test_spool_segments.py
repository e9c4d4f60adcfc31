"""A spool in segments: what is shipped goes, what is damaged costs only itself, and what is missing is told."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
from typing import TYPE_CHECKING

import pytest

from ion.agent import Client
from ion.agent.frames import SEGMENT_HEAD
from ion.agent.segments import read_frames, segment_numbers
from ion.agent.shipping import is_shipped, ship_agent, ship_all
from ion.agent.spool import SpoolWriter
from ion.errors import IonError
from ion.facts import AlertRaised, GapNoted
from ion.home import Home
from ion.testing import MemoryReceiver, written

if TYPE_CHECKING:
    from pathlib import Path

AGENT = "agent-1"


class Remembers(MemoryReceiver):
    """A receiver that says what it has, like the store."""

    def acknowledged(self, agent: str) -> int | None:
        return max((record.seq for record in self.records if record.agent == agent), default=None)


def fact(number: int) -> bytes:
    return written(GapNoted(scope=f"s{number}", what="x", count=number, reason=""), number).raw


def spooled(spool: Path, count: int, *, most: int = 600, close: bool = True) -> SpoolWriter:
    writer = SpoolWriter(spool, AGENT, segment_bytes=most)
    for number in range(count):
        writer.append(fact(number))
    if close:
        writer.close()
    return writer


def shipped(receiver: MemoryReceiver) -> list[int]:
    return [record.seq for record in receiver.records if record.agent == AGENT]


def gaps(receiver: MemoryReceiver) -> list[tuple[str, int, int | None, int | None]]:
    return [(gap.what, gap.count, gap.first, gap.last) for gap in receiver.facts(GapNoted) if gap.scope == AGENT]


def alerts(receiver: MemoryReceiver) -> list[str]:
    return [alert.alert for alert in receiver.facts(AlertRaised)]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_shipped_segment_goes_and_the_one_being_written_stays(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    writer = spooled(tmp_path, 10, close=False)
    before = segment_numbers(tmp_path / AGENT)
    assert len(before) > 3
    assert ship_all(tmp_path, receiver) == 10
    assert segment_numbers(tmp_path / AGENT) == before[-1:]
    assert is_shipped(tmp_path / AGENT)
    for number in range(10, 20):
        writer.append(fact(number))
    assert not is_shipped(tmp_path / AGENT)
    writer.close()
    assert ship_all(tmp_path, receiver) == 10
    assert shipped(receiver) == list(range(20))
    assert gaps(receiver) == alerts(receiver) == []
    assert list(tmp_path.iterdir()) == []


def test_the_links_run_through_the_segments(tmp_path: Path) -> None:
    spooled(tmp_path, 10)
    link = bytes(32)
    for frame in read_frames(tmp_path / AGENT):
        header = struct.pack(">4sII", b"ION2", len(frame.record), len(frame.block))
        link = hashlib.sha256(link + hashlib.sha256(header + frame.record).digest()).digest()
        assert frame.link == link
        assert frame.follows


def test_a_damaged_frame_costs_only_itself_in_any_segment(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    spool = tmp_path / "spool"
    spooled(spool, 10)
    flip(spool / AGENT / "facts-00000001", SEGMENT_HEAD + 100)
    lost = {*range(10)}
    assert ship_all(spool, receiver) == 9
    (missing,) = lost - set(shipped(receiver))
    assert gaps(receiver) == [("facts", 1, missing, missing)]
    assert alerts(receiver) == ["spool-corrupt"]
    (kept,) = (tmp_path / "quarantine" / AGENT).iterdir()
    assert kept.name == f"facts-00000001.{SEGMENT_HEAD}"
    assert fact(missing) not in kept.read_bytes()


def test_damage_is_told_while_the_writer_lives_and_once_when_the_store_comes_back(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    spool = tmp_path / "spool"
    writer = spooled(spool, 3, most=10_000, close=False)
    flip(spool / AGENT / "facts-00000000", SEGMENT_HEAD + 100)
    receiver.down = True
    with pytest.raises(ConnectionError):
        ship_all(spool, receiver)
    receiver.down = False
    assert ship_all(spool, receiver) == 2
    writer.append(fact(3))
    assert ship_all(spool, receiver) == 1
    assert shipped(receiver) == [1, 2, 3]
    assert gaps(receiver) == [("facts", 1, 0, 0)]


@pytest.mark.parametrize("at", [4, 20, 50, 90])
def test_a_damaged_head_of_a_segment_costs_no_fact(tmp_path: Path, at: int) -> None:
    receiver = MemoryReceiver()
    spool = tmp_path / "spool"
    spooled(spool, 10)
    flip(spool / AGENT / "facts-00000002", at)
    assert ship_all(spool, receiver) == 10
    assert shipped(receiver) == list(range(10))
    assert "spool-corrupt" in alerts(receiver)


def test_a_segment_that_was_taken_out_is_told_with_its_numbers(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    spooled(tmp_path, 10)
    (tmp_path / AGENT / "facts-00000001").unlink()
    ship_all(tmp_path, receiver)
    missing = sorted({*range(10)} - set(shipped(receiver)))
    assert gaps(receiver) == [("facts", len(missing), missing[0], missing[-1])]


def test_a_frame_that_was_taken_out_is_told_though_nothing_is_damaged(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    spooled(tmp_path, 4, most=10_000)
    frames = list(read_frames(tmp_path / AGENT))
    path = tmp_path / AGENT / "facts-00000000"
    data = path.read_bytes()
    path.write_bytes(data[: frames[0].end] + data[frames[1].end :])
    assert ship_all(tmp_path, receiver) == 3
    assert gaps(receiver) == [("facts", 1, 1, 1)]
    assert alerts(receiver) == ["spool-corrupt"]


def test_a_fact_of_an_unknown_kind_costs_only_itself(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    spool = tmp_path / "spool"
    writer = SpoolWriter(spool, AGENT)
    unknown = json.loads(fact(1)) | {"kind": "TomorrowsFact"}
    for record in (fact(0), json.dumps(unknown).encode(), fact(2)):
        writer.append(record)
    writer.close()
    assert ship_all(spool, receiver) == 2
    assert gaps(receiver) == [("facts", 1, 1, 1)]


def test_a_spool_cut_below_what_was_acknowledged_is_noticed(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    writer = spooled(tmp_path, 5, most=10_000, close=False)
    ship_all(tmp_path, receiver)
    os.truncate(tmp_path / AGENT / "facts-00000000", SEGMENT_HEAD + 10)
    writer.abandon()
    ship_all(tmp_path, receiver)
    assert "spool-truncated" in alerts(receiver)
    assert ("end of the spool", 1, 5, None) in gaps(receiver)


def test_a_spool_cut_at_a_frame_without_its_cursor_is_noticed_by_what_the_store_has(tmp_path: Path) -> None:
    receiver = Remembers()
    writer = spooled(tmp_path, 5, most=10_000, close=False)
    ship_all(tmp_path, receiver)
    frames = list(read_frames(tmp_path / AGENT))
    os.truncate(tmp_path / AGENT / "facts-00000000", frames[1].end)
    (tmp_path / AGENT / "shipped").unlink()
    writer.abandon()
    ship_all(tmp_path, receiver)
    assert alerts(receiver) == ["spool-truncated"]
    assert gaps(receiver) == [("end of the spool", 1, 5, None)]


def test_segments_that_are_gone_with_the_cursor_are_told_by_what_the_store_has(tmp_path: Path) -> None:
    receiver = Remembers()
    spooled(tmp_path, 10)
    (tmp_path / AGENT / "facts-00000000").unlink()
    ship_all(tmp_path, receiver)
    first = shipped(receiver)[0]
    assert gaps(receiver) == [("facts", first, 0, first - 1)]


@pytest.mark.parametrize("offset", [SEGMENT_HEAD + 1, SEGMENT_HEAD + 150, 5])
def test_a_cursor_that_points_into_a_frame_costs_only_shipping_again(tmp_path: Path, offset: int) -> None:
    receiver = MemoryReceiver()
    spooled(tmp_path, 4, most=10_000)
    state = {"segment": 0, "offset": offset, "link": "11" * 32, "seq": 1}
    (tmp_path / AGENT / "shipped").write_text(json.dumps(state))
    assert ship_all(tmp_path, receiver) == 4
    assert alerts(receiver) == gaps(receiver) == []


def test_a_block_that_holds_a_frame_is_a_block(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    spooled(tmp_path / "other", 1, most=10_000)
    inner = (tmp_path / "other" / AGENT / "facts-00000000").read_bytes()
    writer = SpoolWriter(tmp_path, AGENT)
    writer.append(fact(0), inner)
    writer.append(fact(1))
    writer.close()
    assert ship_agent(tmp_path / AGENT, receiver) == 2
    assert list(receiver.blocks.values()) == [inner]


def old_spool(folder: Path, count: int) -> bytes:
    """Write a spool of format 1, as versions before segments did."""
    link, data = bytes(32), b""
    for number in range(count):
        record = fact(number)
        header = struct.pack(">4sII", b"ION1", len(record), 0)
        link = hashlib.sha256(link + header + record).digest()
        data += header + link + record
    folder.mkdir(parents=True)
    (folder / "facts").write_bytes(data)
    return data


@pytest.mark.parametrize("cut", [0, 5])
def test_a_spool_of_format_1_is_shipped(tmp_path: Path, cut: int) -> None:
    receiver = MemoryReceiver()
    data = old_spool(tmp_path / AGENT, 3)
    os.truncate(tmp_path / AGENT / "facts", len(data) - cut)
    assert ship_all(tmp_path, receiver) == (3 if not cut else 2)
    assert [gap[0] for gap in gaps(receiver)] == (["spool bytes"] if cut else [])
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_spool_of_format_1_ships_what_is_before_the_damage(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    spool = tmp_path / "spool"
    data = old_spool(spool / AGENT, 3)
    flip(spool / AGENT / "facts", len(data) // 2)
    assert ship_all(spool, receiver) == 1
    assert alerts(receiver) == ["spool-corrupt"]
    assert gaps(receiver)[0][2:] == (1, None)


# The writer ------------------------------------------------------------------------------------------


def refuses(monkeypatch: pytest.MonkeyPatch, times: int, number: int = errno.EIO) -> None:
    """Let the disk refuse to keep what was written, so many times."""
    real, left = os.fdatasync, [times]

    def fdatasync(handle: int) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr(os, "fdatasync", fdatasync)


def test_a_segment_the_disk_did_not_keep_is_never_trusted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = spooled(tmp_path, 3, close=False)
    refuses(monkeypatch, 1)
    with pytest.raises(IonError):
        writer.sync()
    for again in (writer.sync, lambda: writer.append(fact(3))):
        with pytest.raises(IonError) as caught:
            again()
        assert caught.value.code == "spool-unusable"
    assert writer.failed


def test_facts_the_disk_did_not_keep_are_told_again_by_another_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(Home(tmp_path), "test")
    former = client.agent
    with client.lock:  # the agent's own thread syncs nothing meanwhile
        client.emit(GapNoted(scope="s", what="x", count=1, reason=""))
        client.flush()
        ids = [client.emit(GapNoted(scope="s", what="x", count=number, reason="")) for number in (2, 3)]
        refuses(monkeypatch, 1)
        client.flush()
        assert client.agent != former
    client.close()
    receiver = MemoryReceiver()
    ship_all(tmp_path / "spool", receiver)
    told = [record for record in receiver.records if record.agent == client.agent]
    (gap,) = [record.fact for record in told if isinstance(record.fact, GapNoted) and record.fact.scope == former]
    assert (gap.what, gap.count, gap.first, gap.last) == ("facts", 2, 1, 2)
    assert [record.id for record in told[1:]] == ids
    assert sorted(fact.count for fact in receiver.facts(GapNoted) if fact.what == "x") == [1, 2, 3]


def test_nothing_is_acknowledged_while_the_disk_refuses_and_all_of_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(Home(tmp_path), "test")
    monkeypatch.setattr("ion.agent.teller._WAIT_SECONDS", 0.0)
    with client.lock:
        client.emit(GapNoted(scope="s", what="x", count=1, reason=""))
        refuses(monkeypatch, 4)
        for _ in range(2):
            with pytest.raises(IonError):
                client.flush()
        client.flush()
    client.close()
    receiver = MemoryReceiver()
    ship_all(tmp_path / "spool", receiver)
    assert [fact.count for fact in receiver.facts(GapNoted) if fact.what == "x"] == [1]


def test_a_spool_cut_under_its_writer_is_noticed_by_the_next_fact(tmp_path: Path) -> None:
    client = Client(Home(tmp_path), "test")
    former = client.agent
    with client.lock:
        for number in range(3):
            client.emit(GapNoted(scope="s", what="x", count=number, reason=""))
        os.truncate(tmp_path / "spool" / former / "facts-00000000", SEGMENT_HEAD + 10)
        client.emit(GapNoted(scope="s", what="x", count=3, reason=""))
    assert client.agent != former
    client.close()
    receiver = MemoryReceiver()
    ship_all(tmp_path / "spool", receiver)
    assert sorted(fact.count for fact in receiver.facts(GapNoted) if fact.what == "x") == [0, 1, 2, 3]
    assert any(gap.scope == former and gap.count == 3 for gap in receiver.facts(GapNoted))
