"""The learning itself: a Spark pipeline, a cross-validated search, and its engine-neutral export."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
from pydantic import Field

from gov_assets.patient_tests.data import FEATURES, LABEL
from ion import Histogram, IonError
from ion.serving import LinearScorer

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.ml import PipelineModel
    from pyspark.ml.tuning import CrossValidatorModel
    from pyspark.sql import DataFrame, SparkSession

_TOLERANCE = 1e-12
_BINS = 20


class TrainingConfig(dg.Config):
    """How to train. The defaults give the best model known; the rest is for asking "what if"."""

    features: int = Field(default=len(FEATURES), ge=1, le=len(FEATURES), description="look at the first so many")
    label_noise: float = Field(default=0.0, ge=0.0, le=1.0, description="share of training labels to turn round")
    reg_params: list[float] = Field(default=[0.01, 0.1], min_length=1, description="strengths of regularisation")
    elastic_net_params: list[float] = Field(default=[0.0, 0.5], min_length=1, description="shares of L1 in it")
    folds: int = Field(default=3, ge=2, description="parts of the cross-validation")
    max_iter: int = Field(default=20, ge=1, description="rounds of the optimizer")
    seed: int = Field(default=7, description="of the folds and of the label noise")


def spark_frame(session: SparkSession, rows: pd.DataFrame) -> DataFrame:
    """Return training rows as one cached Spark partition of `FEATURES` and ``label``.

    One partition keeps the sums, and so the coefficients, the same from run to run.
    """
    columns = rows[[*FEATURES, LABEL]].rename(columns={LABEL: "label"}).astype("float64")
    return session.createDataFrame(columns).coalesce(1).cache()


def with_label_noise(rows: pd.DataFrame, config: TrainingConfig) -> pd.DataFrame:
    """Return the rows with a share of their labels turned round: what careless annotation looks like."""
    wrong = np.random.default_rng(config.seed).random(len(rows)) < config.label_noise
    return rows.assign(**{LABEL: np.where(wrong, 1 - rows[LABEL], rows[LABEL])})


def fit(frame: DataFrame, config: TrainingConfig) -> CrossValidatorModel:
    """Search the grid of ``reg_params`` x ``elastic_net_params`` by area under the ROC curve.

    The scaler is a stage of what is cross-validated: no fold's mean or deviation knows the fold it is
    judged on. The best setting is fitted again on all rows.
    """
    from pyspark.ml import Pipeline
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.evaluation import BinaryClassificationEvaluator
    from pyspark.ml.feature import StandardScaler, VectorAssembler
    from pyspark.ml.tuning import CrossValidator, ParamGridBuilder

    regression = LogisticRegression(maxIter=config.max_iter, standardization=False)
    pipeline = Pipeline(
        stages=[
            VectorAssembler(inputCols=list(FEATURES[: config.features]), outputCol="measured"),
            StandardScaler(inputCol="measured", outputCol="features", withMean=True, withStd=True),
            regression,
        ]
    )
    grid = ParamGridBuilder().addGrid(regression.regParam, config.reg_params)
    grid = grid.addGrid(regression.elasticNetParam, config.elastic_net_params)
    search = CrossValidator(
        estimator=pipeline,
        estimatorParamMaps=grid.build(),
        evaluator=BinaryClassificationEvaluator(metricName="areaUnderROC"),
        numFolds=config.folds,
        seed=config.seed,
        parallelism=2,
    )
    return search.fit(frame)


def export(pipeline: PipelineModel) -> LinearScorer:
    """Return the fitted pipeline as a canonical scorer of all thirty `FEATURES`.

    A measure the model does not look at weighs zero, so that no swap of models changes what the
    stream has to carry.
    """
    assembler, scaler, regression = pipeline.stages
    used = assembler.getInputCols()
    mean = dict(zip(used, scaler.mean.toArray().tolist(), strict=True))
    deviation = dict(zip(used, scaler.std.toArray().tolist(), strict=True))
    weight = dict(zip(used, regression.coefficients.toArray().tolist(), strict=True))
    return LinearScorer.create(
        features=FEATURES,
        mean=[mean.get(name, 0.0) for name in FEATURES],
        # A feature that never varies has deviation 0, and Spark scales it to 0: weight it so.
        scale=[deviation.get(name, 1.0) or 1.0 for name in FEATURES],
        coefficients=[weight.get(name, 0.0) if deviation.get(name) else 0.0 for name in FEATURES],
        intercept=regression.intercept,
        threshold=regression.getThreshold(),
        classes=("benign", LABEL),
    )


def checked_export(pipeline: PipelineModel, frame: DataFrame) -> tuple[LinearScorer, float]:
    """Export, score every row of ``frame`` both ways, and return the scorer and the largest difference.

    Raises:
        IonError: ``export-differs`` when Spark and the canonical scorer differ by more than 1e-12.
    """
    from pyspark.ml.functions import vector_to_array

    scorer = export(pipeline)
    theirs = pipeline.transform(frame).withColumn("score", vector_to_array("probability")[1])
    rows = theirs.select(*FEATURES, "score").toPandas()
    difference = float(np.abs(rows["score"].to_numpy() - scorer.score(rows[list(FEATURES)].to_numpy())).max())
    if not difference <= _TOLERANCE:
        raise IonError(
            "export-differs",
            f"Spark and the exported model differ by up to {difference:.3g} on {len(rows)} training rows",
            "compare the exported means, scales and coefficients with the pipeline's stages",
        )
    return scorer, difference


def heldout_metrics(scorer: LinearScorer, heldout: pd.DataFrame) -> dict[str, float]:
    """Return roc_auc, accuracy, recall and log_loss of the exported model on rows it never saw."""
    from sklearn import metrics

    truth = heldout[LABEL].to_numpy()
    scores = scorer.score(heldout[list(FEATURES)].to_numpy())
    positive = scores >= scorer.threshold
    return {
        "roc_auc": float(metrics.roc_auc_score(truth, scores)),
        "accuracy": float(metrics.accuracy_score(truth, positive)),
        "recall": float(metrics.recall_score(truth, positive)),
        "log_loss": float(metrics.log_loss(truth, scores, labels=[0, 1])),
    }


def signature(scorer: LinearScorer, rows: pd.DataFrame) -> dict[str, Histogram]:
    """Return the training histogram of every feature, and of the predictions under ``prediction``."""
    scores = scorer.score(rows[list(FEATURES)].to_numpy())
    found = {name: Histogram.spanning(rows[name].to_numpy(), _BINS) for name in FEATURES}
    return {**found, "prediction": Histogram.of(scores, np.linspace(0.0, 1.0, _BINS + 1))}
