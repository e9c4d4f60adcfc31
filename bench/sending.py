"""A sender of statistics, to ion's server or to MLflow's: ``python -m bench.sending KIND URL NAME REQUESTS POINTS``.

What it sends is made before it says ``ready``; then it waits for a line, sends one request after the other, each when
the one before was acknowledged, and prints one JSON line: seconds of each, CPU seconds, when it began and ended.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NODE = "ingest/sender"
SERIES = 5


def to_ion(url: str, name: str, requests: int, points: int) -> Iterator[Callable[[], object]]:
    """Yield what sends each request: one fact about ``points`` points of five series, as a flush packs them."""
    from ion.agent.remote import RemoteReceiver
    from ion.agent.statistics import statistics_fact
    from ion.clock import Clock
    from ion.facts import NodeRunStarted
    from ion.ids import new_id
    from ion.points import Points
    from ion.records import write_record

    receiver, clock, noise, run = RemoteReceiver.of(url), Clock(), np.random.default_rng(), new_id()
    agent = f"{name}-{new_id()}"
    started = NodeRunStarted(run=run, node=NODE, node_kind="custom")
    receiver.append([write_record(started, fact_id=new_id(), agent=agent, seq=0, stamp=clock.tick())])
    each, now = points // SERIES, time.time_ns() // 1000
    for number in range(1, requests + 1):
        times = now + number * 1_000_000 + np.sort(noise.integers(0, 1_000_000, each))
        columns = {f"series_{at}": Points(times, noise.normal(0.8, 0.05, each)) for at in range(SERIES)}
        fact, block = statistics_fact(run, "", columns)
        record = write_record(fact, fact_id=new_id(), agent=agent, seq=number, stamp=clock.tick())

        def send(record: object = record, digest: str = fact.digest, block: bytes = block) -> object:
            taken = receiver.append([record], {digest: block})  # type: ignore[list-item]
            if taken.accepted != 1:
                raise RuntimeError(f"the server did not take a new fact: {taken}")
            return taken

        yield send


def to_mlflow(url: str, name: str, requests: int, points: int) -> Iterator[Callable[[], object]]:
    """Yield what sends each request: ``points`` metrics in a `log_batch`, at most 1,000."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(url)
    run = client.create_run("0", run_name=name).info.run_id
    for number in range(requests):
        first = number * points
        metrics = [
            Metric(f"series_{at % SERIES}", float(value), 1_700_000_000_000 + first + at, first + at)
            for at, value in enumerate(np.random.default_rng(number).random(points))
        ]
        yield lambda metrics=metrics: client.log_batch(run, metrics=metrics)


def main() -> None:
    """Prepare, wait for the word, send."""
    kind, url, name, requests, points = sys.argv[1:]
    prepare = {"ion": to_ion, "mlflow": to_mlflow}[kind]
    sends = list(prepare(url, name, int(requests), int(points)))
    print("ready", flush=True)
    sys.stdin.readline()
    samples, before, began = [], time.process_time(), time.time()
    for send in sends:
        started = time.perf_counter()
        send()
        samples.append(time.perf_counter() - started)
    told = {"samples": samples, "cpu_s": time.process_time() - before, "began": began, "ended": time.time()}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
