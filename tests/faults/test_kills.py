"""Programs and agents are killed at any moment and at every step: nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ion.agent import Client, ship_all
from ion.home import Home
from ion.store import open_store
from tests.faults.invariant import load, violations

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]


def killed(home: Path, *arguments: str) -> dict[str, object]:
    """Run the program that kills; return what it found."""
    command = [sys.executable, str(ROOT / "tests" / "faults" / "killing.py"), str(home), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_random_lose_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    found = killed(tmp_path / "home", "random", str(seed), "60")
    assert found["wrong"] == []
    assert found["left"] == []
    assert int(str(found["acknowledged"])) > 0


@pytest.mark.parametrize("what", ["tell", "ship"])
def test_a_kill_at_every_step_loses_nothing_acknowledged(tmp_path: Path, what: str) -> None:
    found = killed(tmp_path / "home", "steps", what)
    assert found["wrong"] == []
    assert found["left"] == []
    assert int(str(found["kills"])) > 20


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_two_thousand_kills_lose_nothing_acknowledged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kills = acknowledged = stored = 0
    for seed in range(10):
        found = killed(tmp_path / str(seed), "random", str(seed), "200")
        assert found["wrong"] == []
        kills += int(str(found["kills"]))
        acknowledged += int(str(found["acknowledged"]))
        stored += int(str(found["stored"]))
    with capsys.disabled():
        print(f"\n{kills} kills of programs and agents: {acknowledged} facts acknowledged, 0 lost; {stored} stored")  # noqa: T201
    assert kills >= 2000


SHIPPING = """
import sys
from pathlib import Path
from ion.agent import ship_all
from ion.home import Home
from ion.store import open_store
home = Home(Path(sys.argv[1]))
store = open_store(home.store_url)
print("ships", flush=True)
ship_all(home.spool, store)
"""
CALLS = "write,pwrite64,fdatasync,fsync,rename,unlink,unlinkat"


def shipped_under(home: Home, log: Path, when: int) -> bool:
    """Ship in a process that is killed at its ``when``-th call that changes a disk; tell whether it was."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace here")
    inject = f"-einject={CALLS}:signal=KILL:when={when}"
    command = [strace, "-f", "-qq", "-o", str(log), f"-etrace={CALLS}", inject, sys.executable, "-c", SHIPPING]
    done = subprocess.run([*command, str(home.root)], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode != 0


def killed_in_the_store(tmp_path: Path, steps: Iterable[int]) -> int:
    """Kill the agent and the database in it at these calls, with facts to ship each time; return how often it was."""
    home = Home(tmp_path / "home").make()
    store = open_store(home.store_url)
    acknowledged: list[str] = []
    kills = 0
    for step in steps:
        client = Client(home, "told")
        acknowledged += [client.emit(load(1000 * step + number)) for number in range(20)]
        client.close()
        kills += shipped_under(home, tmp_path / "log", step)
    ship_all(home.spool, store)
    assert violations(store, home, acknowledged) == []
    store.close()
    return kills


def test_a_kill_inside_the_database_loses_nothing_acknowledged(tmp_path: Path) -> None:
    assert killed_in_the_store(tmp_path, (2, 4, 7, 10, 14, 19)) >= 4


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_a_kill_at_every_call_inside_the_database_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kills = killed_in_the_store(tmp_path, range(1, 60))
    with capsys.disabled():
        print(f"\n{kills} kills of the agent inside the database, 0 acknowledged facts lost")  # noqa: T201
    assert kills > 0
