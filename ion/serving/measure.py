"""Metrics that governance measures itself, from a model's bytes and held-out rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ion.serving.scorer import load_scorer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from ion.evidence.hashed_reading import Content


def measure(model_format: str, files: Mapping[str, Content], frame: pd.DataFrame, label: str) -> dict[str, float]:
    """Score ``frame`` (columns: the features and ``label`` in {0, 1}) and return the metrics.

    ``roc_auc``, ``accuracy`` and ``recall`` (at the model's threshold), ``log_loss``; as defined by
    scikit-learn.

    Raises:
        IonError: ``bad-model`` or ``unknown-format``.
    """
    from sklearn import metrics

    scorer = load_scorer(model_format, files)
    scores = scorer.score(frame[list(scorer.features)].to_numpy(dtype=float))
    truth = frame[label].to_numpy()
    predicted = np.array([scorer.label(score) == scorer.classes[1] for score in scores], dtype=int)
    return {
        "roc_auc": float(metrics.roc_auc_score(truth, scores)),
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "recall": float(metrics.recall_score(truth, predicted)),
        "log_loss": float(metrics.log_loss(truth, scores)),
    }
