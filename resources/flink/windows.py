"""Windows of committed predictions: statistics, and histograms of inputs and scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ion.agent import Histogram
from ion.errors import IonError
from ion.evidence import ArtifactStore
from ion.facts import GapNoted, SignatureRecorded, StatisticsRecorded
from ion.ids import observed_id
from resources.flink.bins import PREDICTION, Edges, model_bins

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ion.agent import Client
    from resources.flink.journal import EpochEntry

_POINT_ROWS = 1000
"""Every statistic gets one point per so many predictions, and one for the rest of a window."""


@dataclass(slots=True)
class EpochRows:
    """What a window holds of one epoch: times (µs), scores, positive labels; some input rows."""

    entry: EpochEntry
    times: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    positives: list[bool] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)


class WindowFacts:
    """Tells what a window of predictions says, under ids that depend on the window only."""

    def __init__(self, client: Client, artifacts: ArtifactStore, bins: Path) -> None:
        self._client = client
        self._artifacts = artifacts
        self._bins = bins
        self._known: dict[str, tuple[tuple[str, ...], Edges]] = {}

    def tell(self, window: str, rows: EpochRows) -> None:
        """Spool the facts about one epoch's part of the window called ``window``."""
        import numpy as np

        scores = np.asarray(rows.scores)
        self._statistics(window, rows, scores)
        try:
            features, edges = self._model(rows.entry.model)
        except IonError as error:
            self._gap(window, rows, "signatures", len(scores), error.message)
            return
        # The positional bins of the scores come with every model.
        self._signature(window, rows, PREDICTION, "prediction", Histogram.of(scores, edges[PREDICTION]))
        if rows.inputs:
            matrix = _matrix(rows.inputs, len(features))
            for column, name in enumerate(features):
                if name in edges:
                    self._signature(window, rows, name, "inference", Histogram.of(matrix[:, column], edges[name]))

    def _statistics(self, window: str, rows: EpochRows, scores: NDArray[np.float64]) -> None:
        import numpy as np

        positives = np.asarray(rows.positives, dtype=float)
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
                StatisticsRecorded(
                    run=rows.entry.run, series=name, times=times, values=points, epoch=rows.entry.epoch
                ),
                fact_id=observed_id("flink statistic", window, rows.entry.epoch, name),
            )

    def _signature(self, window: str, rows: EpochRows, name: str, role: str, histogram: Histogram) -> None:
        self._client.emit(
            SignatureRecorded(
                run=rows.entry.run, name=name, role=role, epoch=rows.entry.epoch, edges=list(histogram.edges),
                counts=list(histogram.counts), below=histogram.below, above=histogram.above,
            ),
            fact_id=observed_id("flink signature", window, rows.entry.epoch, role, name),
        )

    def _gap(self, window: str, rows: EpochRows, what: str, count: int, reason: str) -> None:
        self._client.emit(
            GapNoted(scope=rows.entry.epoch, what=what, count=count, reason=reason),
            fact_id=observed_id("flink gap", window, rows.entry.epoch, what),
        )

    def _model(self, model: str) -> tuple[tuple[str, ...], Edges]:
        if model not in self._known:
            self._known[model] = model_bins(self._bins, self._artifacts, model)
        return self._known[model]


def _matrix(rows: list[bytes], columns: int) -> NDArray[np.float64]:
    """Return n by ``columns`` numbers; the rows were parsed once by the scorer."""
    import numpy as np

    return np.array(b",".join(rows).split(b","), dtype="S").astype(float).reshape(len(rows), columns)
