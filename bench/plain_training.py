"""The training of `patient_tests` as a plain Dagster asset: what one would write without ion.

The same Spark search, export, held-out metrics, MLflow run and registration, and the same plots on the
asset page. Left out is all that is there for governance: node run, code state, dataset versions,
extraction of the fitted pipeline, trials, statistics, training histograms as facts, the model's manifest,
messages, shipping.
"""

import dagster as dg
import pandas as pd

from gov_assets.patient_tests import plots, search
from gov_assets.patient_tests.assets import _SHOWN as SHOWN
from gov_assets.patient_tests.data import FEATURES, LABEL
from gov_assets.patient_tests.search import TrainingConfig
from resources.mlflow import MlflowTracking
from resources.spark import SparkResource


@dg.asset(key=["plain", "model"], ins={"features": dg.AssetIn(key=["patient_tests", "features"])})
def model(
    features: pd.DataFrame, config: TrainingConfig, pyspark: SparkResource, mlflow: MlflowTracking
) -> dg.MaterializeResult:
    """Train, export, measure, log and register."""
    known, unseen = features[features["heldout"] == 0], features[features["heldout"] == 1]
    settings = config.model_dump()
    with mlflow.run("plain", {}) as tracked:
        frame = search.spark_frame(pyspark.spark_session, search.with_label_noise(known, config))
        fitted = search.fit(frame, config)
        scorer, difference = search.checked_export(fitted.bestModel, frame)
        metrics = search.heldout_metrics(scorer, unseen)
        tracked.log(settings, metrics)
        version = tracked.register("plain", {"model.json": scorer.to_bytes()}, {})
    scores = scorer.score(unseen[list(FEATURES)].to_numpy())
    histograms = search.signature(scorer, known)
    return dg.MaterializeResult(
        metadata={
            **{f"metric {name}": value for name, value in metrics.items()},
            "ROC, held out": dg.MetadataValue.md(plots.roc(unseen[LABEL], scores)),
            "training histograms": dg.MetadataValue.md(plots.histograms({name: histograms[name] for name in SHOWN})),
            "largest difference to Spark": difference,
            "MLflow version": version,
        }
    )
