"""A client never makes the program wait or fail, and loses nothing it was told."""

from __future__ import annotations

import os
import shutil
import threading
import time
import traceback
from typing import TYPE_CHECKING

import pytest

from ion.agent import Client, Histogram, opening
from ion.agent.opening import open_client, shared_client
from ion.agent.shipping import ship_all
from ion.errors import IonError
from ion.facts import GapNoted, NodeRunEnded, NodeRunStarted, SignatureRecorded, StatisticsRecorded
from ion.home import Home
from ion.testing import MemoryReceiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NODE = "patient_tests/model"


@pytest.fixture
def receiver() -> MemoryReceiver:
    return MemoryReceiver()


@pytest.fixture
def client(tmp_path: Path, receiver: MemoryReceiver) -> Iterator[Client]:
    opened = Client(Home(tmp_path), "test", receiver)
    yield opened
    opened.close()


def gap(number: int = 1) -> GapNoted:
    return GapNoted(scope="s", what="x", count=number, reason="")


def eventually(holds: Callable[[], object], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return False


def in_child(act: Callable[[], None]) -> None:
    """Run ``act`` in a forked child and insist that it ended well."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        except BaseException:  # noqa: BLE001 - the child must end here
            traceback.print_exc()
        finally:
            os._exit(status)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    pytest.fail("the forked child hangs")


def test_what_is_told_arrives_in_order_by_itself(client: Client, receiver: MemoryReceiver) -> None:
    for number in range(10):
        client.emit(gap(number))
    assert eventually(lambda: len(receiver.records) == 10)
    assert [record.seq for record in receiver.records] == list(range(10))
    assert sorted(record.stamp for record in receiver.records) == [record.stamp for record in receiver.records]


def test_an_agent_sleeps_until_a_fact_or_a_statistic_is_told(client: Client, receiver: MemoryReceiver) -> None:
    run = client.node_run("ion/node", kind="custom")
    assert eventually(lambda: len(receiver.records) == 1 and client.asleep)
    run.stat("auc", 0.5)
    assert eventually(lambda: len(receiver.records) == 2 and client.asleep)
    client.emit(gap())
    assert eventually(lambda: len(receiver.records) == 3 and client.asleep)


def test_a_store_that_is_down_is_tried_again_without_another_fact(client: Client, receiver: MemoryReceiver) -> None:
    receiver.down = True
    client.emit(gap())
    assert client.ship() is False
    assert client.last_trouble == "the store is down"
    receiver.down = False
    assert eventually(lambda: receiver.records)
    assert eventually(lambda: not client.last_trouble)


def test_closing_while_the_store_is_down_leaves_the_facts_in_the_spool(tmp_path: Path) -> None:
    receiver = MemoryReceiver(down=True)
    client = Client(Home(tmp_path), "test", receiver)
    with client.node_run(NODE, kind="training") as run:
        run.stat("auc", 0.9)
    client.close()
    client.close()
    receiver.down = False
    assert ship_all(tmp_path / "spool", receiver) == 3
    assert receiver.points()["auc"].values.tolist() == [0.9]
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_closed_client_refuses(tmp_path: Path, receiver: MemoryReceiver) -> None:
    client = Client(Home(tmp_path), "test", receiver)
    client.close()
    with pytest.raises(IonError) as caught:
        client.emit(gap())
    assert caught.value.code == "client-closed"


def test_statistics_from_many_threads_all_arrive(client: Client, receiver: MemoryReceiver) -> None:
    with client.node_run(NODE, kind="training") as run:

        def tell(worker: int) -> None:
            for number in range(2000):
                run.stat(f"series{worker}", number)

        threads = [threading.Thread(target=tell, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            run.pack_statistics()  # beside the agent's own thread
        for thread in threads:
            thread.join()
    client.ship()
    told = {name: points.values.tolist() for name, points in receiver.points().items()}
    assert told == {f"series{worker}": list(range(2000)) for worker in range(4)}


def test_a_run_ends_after_the_statistics_another_thread_is_just_spooling(
    client: Client, receiver: MemoryReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = client.node_run(NODE, kind="training")
    packing, go_on, original = threading.Event(), threading.Event(), run._spool

    def slowly(*arguments: object) -> None:
        packing.set()
        go_on.wait(10)
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "_spool", slowly)
    run.stat("auc", 1.0)
    assert packing.wait(10)  # the agent's own thread has taken the point
    ending = threading.Thread(target=run.end)
    ending.start()
    time.sleep(0.2)
    go_on.set()
    ending.join()
    client.ship()
    kinds = [type(record.fact) for record in receiver.records]
    assert kinds == [NodeRunStarted, StatisticsRecorded, NodeRunEnded]


def test_only_one_thread_at_a_time_takes_the_points(client: Client) -> None:
    run = client.node_run(NODE, kind="training")
    with client.lock:  # as the agent's own thread holds it while it packs
        run.stat("auc", 1.0)
        other = threading.Thread(target=run.pack_statistics)
        other.start()
        time.sleep(0.2)
        assert run.has_points
    other.join()
    assert not run.has_points


def test_statistics_wait_for_a_disk_that_refuses(
    client: Client, receiver: MemoryReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = client.node_run(NODE, kind="training")
    with client.lock, monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise IonError("spool-unusable", "the disk is full")

        patch.setattr(client._teller.spool, "append", refuse)
        for number in range(3):
            run.stat("auc", number)
        assert client.ship() is False
        with pytest.raises(IonError):
            run.end()
    run.end()
    assert receiver.points()["auc"].values.tolist() == [0, 1, 2]
    assert [fact.status for fact in receiver.facts(NodeRunEnded)] == ["succeeded"]


def test_values_that_are_no_numbers_become_a_counted_gap(client: Client, receiver: MemoryReceiver) -> None:
    with client.node_run(NODE, kind="training") as run:
        for value in (1.0, float("nan"), float("inf"), 2.0):
            run.stat("auc", value)
    (hole,) = receiver.facts(GapNoted)
    assert receiver.points()["auc"].values.tolist() == [1, 2]
    assert (hole.scope, hole.what, hole.count) == (run.id, "statistic auc", 2)


def test_a_run_has_no_statistics_after_its_end(client: Client) -> None:
    run = client.node_run(NODE, kind="training")
    run.end()
    run.end()
    with pytest.raises(IonError) as caught:
        run.stat("auc", 1.0)
    assert caught.value.code == "run-ended"


def test_leaving_by_an_exception_ends_the_run_as_failed(client: Client, receiver: MemoryReceiver) -> None:
    with pytest.raises(ZeroDivisionError), client.node_run(NODE, kind="training"):
        raise ZeroDivisionError("by zero")
    (ended,) = receiver.facts(NodeRunEnded)
    assert (ended.status, ended.error) == ("failed", "ZeroDivisionError")


def test_processes_of_one_execution_start_one_run(client: Client, receiver: MemoryReceiver) -> None:
    first, second = (client.node_run(NODE, kind="training", run_id="01a1") for _ in range(2))
    client.ship()
    assert first.id == second.id == "01a1"
    assert len(receiver.records) == 2
    assert len(receiver.facts(NodeRunStarted)) == 1


def test_no_fact_of_a_run_names_the_host_or_a_path(client: Client, receiver: MemoryReceiver, tmp_path: Path) -> None:
    with client.node_run(NODE, kind="training", config={"rate": 0.1}) as run:
        run.param("rate", 0.1)
    for record in receiver.records:
        assert os.uname().nodename.encode() not in record.raw.replace(run.id.encode(), b"")
        assert str(tmp_path).encode() not in record.raw


def test_a_spool_removed_while_in_use_is_a_told_hole_and_the_agent_goes_on(
    client: Client, receiver: MemoryReceiver, tmp_path: Path
) -> None:
    receiver.down = True
    former = client.agent
    client.emit(gap())
    client.emit(gap())
    client.flush()
    shutil.rmtree(tmp_path / "spool" / former)
    receiver.down = False
    client.emit(gap(7))  # lost with the folder
    assert eventually(lambda: receiver.facts(GapNoted))
    client.emit(gap(9))
    assert client.ship()
    assert client.agent != former
    told, after = receiver.facts(GapNoted)
    assert (told.scope, told.what, told.count, after.count) == (former, "facts", 3, 9)


def test_a_forked_child_is_an_agent_of_its_own(client: Client, receiver: MemoryReceiver, tmp_path: Path) -> None:
    run = client.node_run(NODE, kind="training")
    with client.lock:  # nothing is packed before the fork
        run.stat("auc", 1.0)
        parent = client.agent
        quiet = Client(Home(tmp_path / "quiet"), "quiet")

        def child() -> None:
            client.emit(gap(5))
            assert client.agent != parent
            assert not run.has_points
            client._receiver = None  # the fake's memory is the child's own: leave the facts to the parent
            client.close()
            quiet.close()  # never used here: the parent's spool is left alone

        in_child(child)
    run.stat("auc", 2.0)
    run.end()
    quiet.emit(gap())
    quiet.close()
    ship_all(tmp_path / "spool", receiver)
    ship_all(tmp_path / "quiet" / "spool", receiver)
    assert receiver.points()["auc"].values.tolist() == [1, 2]
    assert sorted(hole.count for hole in receiver.facts(GapNoted)) == [1, 5]
    assert receiver.conflicts == 0


def test_a_fork_while_another_thread_tells_does_not_hang_the_child(client: Client) -> None:
    stop = threading.Event()

    def tell() -> None:
        while not stop.is_set():
            client.emit(gap())

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        for _ in range(10):
            in_child(lambda: client.emit(gap()) and None)
    finally:
        stop.set()
        thread.join()


def test_an_ended_parent_is_seen_as_ended_while_its_child_lives(tmp_path: Path, receiver: MemoryReceiver) -> None:
    client = Client(Home(tmp_path), "test", receiver)
    client.emit(gap())
    ready, hold = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(ready[1], b"x")
        os.read(hold[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    client.close()
    remaining = list((tmp_path / "spool").iterdir())
    os.write(hold[1], b"x")
    os.waitpid(pid, 0)
    assert remaining == []


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "x" * 101])
def test_an_agent_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(IonError) as caught:
        Client(Home(tmp_path), name)
    assert caught.value.code == "bad-agent-name"


def test_a_client_that_does_not_ship_needs_no_store(tmp_path: Path) -> None:
    client = open_client(Home(tmp_path), name="quiet", ship=False)
    client.emit(gap())
    assert client.ship() is False
    client.close()
    receiver = MemoryReceiver()
    assert ship_all(tmp_path / "spool", receiver) == 1


def test_the_shared_client_is_opened_again_after_somebody_closed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, str]] = []

    def spool_only(home: Home, name: str, store_url: str) -> Client:
        opened.append((name, store_url))
        return Client(home, name)

    monkeypatch.setattr(opening, "_opened", spool_only)
    first = shared_client(Home(tmp_path), "postgresql://elsewhere/ion")
    assert shared_client(Home(tmp_path), "postgresql://elsewhere/ion") is first
    first.close()
    second = shared_client(Home(tmp_path), "postgresql://elsewhere/ion")
    second.emit(gap())
    second.close()
    assert opened == [("program", "postgresql://elsewhere/ion")] * 2


def test_a_histogram_is_told_whole(client: Client, receiver: MemoryReceiver) -> None:
    with client.node_run(NODE, kind="training") as run:
        run.signature("age", Histogram.of([1, 2, 9, -1], [0, 2, 4]), role="training")
    (fact,) = receiver.facts(SignatureRecorded)
    assert (list(fact.counts), fact.below, fact.above) == ([1, 1], 1, 1)
