"""The spool survives its writer and shipping survives everything: nothing lost silently, nothing wrong shipped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from ion.agent import shipping
from ion.agent.frames import SEGMENT_HEAD
from ion.agent.segments import has_writer, read_frames
from ion.agent.shipping import is_shipped, ship_agent, ship_all
from ion.agent.spool import SpoolWriter
from ion.errors import IonError
from ion.facts import AlertRaised, GapNoted
from ion.testing import MemoryReceiver, written

if TYPE_CHECKING:
    from pathlib import Path

FIRST = "facts-00000000"


def fact(number: int, agent: str = "agent-1") -> bytes:
    return written(GapNoted(scope=f"s{number}", what="x", count=number, reason=""), number, agent=agent).raw


def spooled(spool: Path, count: int, *, agent: str = "agent-1", close: bool = True) -> SpoolWriter:
    writer = SpoolWriter(spool, agent)
    for number in range(count):
        writer.append(fact(number, agent))
    if close:
        writer.close()
    return writer


def test_frames_come_back_in_order_with_their_blocks(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "a")
    writer.append(b"one")
    writer.append(b"two", b"block")
    assert writer.frames == 2
    assert [(f.record, f.block) for f in read_frames(tmp_path / "a")] == [(b"one", b""), (b"two", b"block")]
    assert has_writer(tmp_path / "a")
    writer.close()
    writer.close()
    assert not has_writer(tmp_path / "a")


def test_writing_after_close_is_refused_and_touches_no_other_file(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "a")
    writer.close()
    with (tmp_path / "other").open("wb") as other:  # takes the descriptor the spool had
        with pytest.raises(IonError) as caught:
            writer.append(b"fact")
        assert caught.value.code == "spool-unusable"
        assert os.fstat(other.fileno()).st_size == 0


def test_a_fact_too_large_to_be_read_again_is_not_written(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "a")
    with pytest.raises(IonError) as caught:
        writer.append(b"r", bytes(64 * 1024 * 1024))
    assert caught.value.code == "fact-too-large"
    writer.append(b"next")
    assert [f.record for f in read_frames(tmp_path / "a")] == [b"next"]


@pytest.mark.parametrize("kept", ["nothing", "part", "all"])
def test_a_write_interrupted_by_a_signal_leaves_the_chain_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    writer = SpoolWriter(tmp_path, "a")
    writer.append(b"one")
    real = os.write

    def interrupted(handle: int, data: bytes) -> int:
        real(handle, {"nothing": b"", "part": data[:20], "all": data}[kept])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.append(b"two")
    writer.append(b"three")
    records = [f.record for f in read_frames(tmp_path / "a")]
    assert records == ([b"one", b"two", b"three"] if kept == "all" else [b"one", b"three"])
    assert writer.frames == len(records)


def test_a_full_disk_is_said_and_the_file_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SpoolWriter(tmp_path, "a")
    writer.append(b"one")
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: real(handle, data[:10]))
        with pytest.raises(IonError) as caught:
            writer.append(b"two")
    assert caught.value.code == "spool-unusable"
    writer.append(b"three")
    assert [f.record for f in read_frames(tmp_path / "a")] == [b"one", b"three"]


def test_shipping_carries_all_once_and_removes_the_folder_of_an_ended_agent(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    writer = spooled(tmp_path, 3, close=False)
    assert ship_all(tmp_path, receiver) == 3
    assert ship_all(tmp_path, receiver) == 0
    assert is_shipped(tmp_path / "agent-1")
    writer.append(fact(3), b"block")
    assert not is_shipped(tmp_path / "agent-1")
    writer.close()
    assert ship_all(tmp_path, receiver) == 1
    assert [record.seq for record in receiver.records] == [0, 1, 2, 3]
    assert list(receiver.blocks.values()) == [b"block"]
    assert not (tmp_path / "agent-1").exists()


def test_facts_wait_while_the_store_is_down(tmp_path: Path) -> None:
    receiver = MemoryReceiver(down=True)
    spooled(tmp_path, 2)
    with pytest.raises(ConnectionError):
        ship_all(tmp_path, receiver)
    receiver.down = False
    assert ship_all(tmp_path, receiver) == 2


@pytest.mark.parametrize(
    "state", ["", "[]", '{"offset": 1}', '{"offset": 10000000, "link": ""}', '{"offset": 7, "link": "00"}',
              json.dumps({"offset": 0, "link": "11" * 32}), '{"offset": -5, "link": ""}'],
)  # fmt: skip
def test_a_damaged_cursor_costs_only_shipping_again(tmp_path: Path, state: str) -> None:
    receiver = MemoryReceiver()
    spooled(tmp_path, 3)
    (tmp_path / "agent-1" / "shipped").write_text(state)
    assert ship_agent(tmp_path / "agent-1", receiver) == 3
    assert [record.seq for record in receiver.records] == [0, 1, 2]
    assert receiver.facts(AlertRaised) == []


def test_a_torn_tail_is_left_out_and_told(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    spooled(tmp_path, 3)
    path = tmp_path / "agent-1" / FIRST
    os.truncate(path, path.stat().st_size - 5)
    assert ship_all(tmp_path, receiver) == 2
    gaps = [gap for gap in receiver.facts(GapNoted) if gap.what == "spool bytes"]
    assert [gap.scope for gap in gaps] == ["agent-1"]
    assert gaps[0].count > 0
    assert not (tmp_path / "agent-1").exists()


def test_a_damaged_length_is_damage_and_not_a_torn_tail(tmp_path: Path) -> None:
    """Taken for a torn tail, the frames after it would be deleted with the folder."""
    receiver = MemoryReceiver()
    spool = tmp_path / "spool"
    spooled(spool, 3)
    path = spool / "agent-1" / FIRST
    data = bytearray(path.read_bytes())
    data[SEGMENT_HEAD + 5] = 1  # 65,536 bytes more than there are
    path.write_bytes(data)
    assert ship_all(spool, receiver) == 2
    assert [record.seq for record in receiver.records if record.agent == "agent-1"] == [1, 2]
    assert [alert.alert for alert in receiver.facts(AlertRaised)] == ["spool-corrupt"]
    (gap,) = [gap for gap in receiver.facts(GapNoted) if gap.what == "facts"]
    assert (gap.count, gap.first, gap.last) == (1, 0, 0)


def test_a_damaged_frame_ships_what_is_before_it_and_sets_the_rest_aside(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    spool = tmp_path / "spool"
    spooled(spool, 3)
    spooled(spool, 1, agent="agent-2")
    path = spool / "agent-1" / FIRST
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert ship_all(spool, receiver) == 3
    assert [(r.agent, r.seq) for r in receiver.records if r.agent == "agent-1"][:2] == [("agent-1", 0), ("agent-1", 1)]
    assert [alert.scope for alert in receiver.facts(AlertRaised)] == ["agent-1"]
    (kept,) = (tmp_path / "quarantine" / "agent-1").iterdir()
    assert kept.read_bytes() == data[int(kept.name.rpartition(".")[2]) :]
    assert ship_all(spool, receiver) == 0


def test_a_folder_without_its_writers_lock_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shipper that came between creating and locking the file would take the agent for ended, and remove it."""
    import fcntl

    real, seen = fcntl.flock, []

    def ship_just_before(handle: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX and not seen:
            seen.append(1)
            ship_all(tmp_path, MemoryReceiver())
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", ship_just_before)
    writer = spooled(tmp_path, 1, close=False)
    assert seen
    assert writer.in_place()


def test_a_folder_removed_under_the_shipper_stops_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = MemoryReceiver()
    spooled(tmp_path, 1, agent="agent-1")
    spooled(tmp_path, 1, agent="agent-2")
    real = shipping.has_writer

    def removed(folder: Path) -> bool:
        if folder.name == "agent-1":
            shutil.rmtree(folder)
        return real(folder)

    monkeypatch.setattr(shipping, "has_writer", removed)
    assert ship_all(tmp_path, receiver) == 1


def test_two_shippers_at_once_carry_everything_once(tmp_path: Path) -> None:
    receiver = MemoryReceiver()
    writer = spooled(tmp_path, 0, close=False)
    stop = threading.Event()

    def carry() -> None:
        while not stop.is_set():
            ship_all(tmp_path, receiver)

    shippers = [threading.Thread(target=carry) for _ in range(3)]
    for thread in shippers:
        thread.start()
    for number in range(300):
        writer.append(fact(number))
    writer.close()
    stop.set()
    for thread in shippers:
        thread.join()
    ship_all(tmp_path, receiver)
    assert sorted(record.seq for record in receiver.records) == list(range(300))
    assert not (tmp_path / "agent-1").exists()


KILLED = """
import os, sys, pathlib
from ion.agent import Client
from ion.facts import GapNoted
from ion.home import Home
client = Client(Home(pathlib.Path(sys.argv[1])), "killed")
number = 0
while True:
    client.emit(GapNoted(scope="s", what="x", count=number, reason=""))
    print(number, flush=True)
    number += 1
"""


def test_what_a_killed_process_told_ships_up_to_its_last_word(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(200):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = 200 + len([line for line in process.stdout.read().split("\n") if line])
    process.wait()
    receiver = MemoryReceiver()
    ship_all(tmp_path / "spool", receiver)
    counts = [gap.count for gap in receiver.facts(GapNoted) if gap.what == "x"]
    assert counts == list(range(len(counts)))
    assert len(counts) in {told, told + 1}  # it may have been killed between telling and printing
    assert list((tmp_path / "spool").iterdir()) == []
