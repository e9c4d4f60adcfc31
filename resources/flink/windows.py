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
    from resources.flink.columns import Predictions
    from resources.flink.journal import EpochEntry

_POINT_ROWS = 1000
"""Every statistic gets one point per so many predictions, and one for the rest of a window."""


@dataclass(slots=True)
class EpochRows:
    """What a window holds of one epoch.

    Scores and labels file by file, one a line; when the last row of each point was computed (row → µs);
    some input rows.
    """

    entry: EpochEntry
    count: int = 0
    times: dict[int, int] = field(default_factory=dict)
    scores: list[bytes] = field(default_factory=list)
    labels: list[bytes] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)

    def add(self, part: Predictions) -> None:
        """Take in more rows, at least one."""
        before, self.count = self.count, self.count + len(part)
        first_end = before + -(before + 1) % _POINT_ROWS
        for row in (*range(first_end, self.count, _POINT_ROWS), self.count - 1):
            self.times[row] = part.us(row - before)
        self.scores.append(part.scores())
        self.labels.append(part.labels())


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

        scores = np.array(list(map(float, b"\n".join(rows.scores).split(b"\n"))))
        try:
            bins = self._bins_of(rows.entry.model)
        except IonError as error:
            self._gap(window, rows, "statistics", len(scores), error.message)
            return
        positive = bins.positive.encode()
        positives = np.array([label == positive for label in b"\n".join(rows.labels).split(b"\n")], dtype=float)
        self._statistics(window, rows, scores, positives)
        inputs: dict[str, object] = {}
        if rows.inputs:
            matrix = _matrix(rows.inputs, len(bins.features))
            inputs = {
                name: _counted(matrix[:, column], bins.edges[name])
                for column, name in enumerate(bins.features)
                if name in bins.edges
            }
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
        self, window: str, rows: EpochRows, scores: NDArray[np.float64], positives: NDArray[np.float64]
    ) -> None:
        import numpy as np

        times: list[int] = []
        series: dict[str, list[float]] = {
            name: [] for name in ("predictions", "mean_score", "positive_rate", "score_p05", "score_p95")
        }
        for start in range(0, len(scores), _POINT_ROWS):
            part = slice(start, start + _POINT_ROWS)
            low, high = np.quantile(scores[part], (0.05, 0.95))
            values = (len(scores[part]), scores[part].mean(), positives[part].mean(), low, high)
            for points, value in zip(series.values(), values, strict=True):
                points.append(float(value))
            times.append(rows.times[min(start + _POINT_ROWS, rows.count) - 1])
        stamps = np.array(times, np.int64)
        columns = {name: Points(stamps, np.array(points)) for name, points in series.items()}
        fact, block = statistics_fact(rows.entry.run, rows.entry.epoch, columns)
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


def _matrix(rows: list[bytes], columns: int) -> NDArray[np.float64]:
    """Return n by ``columns`` numbers, parsed as the scorer did."""
    import numpy as np

    numbers = map(float, b",".join(rows).decode().split(","))
    return np.fromiter(numbers, float, len(rows) * columns).reshape(len(rows), columns)
