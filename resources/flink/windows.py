"""Windows of committed predictions: statistics, and histograms of inputs and scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ion.agent import Histogram
from ion.agent.statistics import statistics_fact
from ion.errors import IonError
from ion.facts import GapNoted, SignaturesRecorded
from ion.ids import observed_id
from ion.points import Points
from resources.flink.bins import PREDICTION, ModelBins, has_bins, model_bins

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ion.agent import Client
    from ion.evidence import ArtifactStore
    from resources.flink.columns import Names, Predictions
    from resources.flink.journal import EpochEntry

_POINT_ROWS = 1000
"""Every statistic gets one point per so many predictions, and one for the rest of a window."""


@dataclass(slots=True)
class EpochRows:
    """What a window holds of one epoch.

    Scores and labels as they came; when the last row of each point was computed (row → µs); some input rows.
    """

    entry: EpochEntry
    count: int = 0
    times: dict[int, int] = field(default_factory=dict)
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    labels: list[Names] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)

    def add(self, part: Predictions) -> None:
        """Take in more rows, at least one."""
        before, self.count = self.count, self.count + len(part)
        first_end = before + -(before + 1) % _POINT_ROWS
        for row in (*range(first_end, self.count, _POINT_ROWS), self.count - 1):
            self.times[row] = int(part.us[row - before])
        self.scores.append(part.score)
        self.labels.append(part.label)


class WindowFacts:
    """Tells what a window of predictions says, under ids that depend on the window only."""

    def __init__(self, client: Client, artifacts: ArtifactStore, bins: Path) -> None:
        self._client = client
        self._artifacts = artifacts
        self._bins = bins
        self._known: dict[str, ModelBins] = {}

    def tell(self, window: str, rows: EpochRows) -> None:
        """Spool the facts about one epoch's part of the window called ``window``."""
        import numpy as np

        scores = np.concatenate(rows.scores)
        try:
            bins = self._bins_of(rows.entry.model)
        except IonError as error:
            self._gap(window, rows, "statistics", len(scores), error.message)
            return
        positives = np.concatenate([labels.are(bins.positive) for labels in rows.labels])
        self._statistics(window, rows, scores, positives)
        inputs: dict[str, object] = {}
        if rows.inputs:
            columns = zip(bins.features, _columns(rows.inputs, len(bins.features)), strict=True)
            inputs = {name: _counted(column, bins.edges[name]) for name, column in columns if name in bins.edges}
        self._client.emit(
            SignaturesRecorded(
                run=rows.entry.run,
                epoch=rows.entry.epoch,
                inputs=inputs,
                predictions={PREDICTION: _counted(scores, bins.edges[PREDICTION])},
            ),
            fact_id=observed_id("flink signatures", window, rows.entry.epoch),
        )

    def _statistics(
        self, window: str, rows: EpochRows, scores: NDArray[np.float64], positives: NDArray[np.bool_]
    ) -> None:
        import numpy as np

        whole = len(scores) - len(scores) % _POINT_ROWS
        series: dict[str, list[NDArray[np.float64]]] = {
            name: [] for name in ("predictions", "mean_score", "positive_rate", "score_p05", "score_p95")
        }
        for part, width in ((slice(whole), _POINT_ROWS), (slice(whole, None), len(scores) - whole)):
            if not len(scores[part]):
                continue
            said, positive = scores[part].reshape(-1, width), positives[part].reshape(-1, width)
            low, high = np.quantile(said, (0.05, 0.95), axis=1)
            columns = (np.full(len(said), float(width)), said.mean(axis=1), positive.mean(axis=1), low, high)
            for values, column in zip(series.values(), columns, strict=True):
                values.append(column)
        ends = [*range(_POINT_ROWS, rows.count, _POINT_ROWS), rows.count]
        stamps = np.array([rows.times[end - 1] for end in ends], np.int64)
        points = {name: Points(stamps, np.concatenate(values)) for name, values in series.items()}
        fact, block = statistics_fact(rows.entry.run, rows.entry.epoch, points)
        self._client.emit(fact, block=block, fact_id=observed_id("flink statistics", window, rows.entry.epoch))

    def _gap(self, window: str, rows: EpochRows, what: str, count: int, reason: str) -> None:
        self._client.emit(
            GapNoted(scope=rows.entry.epoch, what=what, count=count, reason=reason),
            fact_id=observed_id("flink gap", window, rows.entry.epoch, what),
        )

    def _bins_of(self, model: str) -> ModelBins:
        known = self._known.get(model)
        if known is None or (not known.declared and has_bins(self._bins, model)):
            self._known[model] = model_bins(self._bins, self._artifacts, model)
        return self._known[model]


def _counted(values: NDArray[np.float64], edges: Sequence[float]) -> dict[str, object]:
    found = Histogram.of(values, edges)
    return {
        "edges": list(found.edges), "counts": list(found.counts), "below": found.below, "above": found.above
    }  # fmt: skip


def _columns(rows: list[bytes], count: int) -> list[NDArray[np.float64]]:
    """Return ``count`` columns of numbers, as the scorer read them."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    names = [str(number) for number in range(count)]
    try:
        table = csv.read_csv(
            pa.py_buffer(b"\n".join(rows)),
            csv.ReadOptions(use_threads=False, column_names=names),
            csv.ParseOptions(quote_char=False),
            csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float64()), null_values=[]),
        )
        return [column.to_numpy() for column in table.columns]
    except ValueError:  # a number that Python takes and Arrow does not, such as +1
        numbers = map(float, b",".join(rows).decode().split(","))
        return list(np.fromiter(numbers, float, len(rows) * count).reshape(len(rows), count).T)
