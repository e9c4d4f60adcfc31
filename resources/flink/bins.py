"""Histogram bins of a model's features: the training histogram's, so that the two can be laid over each other.

Facts hold the training histograms, and the job has no store: `FlinkDeployment.share_bins` writes the
edges here, per model. Without that file the bins span four training standard deviations to each side.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.canonical import canonical_bytes, checked_digest
from ion.evidence.files import write_atomic
from ion.serving import load_scorer, model_format
from ion.serving.scorer import LinearScorer
from resources.flink.rows import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ion.evidence import ArtifactStore

PREDICTION = "prediction"
"""The name of the scores' histogram among the features'."""

_SCORE_BINS = 20
_SPREAD = 4.0
Edges = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class ModelBins:
    """A model's features in row order, its positive label as rows write it, and bins by name."""

    features: tuple[str, ...]
    positive: str
    edges: Edges
    declared: bool


def write_bins(folder: Path, model: str, edges: Mapping[str, Sequence[float]]) -> None:
    """Keep the bins of a model: name → rising edges."""
    write_atomic(_file(folder, model), canonical_bytes({name: list(map(float, row)) for name, row in edges.items()}))


def has_bins(folder: Path, model: str) -> bool:
    """Tell whether bins of this model are kept."""
    return _file(folder, model).is_file()


def model_bins(folder: Path, artifacts: ArtifactStore, model: str) -> ModelBins:
    """Return how to count what the model saw and said.

    Raises:
        IonError: the model's artifact is missing or damaged.
    """
    files = artifacts.get_model(model)
    scorer = load_scorer(model_format(files), files)
    edges: Edges = {PREDICTION: [step / _SCORE_BINS for step in range(_SCORE_BINS + 1)]}
    if isinstance(scorer, LinearScorer):
        for name, mean, scale in zip(scorer.features, scorer.mean, scorer.scale, strict=True):
            edges[name] = [mean + _SPREAD * scale * (step * 2 / _SCORE_BINS - 1) for step in range(_SCORE_BINS + 1)]
    declared = _declared(folder, model)
    return ModelBins(scorer.features, quoted(str(scorer.classes[1])), edges | declared, declared=bool(declared))


def _declared(folder: Path, model: str) -> Edges:
    try:
        return {str(name): list(map(float, row)) for name, row in json.loads(_file(folder, model).read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _file(folder: Path, model: str) -> Path:
    name = checked_digest(model).removeprefix("sha256:")
    return folder / f"{name}.json"
