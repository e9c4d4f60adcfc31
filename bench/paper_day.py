"""The day of the paper's Table 1, told to ion: how large its store is.

Sridhar et al., "Model Governance: Reducing the Anarchy of Production ML" (USENIX ATC 2018): 536K statistics, 1.8K
signatures, 24 models, 84 events and 264 logs took 452 MB in a day.

Alike: how many of each kind, an hourly training and an inference that runs all day. Not alike: the contents. Ours are
31 histograms of 20 bins for each training and 44 an hour for inference, linear models of 2.5 KB, statistics of five
series with all their digits at random moments; how large each was in the paper is not told. What ion adds is counted:
the ledger, indexes, projections, which points stand in which leaf, and the models' files beside the database.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from bench.candidates import pretrained
from bench.databases import sqlite_bytes
from bench.figures import tell
from bench.scene import say, temporary_home
from ion.agent import Histogram, Model, open_client, ship_all
from ion.agent.dataset import DatasetVersion
from ion.agent.logs import LogHandler
from ion.canonical import digest_bytes
from ion.store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from ion.agent import NodeRun
    from ion.agent.client import Client
    from ion.store import GovernanceStore

STATISTICS, SIGNATURES, MODELS, EVENTS, LOGS = 536_000, 1800, 24, 84, 264
TARGET_MB = 45.0
PAPER_MB = 452.0
_DAY_S = 86_400
_SECOND_US = 1_000_000
_SERIES = ("accuracy", "latency", "mean_score", "positive_share", "rows")
_FEATURES = 30
_BINS = 20


def measure() -> None:
    """Print the bytes of the day, told as the reference job tells and as thinly as an agent can."""
    _day("windows of 15 s, as the reference job tells them", 15, compacting=True)
    _day("each second's six points flushed by themselves, as thinly as an agent can", 1, compacting=False)


def _day(said: str, window_s: int, *, compacting: bool) -> None:
    import numpy as np

    say(said)
    with temporary_home() as home:
        store, noise = open_store(home.store_url), np.random.default_rng(7)
        empty = sqlite_bytes(home.root / "store.db", packed=True)
        client = open_client(home, name="day", ship=False)
        inference = client.node_run("day/inference", kind="inference")
        models = pretrained(MODELS).scorers
        for hour in range(24):
            _train(client, models[hour].to_bytes(), noise)
            _infer(inference, hour, window_s, noise)
            client.flush()
            ship_all(home.spool, store)
        inference.end()
        client.close()
        ship_all(home.spool, store)
        _check_counts(store)
        live, kept = sqlite_bytes(home.root / "store.db") - empty, _tree_bytes(home.artifacts)
        note = f"{said}; the paper: {PAPER_MB:.0f} MB, {PAPER_MB / ((live + kept) / 1e6):.1f} x as much"
        target = TARGET_MB if compacting else None
        tell(f"paper-day.live.{window_s}s", (live + kept) / 1e6, "MB", STATISTICS, target=target, note=note)
        if compacting:
            before = time.process_time()
            for _ in store.statistics.compact_all():
                pass
            note = (
                f"compacted with {time.process_time() - before:.1f} s of CPU; {kept / 1e6:.2f} MB of it models in files"
            )
            sealed = sqlite_bytes(home.root / "store.db", packed=True) - empty + kept
            tell(f"paper-day.sealed.{window_s}s", sealed / 1e6, "MB", STATISTICS, target=TARGET_MB, note=note)
        store.close()


def _train(client: Client, model: bytes, noise: np.random.Generator) -> None:
    """One of the day's trainings: a model with the histograms of its features and of its prediction."""
    features = [f"feature_{number}" for number in range(_FEATURES)]
    heldout = DatasetVersion("day/heldout", digest_bytes(b"heldout"), "", 114, (), "pii")
    with client.node_run("day/training", kind="training") as run:
        run.model(
            "scores",
            Model(
                files={"model.json": model},
                format="ion-linear/1",
                metrics={"roc_auc": float(noise.random()), "log_loss": float(noise.random())},
                heldout=heldout,
                label="malignant",
                features=features,
                signature={name: _histogram(noise) for name in [*features, "score"]},
            ),
        )


def _infer(run: NodeRun, hour: int, window_s: int, noise: np.random.Generator) -> None:
    """An hour of inference: statistics by the window, and its share of signatures, events and logs."""
    import numpy as np

    logger = logging.getLogger("bench.day")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    first_us = time.time_ns() // 1000 - (24 - hour) * 3600 * _SECOND_US
    windows = 3600 // window_s
    due = np.diff(np.linspace(hour * STATISTICS / 24, (hour + 1) * STATISTICS / 24, windows + 1).round()).astype(int)
    for window, points in enumerate(due.tolist()):
        start = first_us + window * window_s * _SECOND_US
        with run.client.lock:  # told together, flushed together
            for name, count in zip(_SERIES, np.bincount(np.arange(points) % 5, minlength=5).tolist(), strict=True):
                times = start + np.sort(noise.integers(0, window_s * _SECOND_US, count))
                if count:
                    run.stats_many(name, noise.normal(0.8, 0.05, count), times)
            run.pack_statistics()
    for number in range((SIGNATURES - MODELS * (_FEATURES + 1)) // 24):
        run.signature(f"feature_{number}", _histogram(noise), role="inference")
    for _ in range(_share(EVENTS, hour)):
        run.event("model-checked", health="green", similarity=float(noise.random()))
    with LogHandler(run).attached("bench.day"):
        for number in range(_share(LOGS, hour)):
            logger.info("window %d of hour %d was scored in %.3f s", number, hour, noise.random())


def _share(count: int, hour: int) -> int:
    return count * (hour + 1) // 24 - count * hour // 24


def _histogram(noise: np.random.Generator) -> Histogram:
    return Histogram.spanning(noise.normal(size=1000), bins=_BINS)


def _check_counts(store: GovernanceStore) -> None:
    """Count what the store holds; another day than the paper's would be no comparison."""
    from ion.facts import EventRecorded, LogsRecorded, ModelRecorded, NodeRunStarted, SignatureRecorded

    run = next(told.fact.run for told in store.find(NodeRunStarted) if told.fact.node == "day/inference")
    found = (
        sum(series.count for series in store.statistics.series(run)),
        len(store.find(SignatureRecorded)),
        len(store.find(ModelRecorded)),
        len(store.find(EventRecorded)),
        sum(len(told.fact.entries) for told in store.find(LogsRecorded)),
    )
    if found != (STATISTICS, SIGNATURES, MODELS, EVENTS, LOGS):
        raise RuntimeError(f"the day holds {found} statistics, signatures, models, events and logs")


def _tree_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
