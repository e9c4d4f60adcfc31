"""What a fitted Spark pipeline tells by itself: level-1 metadata with nothing declared by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from resources.extraction import ComponentDescription, Extraction, TrialDescription, snake_case

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyspark.ml import Transformer
    from pyspark.sql import DataFrame


def extract(fitted: Transformer, frame: DataFrame) -> Extraction:
    """Read a fitted pipeline, search or single model, with nothing declared by hand.

    Args:
        fitted: a PipelineModel, CrossValidatorModel, TrainValidationSplitModel (also nested) or any model.
        frame: data the model can transform. Only its schema is read, for the names of features
            (``ml_attr`` column metadata).
    """
    schema = fitted.transform(frame).schema
    names = {item.name: _attribute_names(item.metadata) for item in schema.fields}
    components: list[ComponentDescription] = []
    trials: list[TrialDescription] = []
    seen: dict[str, int] = {}
    for stage in _stages(fitted):
        trials += _trials(stage)
        snake = snake_case(type(stage).__name__.removesuffix("Model"))
        seen[snake] = seen.get(snake, 0) + 1
        metrics, iterations = _summary(stage)
        components.append(
            ComponentDescription(
                name=snake if seen[snake] == 1 else f"{snake}_{seen[snake]}",
                kind=f"spark.{type(stage).__name__}",
                uid=str(stage.uid),
                params={param.name: _json(value) for param, value in stage.extractParamMap().items()},
                metrics=metrics,
                iterations=iterations,
                features=_features(stage, names),
            )
        )
    return Extraction(tuple(components), tuple(trials))


def _stages(fitted: Transformer) -> Iterator[Transformer]:
    """Yield searches and leaf stages in the order data flows through them."""
    if hasattr(fitted, "bestModel"):
        yield fitted
        yield from _stages(fitted.bestModel)
    elif hasattr(fitted, "stages"):
        for stage in fitted.stages:
            yield from _stages(stage)
    else:
        yield fitted


def _trials(stage: Transformer) -> Iterator[TrialDescription]:
    """Yield every setting a search tried."""
    if not hasattr(stage, "bestModel"):
        return
    evaluator = stage.getEvaluator()
    metric = evaluator.getMetricName() if hasattr(evaluator, "getMetricName") else type(evaluator).__name__
    scores = list(getattr(stage, "avgMetrics", None) or getattr(stage, "validationMetrics", ()))
    spreads = list(getattr(stage, "stdMetrics", None) or ())
    best = (max if evaluator.isLargerBetter() else min)(range(len(scores)), key=scores.__getitem__)
    for index, (setting, score) in enumerate(zip(stage.getEstimatorParamMaps(), scores, strict=True)):
        metrics = {metric: float(score)}
        if index < len(spreads):
            metrics[f"{metric}_std"] = float(spreads[index])
        params = {param.name: _json(value) for param, value in setting.items()}
        yield TrialDescription(params, metrics, selected=index == best)


_SUMMARY_NUMBERS = ("accuracy", "areaUnderROC", "rootMeanSquaredError", "r2", "trainingCost")


def _summary(stage: Transformer) -> tuple[dict[str, float], int | None]:
    """Return the numbers of a stage's training summary and its iterations."""
    if not getattr(stage, "hasSummary", False):
        return {}, None
    summary = stage.summary
    metrics = {}
    for name in _SUMMARY_NUMBERS:
        value = getattr(summary, name, None)
        if isinstance(value, float) and math.isfinite(value):
            metrics[name] = value
    history = getattr(summary, "objectiveHistory", None)
    if history:
        metrics["objective"] = float(history[-1])
    iterations = getattr(summary, "totalIterations", getattr(summary, "numIter", None))
    return metrics, iterations if isinstance(iterations, int) else None


def _features(stage: Transformer, names: dict[str, list[str]]) -> tuple[str, ...]:
    """Return the feature names of a stage; a stage that drops them passes its input's on."""
    if hasattr(stage, "bestModel"):
        return ()
    source = next((stage.getOrDefault(name) for name in ("featuresCol", "inputCol") if stage.hasParam(name)), "")
    made = stage.getOrDefault("outputCol") if stage.hasParam("outputCol") else ""
    if made and not names.get(made):
        names[made] = names.get(source, [])
    return tuple(names.get(made or source, ()))


def _attribute_names(metadata: Mapping[str, Any]) -> list[str]:
    """Return the names in a vector column's ``ml_attr`` metadata, in vector order."""
    groups = metadata.get("ml_attr", {}).get("attrs", {}).values()
    attributes = sorted((item["idx"], item.get("name", "")) for group in groups for item in group)
    return [name for _, name in attributes] if all(name for _, name in attributes) else []


def _json(value: object) -> object:
    """Return a parameter as a JSON value; what has no JSON form is named."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, dict):
        return {getattr(key, "name", str(key)): _json(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_json(member) for member in value]
    if hasattr(value, "toArray"):
        return _json(value.toArray().tolist())
    return str(getattr(value, "uid", type(value).__name__))
