"""Statistics a second that get into the store over HTTP, and how long an acknowledgement takes, beside MLflow's server.

Two senders on one machine, each waiting for an acknowledgement before it sends the next: facts of 10,000 points, as an
agent of a busy job flushes them once a second, to one `ion server`; batches of 1,000 metrics, the most that MLflow
takes, to one worker of `mlflow server`. What ion acknowledges is checked against its digest, in the ledger, durable.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bench.cpu import group_cpu_s
from bench.databases import database_of, postgres
from bench.figures import tell, tell_samples
from bench.scene import PROJECT, say, temporary_home
from ion.clock import now_us
from ion.server.tokens import issue
from ion.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ion.store import GovernanceStore

_SENDERS = 2
_POINTS, _REQUESTS = 10_000, 800
_METRICS, _BATCHES = 1000, 20
_TARGET_M, _TARGET_MS = 1.0, 200.0
_HOUR_US = 3_600_000_000
_PATIENCE_S = 120.0


def measure() -> None:
    """Print points a second and acknowledgements, on both databases, then the peer's."""
    with postgres() as server:
        for database in ("SQLite", "PostgreSQL"):
            with temporary_home() as home:
                url = home.store_url if database == "SQLite" else database_of(server, "ingest")
                _to_ion(database, home.root, url)
    with temporary_home() as home:
        _to_mlflow(home.root)


def _to_ion(database: str, root: Path, store_url: str) -> None:
    store = open_store(store_url)
    scope = {"agents": ("sender-*",), "nodes": ("ingest/*",)}
    _, secret = issue(store, ["agent"], **scope, until=now_us() + _HOUR_US, by="bench")
    port = _free_port()
    command = [sys.executable, "-m", "ion.cli", "server", "--port", str(port)]
    environment = {"ION_HOME": str(root), "ION_STORE_URL": store_url, "ION_AGENT_TOKEN": secret}
    with _serving(command, environment, port) as serving:
        _send(f"ingest.{database}", "ion", port, environment, serving, (_REQUESTS, _POINTS))
    stored = sum(series.count for run in _runs(store) for series in store.statistics.series(run))
    store.close()
    if stored != _SENDERS * _REQUESTS * _POINTS:
        raise RuntimeError(f"{stored} points are in the store")


def _runs(store: GovernanceStore) -> set[str]:
    from ion.facts import NodeRunStarted

    return {told.fact.run for told in store.find(NodeRunStarted)}


def _to_mlflow(root: Path) -> None:
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--host", "127.0.0.1", "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}", "--artifacts-destination", str(root)]
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with _serving(command, environment, port) as serving:
        _send("ingest.mlflow", "mlflow", port, environment, serving, (_BATCHES, _METRICS))


def _send(
    name: str,
    kind: str,
    port: int,
    environment: Mapping[str, str],
    serving: subprocess.Popen[str],
    sizes: tuple[int, int],
) -> None:
    """Let the senders send at once, and print what they saw."""
    requests, points = sizes
    with ExitStack() as stack:
        senders = [
            stack.enter_context(_sender(kind, port, f"sender-{number}", sizes, environment))
            for number in range(_SENDERS)
        ]
        for sender in senders:
            _line(sender, "ready")
        say(f"{name}: {_SENDERS} senders, {requests} requests of {points:,} points each")
        before = group_cpu_s(serving.pid)
        for sender in senders:
            print(file=sender.stdin, flush=True)
        found = [json.loads(_line(sender)) for sender in senders]
        cpu = group_cpu_s(serving.pid) - before
    took = max(each["ended"] for each in found) - min(each["began"] for each in found)
    count = _SENDERS * requests * points
    sending = sum(each["cpu_s"] for each in found)
    note = f"in {took:.1f} s; CPU: server {cpu:.1f} s, senders {sending:.1f} s"
    samples = [sample * 1e3 for each in found for sample in each["samples"]]
    mine = kind == "ion"
    tell(f"{name}.rate", count / took / 1e6, "M points/s", count, least=_TARGET_M if mine else None, note=note)
    tell(
        f"{name}.cpu",
        cpu / count * 1e6,
        "us/point",
        count,
        note="the server's CPU; a database server's own is not in it",
    )
    note = f"acknowledgement of {points:,} points, durable" if mine else f"acknowledgement of {points:,} metrics"
    tell_samples(f"{name}.ack", samples, "ms", 0.99, target=_TARGET_MS if mine else None, note=note)


def _line(sender: subprocess.Popen[str], wanted: str = "") -> str:
    line = sender.stdout.readline().strip() if sender.stdout else ""
    if not line or (wanted and line != wanted):
        raise RuntimeError(f"a sender said {line!r}")
    return line


@contextmanager
def _sender(
    kind: str, port: int, name: str, sizes: tuple[int, int], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.sending", kind, f"http://127.0.0.1:{port}", name, *map(str, sizes)]
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _serving(command: list[str], environment: Mapping[str, str], port: int) -> Iterator[subprocess.Popen[str]]:
    """Start a server in a process group of its own, wait until it listens, and end the whole group."""
    from bench.overhead_flink import group

    with ExitStack() as stack:
        stack.enter_context(_environment(environment))
        process = stack.enter_context(group(command))
        deadline = time.monotonic() + _PATIENCE_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server does not listen: {command}")
            time.sleep(0.1)
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    former = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in former.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
