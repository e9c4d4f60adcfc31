"""Small pictures for the asset's page, as markdown with the PNG inside."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    import ion

_INK, _PAPER = "#1f5673", "#c9dde8"


def roc(truth: ArrayLike, scores: ArrayLike) -> str:
    """Return the ROC curve of held-out scores. ``truth`` 0 or 1, ``scores`` in [0, 1], both (n,)."""
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_auc_score, roc_curve

    false_positives, true_positives, _ = roc_curve(truth, scores)
    figure = Figure(figsize=(3.6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_PAPER, linewidth=1)
    axes.plot(false_positives, true_positives, color=_INK)
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.set_title(f"held out, area {roc_auc_score(truth, scores):.4f}", fontsize=9)
    return _markdown(figure, "ROC curve of the held-out patients")


def histograms(signature: Mapping[str, ion.Histogram], columns: int = 3) -> str:
    """Return the histograms side by side, one panel per name."""
    from matplotlib.figure import Figure

    rows = -(-len(signature) // columns)
    figure = Figure(figsize=(2.2 * columns, 1.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (name, histogram) in zip(panels, signature.items(), strict=False):
        panel.stairs(histogram.counts, histogram.edges, fill=True, color=_INK)
        panel.set_title(name, fontsize=8)
        panel.tick_params(labelsize=6)
        panel.set_yticks([])
    for panel in panels[len(signature) :]:
        panel.set_axis_off()
    return _markdown(figure, "histograms of " + ", ".join(signature))


def _markdown(figure: Figure, words: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return f"![{words}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
