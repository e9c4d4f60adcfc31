"""Programs and agents that are killed, many in one process tree: a child is forked where everything is imported.

    python tests/faults/killing.py HOME random SEED KILLS
    python tests/faults/killing.py HOME steps tell|ship

The first kills programs and agents at random moments; the second at every write, sync, rename and removal in turn:
before it, after half of it where it writes, and after it. Both print one JSON document.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ion.agent import Client, ship_all, teller
from ion.agent.spool import SpoolWriter
from ion.home import Home
from ion.store import open_store
from tests.faults.invariant import load, violations

if TYPE_CHECKING:
    from collections.abc import Callable

_CALLS = ("write", "fsync", "fdatasync", "rename", "replace", "unlink", "ftruncate", "rmdir", "mkdir")
_STEP = 1_000_000
_SMALL = 2000


def main(root: str, kind: str, *arguments: str) -> None:
    """Do as the module says."""
    home = Home(Path(root)).make()
    teller.SpoolWriter = lambda folder, agent, **_: SpoolWriter(folder, agent, segment_bytes=_SMALL)  # type: ignore[misc,assignment]
    open_store(home.store_url).close()
    found = _random(home, int(arguments[0]), int(arguments[1])) if kind == "random" else _steps(home, arguments[0])
    json.dump(found, sys.stdout)


def _random(home: Home, seed: int, kills: int) -> dict[str, object]:
    """Kill a program or an agent, again and again; now and then one of them is left alone."""
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    acknowledged: list[str] = []
    killed = number = 0
    while killed < kills:
        wait = chance.random() * chance.choice((0.03, 0.2))
        if chance.random() < 0.6:
            read, write = os.pipe()
            child = _forked(lambda handle=write, first=number: _tell(home, handle, first, 500))
            os.close(write)
            time.sleep(wait)
            killed += _kill(child)
            acknowledged += _acknowledged(read)
            number += _STEP
        else:
            child = _forked(lambda: _ship(home))
            time.sleep(wait)
            killed += _kill(child)
    return _settled(home, acknowledged) | {"kills": killed}


def _steps(home: Home, what: str) -> dict[str, object]:
    """Kill at every step in turn, until nothing is left to kill at."""
    acknowledged: list[str] = []
    killed = number = 0
    for when in ("before", "half", "after") if what == "tell" else ("before", "after"):
        step = 0
        while True:
            step += 1
            if what == "ship":
                child = _forked(lambda first=number: _tell(home, -1, first, 30))
                os.waitpid(child, 0)
            read, write = os.pipe()

            def doomed(handle: int = write, at: int = step, first: int = number, moment: str = when) -> None:
                _doom(at, moment)
                if what == "tell":
                    _tell(home, handle, first, 30)
                else:
                    _ship(home)

            child = _forked(doomed)
            os.close(write)
            ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            acknowledged += _acknowledged(read)
            number += _STEP
            if ended != -signal.SIGKILL:
                break
            killed += 1
    return _settled(home, acknowledged) | {"kills": killed}


def _forked(act: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            act()
        os._exit(0)
    return child


def _kill(child: int) -> bool:
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def _tell(home: Home, handle: int, first: int, count: int) -> None:
    """Tell facts, and write the ids of those for which `flush` returned."""
    client = Client(home, "killed")
    told: list[str] = []
    for number in range(first, first + count):
        told.append(client.emit(load(number)))
        if number % 3 == 0:
            client.flush()
            if handle >= 0:
                _say(handle, "".join(f"{each}\n" for each in told).encode())
            told.clear()
    client.close()


_say = os.write  # the real one, also where `_doom` counts the others


def _ship(home: Home) -> None:
    store = open_store(home.store_url)
    ship_all(home.spool, store)


def _acknowledged(read: int) -> list[str]:
    with os.fdopen(read, "rb") as file:
        lines = file.read().split(b"\n")
    return [line.decode() for line in lines[:-1]]


def _doom(at: int, moment: str) -> None:
    """Let this process be killed at the ``at``-th step."""
    steps = 0

    def counted(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(*arguments: object, **named: object) -> object:
            nonlocal steps
            steps += 1
            if steps == at:
                if moment == "half" and name == "write":
                    handle, data = arguments
                    real(handle, data[: len(data) // 2])  # type: ignore[index,arg-type]
                elif moment == "after":
                    real(*arguments, **named)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return call

    for name in _CALLS:
        setattr(os, name, counted(name))


def _settled(home: Home, acknowledged: list[str]) -> dict[str, object]:
    store = open_store(home.store_url)
    shipped = ship_all(home.spool, store)
    wrong = violations(store, home, acknowledged)
    stored = len(store.find(type(load(0)), "load"))
    for path in home.spool.iterdir():
        os.utime(path, (0, 0))  # what is left of those killed while they came or went has grown old
    ship_all(home.spool, store)
    left = sorted(path.name for path in home.spool.iterdir())
    store.close()
    return {
        "acknowledged": len(acknowledged), "stored": stored, "shipped_at_last": shipped, "wrong": wrong, "left": left,
    }  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
