"""scikit-learn models in the engine-neutral form that the gate admits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ion
from ion.serving import LinearScorer
from ion.serving.measure import measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler


def linear_model(
    run: ion.NodeRun,
    fitted: Pipeline,
    features: Sequence[str],
    *,
    heldout: pd.DataFrame,
    label: str,
    classification: str,
    classes: tuple[str, str] = ("no", "yes"),
) -> ion.Model:
    """Return the candidate that a fitted ``StandardScaler`` → ``LogisticRegression`` pipeline is.

    Records the pipeline's steps as components and ``heldout`` (the features and ``label`` in {0, 1})
    as the dataset version that the metrics are measured on.

    Raises:
        IonError: ``not-linear`` for another pipeline or more than two classes, ``no-column``.
    """
    missing = [name for name in (*features, label) if name not in heldout.columns]
    if missing:
        raise ion.IonError("no-column", f"heldout has no column {missing[0]!r}", "name features and label as there")
    scaler, regression = _steps(fitted)
    for name, step in fitted.steps:
        run.component(name, type(step).__name__, {"params": {k: str(v) for k, v in step.get_params().items()}})
    scorer = LinearScorer.create(
        features=list(features),
        mean=scaler.mean_.tolist(),
        scale=scaler.scale_.tolist(),
        coefficients=regression.coef_[0].tolist(),
        intercept=float(regression.intercept_[0]),
        classes=classes,
    )
    files = {"model.json": scorer.to_bytes()}
    name = f"{run.node.partition('/')[0]}/heldout"
    version = run.dataset(name, heldout, role="heldout", classification=classification)
    return ion.Model(
        files=files,
        format=scorer.format,
        metrics=measure(scorer.format, files, heldout, label),
        heldout=version,
        label=label,
        features=list(features),
        input_schema=[{"name": name, "type": "double"} for name in features],
        output_schema=[{"name": "score", "type": "double"}],
        signature={name: ion.Histogram.spanning(heldout[name].to_numpy()) for name in features},
    )


def _steps(fitted: Pipeline) -> tuple[StandardScaler, LogisticRegression]:
    kinds = [type(step).__name__ for _, step in fitted.steps]
    if kinds != ["StandardScaler", "LogisticRegression"]:
        raise ion.IonError(
            "not-linear",
            f"cannot export a pipeline of {', '.join(kinds)}",
            "fit StandardScaler, then LogisticRegression",
        )
    scaler, regression = (step for _, step in fitted.steps)
    if len(regression.classes_) != 2:  # noqa: PLR2004 - a score is one probability
        raise ion.IonError("not-linear", f"the model has {len(regression.classes_)} classes", "use two classes")
    return scaler, regression
