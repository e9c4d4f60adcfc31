"""What a fitted scikit-learn estimator, pipeline or search tells by itself: nothing is declared by hand."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from resources.extraction import ComponentDescription, Extraction, TrialDescription, json_value, snake_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sklearn.base import BaseEstimator

_METRICS = ("best_score_", "inertia_", "lower_bound_", "loss_", "oob_score_", "reconstruction_err_", "train_score_")
"""Attributes by which fitted estimators tell how well they fit; of a series the last."""


def extract(fitted: BaseEstimator) -> Extraction:
    """Read a fitted estimator, pipeline, column transformer or search (also nested).

    Components come in the order in which data flows through them, under the names they have in their pipeline.
    Of each: the parameters set or default, fit metrics, iterations, feature names, classes.
    """
    components: list[ComponentDescription] = []
    trials: list[TrialDescription] = []
    seen: Counter[str] = Counter()
    for name, stage in _stages("", fitted):
        trials += _trials(stage)
        seen[name] += 1
        components.append(
            ComponentDescription(
                name=name if seen[name] == 1 else f"{name}_{seen[name]}",
                kind=f"{type(stage).__module__.partition('.')[0]}.{type(stage).__name__}",
                uid="",
                params={key: json_value(value) for key, value in stage.get_params(deep=False).items()},
                metrics=_metrics(stage),
                iterations=_iterations(stage),
                features=_features(stage),
                classes=_classes(stage),
            )
        )
    return Extraction(tuple(components), tuple(trials))


def _stages(name: str, stage: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - estimators share no base
    """Yield ``(name, estimator)`` of every estimator, those that hold others before them."""
    if not hasattr(stage, "get_params"):  # "passthrough", "drop", a function
        return
    own = name or snake_case(type(stage).__name__)
    if hasattr(stage, "best_estimator_"):
        yield own, stage
        yield from _stages("", stage.best_estimator_)
    elif hasattr(stage, "steps"):
        for label, inner in stage.steps:
            yield from _stages(label, inner)
    elif hasattr(stage, "transformers_") or hasattr(stage, "transformer_list"):
        yield own, stage
        for label, inner, *_ in getattr(stage, "transformers_", None) or stage.transformer_list:
            yield from _stages(f"{own}.{label}", inner)
    else:
        yield own, stage


def _trials(stage: Any) -> Iterator[TrialDescription]:  # noqa: ANN401
    """Yield every setting that a search tried, with the mean and the spread over its folds."""
    results = getattr(stage, "cv_results_", None)
    if results is None:
        return
    scores = [key for key in results if key.startswith("mean_test_")]
    selected = int(getattr(stage, "best_index_", -1))
    for index, setting in enumerate(results["params"]):
        metrics = {}
        for key in scores:
            metric = key.removeprefix("mean_test_")
            for label, column in ((metric, key), (f"{metric}_std", f"std_test_{metric}")):
                value = float(results[column][index])
                if math.isfinite(value):
                    metrics[label] = value
        params = {name: json_value(value) for name, value in setting.items()}
        yield TrialDescription(params, metrics, selected=index == selected)


def _metrics(stage: Any) -> dict[str, float]:  # noqa: ANN401
    found = {}
    for name in _METRICS:
        number = _number(_read(stage, name))
        if number is not None:
            found[name.removesuffix("_")] = number
    curve = _read(stage, "loss_curve_")
    if curve is not None and len(curve):
        found["loss"] = float(curve[-1])
    return found


def _iterations(stage: Any) -> int | None:  # noqa: ANN401
    """Return how often it went round; where it did so for several classes, at most."""
    found = _read(stage, "n_iter_")
    if found is None:
        return None
    rounds = [int(each) for each in _flat(found)]
    return max(rounds) if rounds else None


def _features(stage: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Return the names of what it makes where it says so, else of what it reads."""
    if hasattr(stage, "best_estimator_"):
        return ()
    if hasattr(stage, "get_feature_names_out") and hasattr(stage, "transform"):
        try:
            return tuple(map(str, stage.get_feature_names_out()))
        except (AttributeError, ValueError, TypeError):
            pass  # not every transformer of a pipeline knows them
    return tuple(map(str, _flat(_read(stage, "feature_names_in_"))))


def _classes(stage: Any) -> tuple[object, ...]:  # noqa: ANN401
    if hasattr(stage, "best_estimator_"):
        return ()
    return tuple(json_value(each) for each in _flat(_read(stage, "classes_")))


def _read(stage: Any, name: str) -> Any:  # noqa: ANN401
    """Return an attribute, or None: some are properties that raise while something else is not fitted."""
    try:
        return getattr(stage, name, None)
    except Exception:  # noqa: BLE001 - an extraction never fails a training
        return None


def _number(value: Any) -> float | None:  # noqa: ANN401
    members = _flat(value)
    if not members:
        return None
    try:
        number = float(members[-1])
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _flat(value: object) -> list[Any]:
    """Return the members of an array or of lists in lists, a single value as the only one, nothing of None."""
    if value is None:
        return []
    plain = value.tolist() if hasattr(value, "tolist") else value
    return [inner for member in plain for inner in _flat(member)] if isinstance(plain, list | tuple) else [plain]
