"""What a record costs in each peer: ``python -m bench.plain_peers NAME FOLDER``, without ion.

A process for each, under the interpreter that has it. CPU time of the whole process, threads included: some
write from a thread of their own. Prints one JSON line: microseconds per record of each batch, and the bytes per record
by which their files grew.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlflow import MlflowClient

BATCH = 1000
SQLITE_ROWS = 10_000


def mlflow_metric(folder: Path) -> tuple[list[float], int]:
    """One statistic, one call, on SQLite: as a program that logs while it runs does it."""
    client, run = _mlflow(folder)
    empty = _size(folder)
    samples = _timed(lambda value: client.log_metric(run, "auc", value), batches=10, calls=20)
    return samples, _size(folder) - empty


def mlflow_batch(folder: Path) -> tuple[list[float], int]:
    """A thousand statistics a call, the most that MLflow takes."""
    from mlflow.entities import Metric

    client, run = _mlflow(folder)
    empty, samples = _size(folder), []
    for batch in range(15):
        metrics = [Metric("auc", value, 1_700_000_000_000 + n, batch * BATCH + n) for n, value in enumerate(_values())]
        samples.append(_cpu(lambda metrics=metrics: client.log_batch(run, metrics=metrics)) / BATCH)
    return samples, _size(folder) - empty


def ml_metadata_single(folder: Path) -> tuple[list[float], int]:
    """A statistic as an execution with a property, on SQLite, one a call."""
    return _ml_metadata(folder, calls=100, at_once=1)


def ml_metadata_batch(folder: Path) -> tuple[list[float], int]:
    """The same, 1,000 a call."""
    return _ml_metadata(folder, calls=1, at_once=BATCH)


def _ml_metadata(folder: Path, *, calls: int, at_once: int) -> tuple[list[float], int]:
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as proto

    config = proto.ConnectionConfig()
    config.sqlite.filename_uri = str(folder / "metadata.db")
    config.sqlite.connection_mode = proto.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = metadata_store.MetadataStore(config)
    kind = proto.ExecutionType(name="statistic")
    kind.properties["auc"] = proto.DOUBLE
    kind_id = store.put_execution_type(kind)
    empty = _size(folder)

    def put() -> None:
        rows = []
        for value in _values()[:at_once]:
            row = proto.Execution(type_id=kind_id)
            row.properties["auc"].double_value = value
            rows.append(row)
        store.put_executions(rows)

    put()
    samples = [_cpu(lambda: [put() for _ in range(calls)]) / (calls * at_once) for _ in range(8)]
    return samples, _size(folder) - empty


def tensorboardx(folder: Path) -> tuple[list[float], int]:
    """A scalar of an event file; its writer thread is counted, and waited for."""
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(folder))

    def batch() -> None:
        for step, value in enumerate(_values()):
            writer.add_scalar("auc", value, step)
        writer.flush()

    batch()
    samples = [_cpu(batch) / BATCH for _ in range(15)]
    writer.close()
    return samples, _size(folder)


def json_logging(folder: Path) -> tuple[list[float], int]:
    """A line of JSON for each statistic, by the standard library."""

    class AsJson(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return json.dumps({"time": record.created, "level": record.levelname, "message": record.getMessage()})

    logger = logging.getLogger("bench.peer")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.FileHandler(folder / "peer.jsonl")
    handler.setFormatter(AsJson())
    logger.addHandler(handler)
    samples = _timed(lambda value: logger.info("%s %f", "auc", value), batches=20, calls=BATCH)
    handler.close()
    return samples, _size(folder)


def sqlite_rows(folder: Path) -> tuple[list[float], int]:
    """A row for each statistic, 10,000 a transaction, durable as ion's store is: WAL and full synchronisation."""
    with closing(sqlite3.connect(folder / "peer.db")) as database:
        database.execute("pragma journal_mode=wal")
        database.execute("pragma synchronous=full")
        database.execute("create table point (series text, us integer, value real)")
        values = [random.random() for _ in range(SQLITE_ROWS)]  # noqa: S311 - not a secret

        def insert(first: int) -> None:
            rows = (("auc", first + n, value) for n, value in enumerate(values))
            database.executemany("insert into point values (?, ?, ?)", rows)
            database.commit()

        samples = [_cpu(lambda batch=batch: insert(batch * SQLITE_ROWS)) / SQLITE_ROWS for batch in range(20)]
        database.execute("pragma wal_checkpoint(truncate)")
    return samples, _size(folder)


PEERS: dict[str, tuple[Callable[[Path], tuple[list[float], int]], int]] = {
    "mlflow.log_metric": (mlflow_metric, 220),
    "mlflow.log_batch": (mlflow_batch, 15 * BATCH),
    "ml-metadata.put_execution": (ml_metadata_single, 801),
    "ml-metadata.put_executions": (ml_metadata_batch, 9 * BATCH),
    "tensorboardX": (tensorboardx, 16 * BATCH),
    "logging": (json_logging, 21 * BATCH),
    "sqlite3": (sqlite_rows, 20 * SQLITE_ROWS),
}
"""What to run, and how many records that writes in all."""


def _mlflow(folder: Path) -> tuple[MlflowClient, str]:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    logging.disable(logging.INFO)  # its database migrations
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("bench", artifact_location=str(folder))
    return client, client.create_run(experiment).info.run_id


def _values() -> list[float]:
    return [random.random() for _ in range(BATCH)]  # noqa: S311 - not a secret


def _timed(call: Callable[[float], object], *, batches: int, calls: int) -> list[float]:
    """Return the seconds per call of each batch; one more is not counted, for what is made at first use."""

    def batch(values: Sequence[float]) -> None:
        for value in values:
            call(value)

    given = [[random.random() for _ in range(calls)] for _ in range(batches + 1)]  # noqa: S311 - not a secret
    batch(given[0])
    return [_cpu(lambda values=values: batch(values)) / calls for values in given[1:]]


def _cpu(action: Callable[[], object]) -> float:
    before = time.process_time()
    action()
    return time.process_time() - before


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Measure the peer that is asked for."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    peer, records = PEERS[name]
    samples, size = peer(folder)
    print(json.dumps({"samples": [sample * 1e6 for sample in samples], "bytes": size / records}), flush=True)


if __name__ == "__main__":
    main()
