"""How fast a model travels: materialized in Dagster, decided, promoted, first prediction by it in Flink.

The deployment is the real one (`ion up` without a person): daemon, code servers, sensors on their own
clocks, and the Flink job that the deployment sensor starts. Swaps are a random 0 to 5 s apart, so that
they meet every phase of the daemon's 5 s loop.
"""

from __future__ import annotations

import os
import random
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from bench.feeding import PERIOD_S, feeding
from bench.figures import tell_samples
from bench.scene import PROJECT, say, temporary_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import dagster as dg

    from bench.candidates import Pretrained
    from ion.home import Home
    from ion.store import GovernanceStore

T = TypeVar("T")
ROWS_PER_S = 100.0
_WARM_UP = 3
_START_S, _SWAP_S = 120.0, 30.0
_LARGEST_PAUSE_S = 5.0
_DECISION_P99_S, _WHOLE_P50_S, _WHOLE_P99_S = 0.5, 0.5, 1.5


@dataclass(frozen=True, slots=True)
class Swap:
    """When one candidate reached each station; seconds since the epoch. ``model`` is its digest."""

    model: str
    materialized: float
    decided: float
    predicted: float


def measure(swaps: int) -> None:
    """Run ``swaps`` swaps on a deployment of its own and print the figures."""
    from bench.candidates import pretrained

    models = pretrained(swaps + _WARM_UP)
    with temporary_home() as home, _deployed(home), _opened(home) as store:
        folder = _prepare(home, store, models)
        with feeding(folder / "inbox", ROWS_PER_S, PERIOD_S):
            say("the first model: the deployment sensor starts the Flink job")
            train = _trainer(models)
            committed = _CommittedRows(folder / "predictions")
            rng = random.Random(len(models.scorers))  # noqa: S311 - phases, not secrets
            measured: list[Swap] = []
            for number in range(swaps + _WARM_UP):
                swap = _swap(store, train, committed, number, models.scorers[number].digest)
                if number >= _WARM_UP:
                    measured.append(swap)
                    decided, predicting = swap.decided - swap.materialized, swap.predicted - swap.materialized
                    say(f"swap {len(measured)}: decided after {decided:.3f} s, predicting after {predicting:.3f} s")
                time.sleep(rng.uniform(0.0, _LARGEST_PAUSE_S))
        opened = _epochs(store, measured)
    _report(measured, opened, len(models.scorers[-1].to_bytes()))


def _epochs(store: GovernanceStore, swaps: list[Swap]) -> list[float]:
    """Return the seconds from each decision to its fresh epoch, once the job's facts have arrived."""
    from ion.facts import EpochOpened

    last = swaps[-1].model
    _wait(lambda: store.latest(EpochOpened, last), _SWAP_S, "the job's facts did not reach the store")
    opened = {record.fact.models["champion"]: record.us for record in store.find(EpochOpened)}
    return [opened[swap.model] / 1e6 - swap.decided for swap in swaps]


def _report(swaps: list[Swap], opened: list[float], size: int) -> None:
    note = f"model of {size} bytes, 30 features, {ROWS_PER_S:.0f} rows/s"
    decision = [swap.decided - swap.materialized for swap in swaps]
    serving = [swap.predicted - swap.decided for swap in swaps]
    whole = [swap.predicted - swap.materialized for swap in swaps]
    tell_samples(
        "propagation.decision.p99",
        decision,
        "s",
        0.99,
        target=_DECISION_P99_S,
        note="candidate materialized to decision",
    )
    tell_samples(
        "propagation.serving.p99", serving, "s", 0.99, note="decision to the first prediction by the new model"
    )
    tell_samples("propagation.serving.epoch.p99", opened, "s", 0.99, note="of that, until the fresh epoch is open")
    tell_samples("propagation.whole.p50", whole, "s", 0.5, target=_WHOLE_P50_S, note=note)
    tell_samples("propagation.whole.p99", whole, "s", 0.99, target=_WHOLE_P99_S, note=note)
    tell_samples("propagation.whole.max", whole, "s", 1.0, note=note)


@contextmanager
def _deployed(home: Home) -> Iterator[None]:
    from ion.cli.deployment import Deployment

    deployment = Deployment(home, PROJECT, _free_port(), _free_port())
    os.environ["DAGSTER_HOME"] = str(deployment.dagster_home)
    try:
        deployment.start(lambda service: say(f"{service.name} ready after {service.seconds} s"), tied=True)
        yield
    finally:
        deployment.stop()


@contextmanager
def _opened(home: Home) -> Iterator[GovernanceStore]:
    from ion.store import open_store

    store = open_store(home.store_url)
    try:
        yield store
    finally:
        store.close()


def _prepare(home: Home, store: GovernanceStore, models: Pretrained) -> Path:
    """Define the ION and materialize its data; return the streaming node's folder."""
    from bench.assets import NODE, definition, features, patients
    from ion.graph import define
    from resources.flink.folders import Folders

    define(store, definition())
    _materialize([patients, features], models, {})
    return Folders.of(home, NODE).make().root


def _trainer(models: Pretrained) -> Callable[[int], None]:
    from bench.assets import MODEL, model

    return lambda number: _materialize(
        [model], models, {"ops": {"__".join(MODEL.path): {"config": {"number": number}}}}
    )


def _materialize(assets: list[dg.AssetsDefinition], models: Pretrained, config: dict[str, object]) -> None:
    """Execute a run against the deployment's own instance: its events are the real ones."""
    import dagster as dg

    from bench.assets import ASSETS
    from ion.dagster.io import ParquetIOManager

    with dg.DagsterInstance.get() as instance:
        done = dg.materialize(
            ASSETS,
            selection=assets,
            instance=instance,
            run_config=config,
            resources={"io_manager": ParquetIOManager(), "pretrained": models},
        )
    if not done.success:
        raise RuntimeError("the run failed")


def _swap(
    store: GovernanceStore, train: Callable[[int], None], committed: _CommittedRows, number: int, digest: str
) -> Swap:
    from ion.facts import DecisionMade

    train(number)
    timeout = _SWAP_S if number else _START_S
    predicted = _wait(lambda: committed.first_of(digest), timeout, "no committed prediction")
    decision = store.latest(DecisionMade, digest)
    if decision is None or decision.fact.verdict != "approve":
        raise RuntimeError(f"candidate {number} was not approved: {decision and decision.fact.reasons}")
    return Swap(digest, _materialized(), decision.us / 1e6, predicted / 1e6)


def _materialized() -> float:
    """Return the time Dagster put on its newest materialization of the model."""
    import dagster as dg

    from bench.assets import MODEL

    with dg.DagsterInstance.get() as instance:
        return instance.fetch_materializations(MODEL, limit=1).records[0].timestamp


def _wait(look: Callable[[], T], timeout: float, otherwise: str) -> T:
    give_up = time.monotonic() + timeout
    while not (found := look()):
        if time.monotonic() > give_up:
            raise RuntimeError(f"{otherwise} within {timeout:.0f} s")
        time.sleep(0.1)
    return found


class _CommittedRows:
    """When each model first predicted, from committed part files as they appear."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: set[Path] = set()
        self._first: dict[str, int] = {}

    def first_of(self, model: str) -> int:
        """Return the time (µs) of the first committed prediction of a model; 0 when there is none yet."""
        from resources.flink.columns import read_predictions

        for path in set(self._folder.glob("*/[!.]*")) - self._read:
            self._read.add(path)
            for row in read_predictions(path.read_bytes()):
                self._first[row.model] = min(row.us, self._first.get(row.model, row.us))
        return self._first.get(model, 0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
