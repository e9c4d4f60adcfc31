"""What a scalar statistic costs in ion and in its peers, one after the other in one run on one machine.

CPU time only: of the calling thread for ion's call, of the whole process with all its threads for everything else.
Each peer runs in a process of its own, see `bench.plain_peers`. Values are random, with all their digits.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from bench.figures import tell, tell_samples
from bench.plain_peers import PEERS
from bench.sampling import quantile
from bench.scene import PEERS_PYTHON, PROJECT, say, temporary_home

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.agent import Client
    from ion.home import Home

_APART = ("ml-metadata.put_execution", "ml-metadata.put_executions", "tensorboardX")
"""The peers that need an environment of their own."""
_BATCHES = 40
_CALLS = 10_000
_VECTOR = 1_000_000
_CALL_US, _DURABLE_US = 0.3, 1.5
_TIMES_METRIC, _TIMES_BATCH = 1500, 50
_VECTOR_PER_S = 5e6


def measure() -> None:
    """Print all figures."""
    peers = {name: _peer(name) for name in PEERS}
    with temporary_home() as home:
        call = _call(home)
        durable = {at_once: _durable(home, at_once) for at_once in (100, 1000, _CALLS)}
        vector = _vector(home, "as told, times by the clock", None)
        _vector(home, "one a second", 1_000_000)
        stored = _stored(home)
    said = f"call to fdatasync, {_CALLS:,} points in one series between flushes"
    tell_samples("peers.ion.call", call, "us", 0.5, target=_CALL_US, note="run.stat alone, calling thread")
    for at_once, samples in durable.items():
        note = said if at_once == _CALLS else f"the same, {at_once} points between flushes"
        target = _DURABLE_US if at_once == _CALLS else None
        tell_samples(f"peers.ion.durable.{at_once}", samples, "us", 0.5, target=target, note=note)
    tell_samples("peers.ion.stored", stored, "us", 0.5, note="the same, and shipped, checked and kept in SQLite")
    middle = quantile(durable[_CALLS], 0.5)
    targets = {"mlflow.log_metric": _TIMES_METRIC, "mlflow.log_batch": _TIMES_BATCH}
    for name, us in peers.items():
        note = f"{us / quantile(call, 0.5):,.0f} x the call alone, {us / quantile(stored, 0.5):,.3g} x stored"
        tell(f"peers.times.{name}", us / middle, "x durable", _BATCHES, least=targets.get(name), note=note)
    rows = peers["sqlite3"]
    tell("peers.times.vector", rows / vector, "x durable vector", _BATCHES, note="a sqlite3 row beside one point")


def _peer(name: str) -> float:
    """Print and return the median microseconds per record of a peer."""
    interpreter = sys.executable
    if name in _APART:
        if not PEERS_PYTHON.exists():
            raise RuntimeError(f"{name} needs the peers' environment: make .venv-bench/.ready")
        interpreter = str(PEERS_PYTHON)
    with tempfile.TemporaryDirectory(prefix="ion-bench-peer-") as folder:
        command = [interpreter, "-m", "bench.plain_peers", name, folder]
        done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    summary = (PEERS[name][0].__doc__ or "").partition("\n")[0].rstrip(".")
    tell_samples(f"peers.{name}", found["samples"], "us", 0.5, note=summary)
    tell(f"peers.{name}.bytes", found["bytes"], "bytes", PEERS[name][1], note="by which its files grew, per record")
    return quantile(found["samples"], 0.5)


def _client(home: Home, name: str) -> Client:
    from ion.agent import open_client

    return open_client(home, name=name, ship=False)


def _call(home: Home) -> list[float]:
    """Return microseconds per `stat`, of the calling thread; packing is left to the flush."""
    client = _client(home, "call")
    run = client.node_run("peers/call", kind="custom")

    def batch() -> None:
        stat = run.stat
        for _ in range(_CALLS):
            stat("auc", 0.5)

    batch()
    samples = []
    for _ in range(_BATCHES):
        samples.append(_cpu(batch, time.thread_time) / _CALLS * 1e6)
        run.drop_points()
    client.close()
    return samples


def _durable(home: Home, at_once: int) -> list[float]:
    """Return microseconds per point from the call to the synced spool, of the whole process."""
    import random

    client = _client(home, f"durable-{at_once}")
    run = client.node_run("peers/durable", kind="custom")
    values = [random.random() for _ in range(at_once)]  # noqa: S311 - not a secret

    def batch() -> None:
        stat = run.stat
        for _ in range(_CALLS // at_once):
            for value in values:
                stat("auc", value)
            client.flush()

    batch()
    samples = [_cpu(batch, time.process_time) / _CALLS * 1e6 for _ in range(_BATCHES)]
    client.close()
    return samples


def _stored(home: Home) -> list[float]:
    """Return microseconds per point from the call into the store's file, of the whole process."""
    from ion.agent import ship_all
    from ion.store import open_store

    client, store = _client(home, "stored"), open_store(home.store_url)
    run = client.node_run("peers/stored", kind="custom")

    def batch() -> None:
        stat = run.stat
        for number in range(_CALLS):
            stat("auc", number / 7)
        client.flush()
        ship_all(home.spool, store)

    batch()
    samples = [_cpu(batch, time.process_time) / _CALLS * 1e6 for _ in range(_BATCHES)]
    client.close()
    store.close()
    return samples


def _vector(home: Home, name: str, step_us: int | None) -> float:
    """Print points a second of `stats_many`, durable; return the median microseconds per point."""
    import numpy as np

    client = _client(home, "vector")
    run = client.node_run("peers/vector", kind="custom")
    say(f"{_VECTOR:,} points a time: {name}")
    noise = np.random.default_rng(7)
    values = {"17 digits": noise.random(_VECTOR), "4 decimals": np.round(noise.normal(0.8, 0.05, _VECTOR), 4)}
    first = time.time_ns() // 1000
    times = None if step_us is None else np.arange(first, first + _VECTOR * step_us, step_us)
    medians = {}
    for digits, column in values.items():

        def batch(column: object = column) -> None:
            run.stats_many("auc", column, times)
            client.flush()

        batch()
        samples = [_cpu(batch, time.process_time) / _VECTOR * 1e6 for _ in range(9)]
        medians[digits] = quantile(samples, 0.5)
        note = f"durable, {_VECTOR:,} a call, values of {digits}"
        rate = 1 / medians[digits]
        tell(f"peers.ion.vector, {name}, {digits}", rate, "M points/s", 9, least=_VECTOR_PER_S / 1e6, note=note)
    client.close()
    return max(medians.values())


def _cpu(action: Callable[[], object], clock: Callable[[], float]) -> float:
    before = clock()
    action()
    return clock() - before
