"""Models trained beforehand on the real patients: what a candidate is made of, without the training time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gov_assets.patient_tests.data import FEATURES, LABEL, load_patients, with_split
from gov_assets.patient_tests.search import heldout_metrics
from ion.serving import LinearScorer

if TYPE_CHECKING:
    import pandas as pd

_STRENGTHS = (0.02, 2.0)


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Scorers in an order in which none is worse than the one before."""

    scorers: tuple[LinearScorer, ...]


def pretrained(count: int) -> Pretrained:
    """Fit ``count`` logistic regressions of different regularisation, ordered by held-out ROC AUC."""
    rows = with_split(load_patients())
    known, unseen = rows[rows["heldout"] == 0], rows[rows["heldout"] == 1]
    scorers = [_fitted(known, float(strength)) for strength in np.geomspace(*_STRENGTHS, count)]
    return Pretrained(tuple(sorted(scorers, key=lambda scorer: heldout_metrics(scorer, unseen)["roc_auc"])))


def _fitted(rows: pd.DataFrame, strength: float) -> LinearScorer:
    from sklearn.linear_model import LogisticRegression

    inputs = rows[list(FEATURES)].to_numpy()
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0)
    model = LogisticRegression(C=strength, max_iter=1000).fit((inputs - mean) / scale, rows[LABEL].to_numpy())
    return LinearScorer.create(
        features=FEATURES,
        mean=mean.tolist(),
        scale=scale.tolist(),
        coefficients=model.coef_[0].tolist(),
        intercept=float(model.intercept_[0]),
        classes=("benign", LABEL),
    )
