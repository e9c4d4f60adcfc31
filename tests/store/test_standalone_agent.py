"""The stand-alone agent ships for every program of a host, one per spool, and tells how it fares."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ion.agent import Client
from ion.agent.receiver import StoreReceiver
from ion.agent.standalone import Standalone, _next_wait
from ion.audit.verification import verify
from ion.cli import run
from ion.errors import IonError
from ion.facts import GapNoted, NodeRunEnded, NodeRunStarted
from ion.graph.agents import agents
from ion.home import Home
from ion.store import open_store
from ion.testing import MemoryReceiver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def load(number: int) -> GapNoted:
    return GapNoted(scope="s", what="x", count=number, reason="")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


def until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def programs(home: Home, count: int = 3) -> None:
    for name in range(count):
        client = Client(home, f"program-{name}")
        client.emit(load(name))
        client.close()


def test_it_ships_what_all_programs_told_and_ends_with_once(home: Home, store_url: str) -> None:
    programs(home)
    receiver = StoreReceiver.of(store_url)
    Standalone(home, receiver).run(once=True)
    receiver.close()
    store = open_store(store_url)
    assert sorted(found.fact.count for found in store.find(GapNoted)) == [0, 1, 2]
    assert [path.name for path in home.spool.iterdir()] == [".agent"]
    assert [found.fact.status for found in store.find(NodeRunEnded)] == ["succeeded"]
    assert verify(store, home).problems == ()
    store.close()


def test_two_agents_on_one_spool_exclude_each_other(home: Home) -> None:
    first = Standalone(home, MemoryReceiver())
    with pytest.raises(IonError) as caught:
        Standalone(home, MemoryReceiver())
    assert caught.value.code == "agent-busy"
    first.run(once=True)
    Standalone(home, MemoryReceiver()).run(once=True)


def test_its_name_stays_with_the_spool_and_says_nothing_of_the_host(home: Home) -> None:
    names = []
    for _ in range(2):
        agent = Standalone(home, MemoryReceiver())
        names.append(agent.name)
        agent.run(once=True)
    assert names[0] == names[1]
    assert os.uname().nodename not in names[0]


def test_it_waits_for_a_store_that_is_down_and_catches_up(home: Home) -> None:
    receiver = MemoryReceiver(down=True)
    agent = Standalone(home, receiver)
    thread = threading.Thread(target=agent.run)
    thread.start()
    programs(home)
    until(lambda: agent.trouble)
    assert agent.waiting() > 0
    receiver.down = False
    until(lambda: len([fact for fact in receiver.facts(GapNoted) if fact.what == "x"]) == 3)
    agent.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert [fact.status for fact in receiver.facts(NodeRunEnded)] == ["stopped"]


def test_it_asks_less_and_less_often_up_to_once_a_minute() -> None:
    waits = [0.0]
    for _ in range(10):
        waits.append(_next_wait(waits[-1]))
    assert waits[1:5] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == waits[-2] == 60.0


def test_how_agents_fare_is_folded_from_what_they_tell(home: Home, store_url: str) -> None:
    receiver = StoreReceiver.of(store_url)
    agent = Standalone(home, receiver, "ward_host")
    agent._beat()
    agent._ship()
    store = open_store(store_url)
    (started,) = store.find(NodeRunStarted, "agents/ward_host")
    (state,) = agents(store, started.us + 1_000_000)
    assert (state.name, state.state, state.run) == ("ward_host", "alive", started.fact.run)
    assert state.acknowledged >= 1
    (late,) = agents(store, started.us + 600_000_000)
    assert late.state == "late"
    agent.stop()
    agent.run()
    (gone,) = agents(store, started.us + 600_000_000)
    assert gone.state == "gone"
    receiver.close()
    store.close()


def test_the_command_ships_until_it_is_told_to_stop(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ION_HOME", str(home.root))
    open_store(home.store_url).close()
    command = [
        sys.executable,
        "-m",
        "ion.cli",
        "agent",
        "--spool",
        str(home.spool),
        "--to",
        home.store_url,
        "--name",
        "ward",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        programs(home)
        store = open_store(home.store_url)
        until(lambda: len(store.find(GapNoted)) == 3)
        assert run(["agents", "--json"]) == 0
        (told,) = json.loads(capsys.readouterr().out)["agents"]
        assert (told["name"], told["state"]) == ("ward", "alive")
        assert run(["agent", "--once"]) == 2  # it is at work already
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "facts shipped" in out
        capsys.readouterr()
        assert run(["agents"]) == 0
        assert "ward  gone" in capsys.readouterr().out
        assert verify(store, home).problems == ()
        store.close()
    finally:
        process.kill()
        process.wait()


def test_what_cannot_be_shipped_once_is_said(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    programs(home)
    asked = ["agent", "--once", "--spool", str(home.spool), "--to", "postgresql://127.0.0.1:1/none?connect_timeout=1"]
    assert run(asked) == 1
    assert "the rest waits" in capsys.readouterr().out
    assert run(["agent", "--once", "--spool", str(home.root)]) == 2
    assert "bad-spool-folder" in capsys.readouterr().err
