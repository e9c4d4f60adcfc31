"""XGBoost: what a booster tells by itself, and its evaluation round by round as statistics."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from resources.extraction import ComponentDescription, Extraction, json_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xgboost import Booster, XGBModel
    from xgboost.callback import TrainingCallback

    from ion import NodeRun

MOST_FEATURES = 1000
"""So many are in the table of importances, the most important first."""
_IMPORTANCES = ("gain", "weight", "cover")


def extract(fitted: Booster | XGBModel) -> Extraction:
    """Read a booster, or an estimator of XGBoost's scikit-learn interface: nothing is declared by hand.

    One component: all training parameters in force, rounds, best round and score, feature names, classes.
    """
    booster = _booster(fitted)
    learner = json.loads(booster.save_config())["learner"]
    params = dict(_settings(learner))
    params["metrics"] = [metric["name"] for metric in learner.get("metrics", ())]
    if hasattr(fitted, "get_params"):
        # What the estimator was given, where the booster does not keep it (early_stopping_rounds, n_estimators, ...).
        given = {name: json_value(value) for name, value in fitted.get_params().items() if value is not None}
        params = {**{name: value for name, value in given.items() if value != "nan"}, **params}
    metrics = {
        name: number for name in ("best_iteration", "best_score") if (number := _attribute(booster, name)) is not None
    }
    component = ComponentDescription(
        name="booster",
        kind=f"xgboost.{type(fitted).__name__}",
        uid="",
        params=params,
        metrics=metrics,
        iterations=int(booster.num_boosted_rounds()),
        features=tuple(booster.feature_names or ()),
        classes=tuple(json_value(each) for each in getattr(fitted, "classes_", ())),
    )
    return Extraction((component,))


def record(run: NodeRun, fitted: Booster | XGBModel, *, evaluation: bool = True) -> None:
    """Tell the component, the table ``importance``, and with ``evaluation`` what was evaluated after each round.

    Statistics are named ``<set>/<metric>``, e.g. ``validation_0/logloss``, and all have the moment of telling;
    give `rounds` to the training instead, and ``evaluation=False`` here, to have each at its own time. A `Booster`
    does not keep its evaluation.
    """
    found = extract(fitted)
    found.record(run)
    booster = _booster(fitted)
    kinds = ("weight",) if found.components[0].params["booster"] == "gblinear" else _IMPORTANCES
    scores = {kind: booster.get_score(importance_type=kind) for kind in kinds}
    first = scores[kinds[0]]
    named = sorted(first, key=lambda name: (-abs(_one(first[name])), name))[:MOST_FEATURES]
    if named:
        columns = {kind: [_one(scores[kind].get(name, 0.0)) for name in named] for kind in kinds}
        run.table("importance", {"feature": [name[:200] for name in named], **columns})
    results: Mapping[str, Mapping[str, list[float]]] = getattr(fitted, "evals_result_", None) or {}
    for place, metrics in results.items() if evaluation else ():
        for metric, values in metrics.items():
            run.stats_many(f"{place}/{metric}", values)


def rounds(run: NodeRun) -> TrainingCallback:
    """Return a callback for ``xgboost.train(callbacks=...)`` that tells each round's evaluation when it is made."""
    from xgboost.callback import TrainingCallback

    class Rounds(TrainingCallback):
        """Tells the newest value of every metric of every evaluation set."""

        def after_iteration(
            self, model: Booster, epoch: int, evals_log: dict[str, dict[str, list[float] | list[tuple[float, float]]]]
        ) -> bool:
            """Tell one round; never asks to stop."""
            del model, epoch
            for place, metrics in evals_log.items():
                for metric, values in metrics.items():
                    newest = values[-1]  # of a cross-validation: mean and spread
                    run.stat(f"{place}/{metric}", newest[0] if isinstance(newest, tuple) else newest)
            return False

    return Rounds()


def _booster(fitted: Booster | XGBModel) -> Booster:
    return fitted.get_booster() if hasattr(fitted, "get_booster") else fitted


def _settings(node: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the parameters in force of a saved configuration, its nesting taken away."""
    for name, value in node.items():
        if name in {"metrics", "updater", "learner_model_param"}:
            continue
        if isinstance(value, dict):
            yield from _settings(value)
        elif name != "name":
            yield name, _value(value)


def _value(text: object) -> object:
    """Return a parameter, which XGBoost keeps as text, as a number where it is one."""
    try:
        number = float(str(text))
    except ValueError:
        return json_value(text)
    if not math.isfinite(number):
        return str(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _attribute(booster: Booster, name: str) -> float | None:
    text = booster.attr(name)
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _one(score: float | list[float]) -> float:
    """Return one importance: of a linear booster with several classes, the largest."""
    return float(max(score, key=abs)) if isinstance(score, list) else float(score)
