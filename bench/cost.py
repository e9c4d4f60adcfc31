"""What each call of ion costs, beside a peer measured in the same run on the same machine.

CPU time of the calling thread, except where a line says that it includes the way into the store. The
peers: `logging` with a JSON line per record, and sqlite3 with one row per record, 10,000 rows a transaction.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from typing import TYPE_CHECKING

from bench.candidates import pretrained
from bench.feeding import patient_rows
from bench.figures import tell, tell_samples
from bench.governed_node import NODE, prepare_node
from bench.sampling import quantile
from bench.scene import temporary_home

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.home import Home

_BATCHES = 60
_CALLS = 2000
_POINTS = 100_000
_FACTS = 2000


def measure() -> None:
    """Print all figures."""
    with temporary_home() as home:
        logged = _logging(home.root)
        inserted = _sqlite(home.root)
        _client(home, logged, inserted)
        _points(home)
        _shipping(home, inserted)
        _gate(home)
        _scoring()


def _client(home: Home, logged: float, inserted: float) -> None:
    from ion.agent import open_client
    from ion.facts import ParamRecorded

    client = open_client(home, name="cost", ship=False)
    run = client.node_run("cost/calls", kind="custom")
    stat = _batches(lambda: run.stat("auc", 0.5))
    run.drop_points()
    _emit_call("stat", stat, logged, inserted)
    fact = ParamRecorded(run=run.id, name="depth", value=3, component="")
    _emit_call("emit", _batches(lambda: client.emit(fact), calls=200), logged, inserted)
    client.close()


def _points(home: Home) -> None:
    """Statistics from the call to the durable spool: packed, encoded, linked, synced."""
    from ion.agent import open_client

    client = open_client(home, name="points", ship=False)
    run = client.node_run("cost/points", kind="custom")
    spool = home.spool / client.agent / "facts-00000000"
    before, size = time.process_time(), spool.stat().st_size
    for number in range(_POINTS):
        run.stat("auc", number / _POINTS)
    client.flush()
    cpu, written = time.process_time() - before, spool.stat().st_size - size
    client.close()
    tell("cost.stat.durable", cpu / _POINTS * 1e6, "us", _POINTS, note="call to fdatasync, whole process")
    tell("cost.stat.bytes", written / _POINTS, "bytes", _POINTS, note="per point in the spool; 17-digit values")


def _shipping(home: Home, inserted: float) -> None:
    """Facts from the call into the store's file: spooled, shipped, verified, appended, folded."""
    from ion.agent import open_client, ship_all
    from ion.facts import ParamRecorded
    from ion.store import open_store

    store = open_store(home.store_url)
    ship_all(home.spool, store)
    store_file = home.root / "store.db"
    size = _checkpointed(store_file)
    client = open_client(home, name="shipped", ship=False)
    run = client.node_run("cost/shipping", kind="custom")
    before = time.process_time()
    for number in range(_FACTS):
        client.emit(ParamRecorded(run=run.id, name=f"p{number}", value=number, component=""))
    client.flush()
    ship_all(home.spool, store)
    cpu = time.process_time() - before
    client.close()
    store.close()
    grown = _checkpointed(store_file) - size
    note = f"emit, spool, ship, append, fold; {cpu / _FACTS / inserted:.3g} x a sqlite3 row"
    tell("cost.fact.shipped", cpu / _FACTS * 1e6, "us", _FACTS, note=note)
    tell("cost.fact.bytes", grown / _FACTS, "bytes", _FACTS, note="in the store's file, with indexes and projections")


def _gate(home: Home) -> None:
    from ion.evidence import ArtifactStore, trust_file
    from ion.serving import Admitted, Gate, pointer_path

    prepare_node(home)

    def gate() -> Gate:
        return Gate(
            pointer_path(home.root, NODE),
            ArtifactStore(home.artifacts),
            trust_file(home),
            NODE,
            home.root / "accepted.json",
        )

    if not isinstance(gate().admit(), Admitted):
        raise TypeError("the model was not admitted")
    cold = [_cpu(lambda: gate().admit()) * 1e3 for _ in range(100)]
    tell_samples("cost.gate.first", cold, "ms", 0.5, note="two signatures, manifest, 2.5 KB model, by a fresh gate")
    warm = gate()
    warm.admit()
    again = [_cpu(warm.admit) * 1e3 for _ in range(1000)]
    tell_samples("cost.gate.again", again, "ms", 0.5, note="nothing changed")


def _scoring() -> None:
    scorer = pretrained(1).scorers[0]
    rows = [[float(value) for value in row.split(",")] for row in patient_rows()]
    samples = [_cpu(lambda: [scorer.score_row(row) for row in rows]) / len(rows) * 1e6 for _ in range(_BATCHES)]
    tell_samples("cost.score_row", samples, "us", 0.5, note="30 features, one row at a time")


def _logging(folder: Path) -> float:
    """Return and print the seconds per record of JSON logging to a file."""
    logger = logging.getLogger("bench.peer")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.FileHandler(folder / "peer.jsonl")
    handler.setFormatter(_Json())
    logger.addHandler(handler)
    samples = _batches(lambda: logger.info("%s %f", "auc", 0.5), calls=500)
    handler.close()
    tell_samples("cost.peer.logging", _micro(samples), "us", 0.5, note="one JSON line per record")
    return quantile(samples, 0.5)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"time": record.created, "level": record.levelname, "message": record.getMessage()})


def _sqlite(folder: Path) -> float:
    """Return and print the seconds per row of sqlite3, ten thousand rows a transaction."""
    samples = []
    with sqlite3.connect(folder / "peer.db") as database:
        database.execute("create table point (series text, us integer, value real)")
        for batch in range(20):
            rows = [("auc", batch * 10_000 + number, 0.5) for number in range(10_000)]
            before = time.thread_time()
            database.executemany("insert into point values (?, ?, ?)", rows)
            database.commit()
            samples.append((time.thread_time() - before) / len(rows))
    tell_samples("cost.peer.sqlite3", _micro(samples), "us", 0.5, note="one row, 10,000 a transaction")
    return quantile(samples, 0.5)


def _emit_call(name: str, samples: list[float], logged: float, inserted: float) -> None:
    middle = quantile(samples, 0.5)
    note = f"{middle / logged:.3g} x a JSON log line, {middle / inserted:.3g} x a sqlite3 row"
    tell_samples(f"cost.{name}", _micro(samples), "us", 0.5, note=note)


def _batches(call: Callable[[], object], calls: int = _CALLS) -> list[float]:
    """Return the seconds per call of many batches; a quantile over batches leaves the clock's own cost out."""

    def batch() -> None:
        for _ in range(calls):
            call()

    batch()
    return [_cpu(batch) / calls for _ in range(_BATCHES)]


def _cpu(action: Callable[[], object]) -> float:
    before = time.thread_time()
    action()
    return time.thread_time() - before


def _micro(samples: list[float]) -> list[float]:
    return [sample * 1e6 for sample in samples]


def _checkpointed(path: Path) -> int:
    """Return the size of a SQLite file with its write-ahead log folded in."""
    with sqlite3.connect(path) as database:
        database.execute("pragma wal_checkpoint(truncate)")
    return path.stat().st_size
