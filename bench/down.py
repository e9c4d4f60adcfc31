"""How soon a promotion is served elsewhere: a process with a state root of its own, which reaches governance by URL.

A real `ion server` over loopback, a token of the node, and beside it the same serving process at governance's own
files: what the way by URL adds. No Flink. The clock starts before the store's transaction.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import tell, tell_samples
from bench.governed_node import NODE
from bench.revocation import ServingNode
from bench.scene import PROJECT, temporary_home
from ion.agent import open_client
from ion.clock import now_us
from ion.home import Home
from ion.server.tokens import issue
from ion.serving import Admitted
from ion.serving.courier import Courier
from resources.flink.journal import Journal
from resources.flink.serving import ProcessServing
from resources.flink.settings import JobSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DAY_US = 86_400_000_000
_TARGET_S = 1.0
_PATIENCE_S = 30.0


def measure(swaps: int = 60) -> None:
    """Print all figures."""
    with temporary_home() as home, ExitStack() as stack:
        node = ServingNode(home)
        stack.callback(node.store.close)
        url = stack.enter_context(_server(home))
        token = issue(node.store, ["agent"], ["*"], [NODE], until=now_us() + _DAY_US, by="bench")[1]
        there = Home(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ion-bench-there-"))) / "ion").make()
        there.root_public.parent.mkdir()
        shutil.copy(home.root_public, there.root_public)
        courier = Courier(there, [NODE], url, print, token=lambda: token)
        courier.start()
        stack.callback(courier.stop)
        if not courier.wait(_PATIENCE_S):
            raise TimeoutError(courier.trouble)
        here_seen, there_seen = stack.enter_context(_scoring(home)), stack.enter_context(_scoring(there))
        nearby, by_url = [], []
        for _ in range(swaps):
            began = time.perf_counter()
            model = node.promote()
            times = _times([here_seen, there_seen], model)
            nearby.append(times[0] - began)
            by_url.append(times[1] - began)
        note = "from before the store's transaction to the first row scored by the new model"
        tell_samples("down.nearby", nearby, "s", 0.99, note=f"{note}; at governance's own files")
        tell_samples("down.elsewhere", by_url, "s", 0.99, target=_TARGET_S, note=f"{note}; brought by URL")
        tell("down.elsewhere.max", max(by_url), "s", swaps, note="the slowest of them")


@contextmanager
def _server(home: Home) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "ion.cli", "server", "--port", str(port)]
    process = subprocess.Popen(command, cwd=PROJECT, env=os.environ | {"ION_HOME": str(home.root)}, stdout=2)
    try:
        _wait(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def _scoring(home: Home) -> Iterator[list[tuple[str, float]]]:
    """Score row after row in one thread; yields what holds the model of the newest row, and since when."""
    settings = JobSettings(str(home.root), NODE)
    client = open_client(home, name="down", ship=False)
    journal = Journal(settings.folders.make().journal)
    serving = ProcessServing(settings, client.node_run(NODE, kind="inference").id, client, journal)
    answer = serving.start()
    if not isinstance(answer, Admitted):
        raise TypeError(f"not admitted: {answer}")
    subtask, row = serving.join(0, 0), [1.0] * len(answer.scorer.features)
    seen, stopping = [(answer.model, 0.0)], threading.Event()

    def work() -> None:
        while not stopping.is_set():
            epoch, _, _ = subtask.score(row)
            if epoch.admitted.model != seen[0][0]:
                seen[0] = epoch.admitted.model, time.perf_counter()
            time.sleep(0.001)

    scoring = threading.Thread(target=work)
    scoring.start()
    try:
        yield seen
    finally:
        stopping.set()
        scoring.join()
        serving.stop()
        client.close()
        journal.close()


def _times(places: list[list[tuple[str, float]]], model: str) -> list[float]:
    _wait(lambda: all(seen[0][0] == model for seen in places))
    return [seen[0][1] for seen in places]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _wait(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError("it did not happen")
        time.sleep(0.001)
