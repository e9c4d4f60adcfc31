"""What watching 100,000 predictions a second costs: a vectorised scorer, paced, by turns with and without ion.

Both score batches of 1,000 rows of 30 features, ten milliseconds apart. In the windows with ion each batch has five
statistics (a point each per 1,000 predictions), one row in a hundred is counted into histograms of the 30 inputs, and
every prediction into one of the scores. The scores of a second are looked at together; signatures are told every 15 s,
as the reference job does; statistics are durable every second. Facts stay in the spool: what carrying them on costs
is told apart.

CPU time of the whole process, threads included. The denominator is one core: CPU seconds per second.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from bench.figures import tell
from bench.sampling import PairedDifference
from bench.scene import say, temporary_home
from ion.agent import Histogram, open_client, ship_all
from ion.facts import GapNoted, SignaturesRecorded
from ion.store import open_store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ion.agent import NodeRun
    from ion.home import Home

PREDICTIONS_PER_S = 100_000
_BATCH, _FEATURES = 1000, 30
_PER_S = PREDICTIONS_PER_S // _BATCH
_SAMPLED = 100  # one row in so many
_WINDOW_S = 15
_PAIRS = 8
_TARGET_PERCENT = 0.2
_SCORE_EDGES = np.linspace(0.0, 1.0, 33)
_INPUT_EDGES = np.linspace(-4.0, 4.0, 33)
_FEWEST = 0.97


class Scorer:
    """A logistic regression over batches, with ten batches of inputs that are scored over and over."""

    def __init__(self) -> None:
        noise = np.random.default_rng(7)
        self.inputs = noise.normal(size=(10, _BATCH, _FEATURES))
        self._weights = noise.normal(size=_FEATURES) / _FEATURES

    def score(self, batch: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a probability for each row."""
        return 1.0 / (1.0 + np.exp(-(batch @ self._weights)))


class Watch:
    """What ion adds: looks at a second's batches at once, since each call of numpy costs more than ten rows."""

    def __init__(self, run: NodeRun) -> None:
        self._run = run
        self._scores: list[NDArray[np.float64]] = []
        self._times: list[int] = []
        self._rows: list[NDArray[np.float64]] = []
        self._inputs: list[NDArray[np.float64]] = []
        self._signature: Histogram | None = None

    def saw(self, batch: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
        """Take note of a batch."""
        self._scores.append(scores)
        self._times.append(time.time_ns())
        self._rows.append(batch[::_SAMPLED])
        if len(self._scores) == _PER_S:
            self._look()

    def _look(self) -> None:
        scores, times = np.array(self._scores), np.array(self._times) // 1000
        told = {
            "rows": np.full(len(times), float(_BATCH)),
            "mean_score": scores.mean(axis=1),
            "positive_share": np.count_nonzero(scores >= 0.5, axis=1) / _BATCH,  # noqa: PLR2004 - even odds
            "lowest": scores.min(axis=1),
            "highest": scores.max(axis=1),
        }
        for name, column in told.items():
            self._run.stats_many(name, column, times)
        counted = Histogram.of(scores, _SCORE_EDGES)
        self._signature = counted if self._signature is None else self._signature.merged(counted)
        self._inputs.append(np.concatenate(self._rows))
        for waiting in (self._scores, self._times, self._rows):
            waiting.clear()

    def window(self) -> None:
        """Tell the signatures of the window, and make all of it durable."""
        if self._signature is not None:
            rows = np.ascontiguousarray(np.concatenate(self._inputs).T)
            inputs = {f"feature_{number}": Histogram.of(column, _INPUT_EDGES) for number, column in enumerate(rows)}
            self._run.emit(
                SignaturesRecorded(
                    run=self._run.id,
                    epoch="",
                    inputs={name: _object(histogram) for name, histogram in inputs.items()},
                    predictions={"score": _object(self._signature)},
                )
            )
        self._inputs, self._signature = [], None
        self._run.client.flush()


def _object(histogram: Histogram) -> dict[str, object]:
    """Return what a fact holds of a histogram; `dataclasses.asdict` would copy every number."""
    return {
        "edges": histogram.edges,
        "counts": histogram.counts,
        "below": histogram.below,
        "above": histogram.above,
    }


def measure() -> None:
    """Print the paired overhead, and what shipping it costs whoever ships."""
    with temporary_home() as home:
        client = open_client(home, name="rate", ship=False)
        run = client.node_run("rate/scores", kind="inference")
        scorer, watch = Scorer(), Watch(run)
        for watched in (False, True):  # so that neither pays for first use
            _window(scorer, watch if watched else None, seconds=2)
        pairs = [_pair(scorer, watch, ion_first=bool(number % 2)) for number in range(_PAIRS)]
        client.close()
        shipping = _shipping(home)
    found = PairedDifference.of(pairs)
    plain = sum(without for without, _ in pairs) / len(pairs)
    said = f"of one core; the loop without ion needs {100 * plain:.1f} % of a core; pairs of {_WINDOW_S} s windows"
    tell("rate.mean", 100 * found.mean, "% of a core", found.pairs, target=_TARGET_PERCENT, note=said)
    tell("rate.upper95", 100 * found.upper, "% of a core", found.pairs, note="95 % upper bound of the mean")
    tell("rate.of-the-loop", 100 * found.mean / plain, "%", found.pairs, note="the mean, of the loop's own CPU")
    seconds = _PAIRS * _WINDOW_S + 2
    tell("rate.shipping", 100 * shipping / seconds, "% of a core", 1, note="spool to SQLite, whoever does it")


def _pair(scorer: Scorer, watch: Watch, *, ion_first: bool) -> tuple[float, float]:
    found = {ion: _window(scorer, watch if ion else None, _WINDOW_S) for ion in (ion_first, not ion_first)}
    return found[False], found[True]


def _window(scorer: Scorer, watch: Watch | None, seconds: int) -> float:
    """Return the CPU seconds per second of a window; a batch that is late is scored at once."""
    before, began = time.process_time(), time.monotonic()
    batches = seconds * _PER_S
    for number in range(batches):
        batch = scorer.inputs[number % len(scorer.inputs)]
        scores = scorer.score(batch)
        if watch is not None:
            watch.saw(batch, scores)
        ahead = began + (number + 1) / _PER_S - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
    if watch is not None:
        watch.window()
    took = time.monotonic() - began
    if seconds / took < _FEWEST:
        say(f"a window took {took:.1f} s, not {seconds}: the machine was too busy")
    return (time.process_time() - before) / seconds


def _shipping(home: Home) -> float:
    """Return the CPU seconds that it takes to ship everything; what the windows told must be there."""
    store = open_store(home.store_url)
    before = time.process_time()
    shipped = ship_all(home.spool, store)
    cpu = time.process_time() - before
    if store.find(GapNoted) or len(store.find(SignaturesRecorded)) != _PAIRS + 1:
        raise RuntimeError(f"the windows with ion did not do its work: {shipped} facts")
    store.close()
    return cpu
