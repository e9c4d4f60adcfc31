"""Windows of committed predictions: statistics, and histograms of inputs and scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ion.agent import Histogram
from ion.errors import IonError
from ion.facts import GapNoted, SignatureRecorded, StatisticsRecorded
from ion.ids import observed_id
from resources.flink.bins import PREDICTION, ModelBins, model_bins

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ion.agent import Client
    from ion.evidence import ArtifactStore
    from resources.flink.journal import EpochEntry

_POINT_ROWS = 1000
"""Every statistic gets one point per so many predictions, and one for the rest of a window."""


@dataclass(slots=True)
class EpochRows:
    """What a window holds of one epoch: times (µs), scores, labels as written; some input rows."""

    entry: EpochEntry
    times: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)


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

        scores = np.asarray(rows.scores)
        try:
            bins = self._bins_of(rows.entry.model)
        except IonError as error:
            self._gap(window, rows, "statistics", len(scores), error.message)
            return
        positives = np.asarray([label == bins.positive for label in rows.labels], dtype=float)
        self._statistics(window, rows, scores, positives)
        self._signature(window, rows, PREDICTION, "prediction", Histogram.of(scores, bins.edges[PREDICTION]))
        if rows.inputs:
            matrix = _matrix(rows.inputs, len(bins.features))
            for column, name in enumerate(bins.features):
                if name in bins.edges:
                    histogram = Histogram.of(matrix[:, column], bins.edges[name])
                    self._signature(window, rows, name, "inference", histogram)

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
            times.append(max(rows.times[part]))
        for name, points in series.items():
            self._client.emit(
                StatisticsRecorded(run=rows.entry.run, series=name, times=times, values=points, epoch=rows.entry.epoch),
                fact_id=observed_id("flink statistic", window, rows.entry.epoch, name),
            )

    def _signature(self, window: str, rows: EpochRows, name: str, role: str, histogram: Histogram) -> None:
        self._client.emit(
            SignatureRecorded(
                run=rows.entry.run,
                name=name,
                role=role,
                epoch=rows.entry.epoch,
                edges=list(histogram.edges),
                counts=list(histogram.counts),
                below=histogram.below,
                above=histogram.above,
            ),
            fact_id=observed_id("flink signature", window, rows.entry.epoch, role, name),
        )

    def _gap(self, window: str, rows: EpochRows, what: str, count: int, reason: str) -> None:
        self._client.emit(
            GapNoted(scope=rows.entry.epoch, what=what, count=count, reason=reason),
            fact_id=observed_id("flink gap", window, rows.entry.epoch, what),
        )

    def _bins_of(self, model: str) -> ModelBins:
        if model not in self._known or not self._known[model].declared:
            self._known[model] = model_bins(self._bins, self._artifacts, model)
        return self._known[model]


def _matrix(rows: list[bytes], columns: int) -> NDArray[np.float64]:
    """Return n by ``columns`` numbers, parsed as the scorer did."""
    import numpy as np

    numbers = map(float, b",".join(rows).decode().split(","))
    return np.fromiter(numbers, float, len(rows) * columns).reshape(len(rows), columns)
