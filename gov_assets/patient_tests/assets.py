"""The assets of `patient_tests`: patients, features, and the model trained on them."""

from __future__ import annotations

import dagster as dg
import pandas as pd

import ion
from gov_assets.patient_tests import plots, search
from gov_assets.patient_tests.checks import features_suite, patients_suite
from gov_assets.patient_tests.data import FEATURES, LABEL, load_patients, with_split
from gov_assets.patient_tests.search import TrainingConfig
from ion.dagster import dataset, streaming, training
from policies import catalog
from resources.mlflow import MlflowTracking, TrackedRun
from resources.spark import Extraction, SparkResource, extract

OWNERS = ("team:oncology-models",)

REGISTERED_AS = "patient_tests"
"""The model's name in the MLflow registry."""

_SHOWN = ("mean_radius", "mean_texture", "mean_concavity", "worst_radius", "worst_area", "prediction")


@dataset(
    ion="patient_tests",
    node="model",
    expectations=patients_suite,
    classification="pii",
    owners=OWNERS,
    kinds=("pandas",),
)
def patients() -> pd.DataFrame:
    """Patients with thirty measured numbers each and what the biopsy said."""
    return load_patients()


@dataset(
    ion="patient_tests",
    node="model",
    expectations=features_suite,
    classification="pii",
    owners=OWNERS,
    kinds=("pandas",),
)
def features(patients: pd.DataFrame) -> pd.DataFrame:
    """The patients, a quarter of them held out of training for good."""
    return with_split(patients)


@training(ion="patient_tests", policy=catalog.clinical_low_risk, owners=OWNERS, kinds=("pyspark", "mlflow"))
def model(
    run: ion.NodeRun,
    features: pd.DataFrame,
    config: TrainingConfig,
    pyspark: SparkResource,
    mlflow: MlflowTracking,
) -> ion.Model:
    """The probability that a tumour is malignant: logistic regression, searched over by cross-validation."""
    known, unseen = features[features["heldout"] == 0], features[features["heldout"] == 1]
    heldout = run.dataset("patient_tests/heldout", unseen, role="heldout", classification="pii")
    settings = config.model_dump()
    for name, value in settings.items():
        run.param(name, value)

    with mlflow.run(run.node, _tags(run)) as tracked:
        frame = search.spark_frame(pyspark.spark_session, search.with_label_noise(known, config))
        fitted = search.fit(frame, config)
        told = extract(fitted, frame)
        told.record(run)
        scorer, difference = search.checked_export(fitted.bestModel, frame)
        run.stat("export_max_abs_diff", difference)
        metrics = search.heldout_metrics(scorer, unseen)
        for name, value in metrics.items():
            run.stat(name, value)
        files = {"model.json": scorer.to_bytes()}
        tracked.log({**settings, **told.selected.params}, metrics)
        version = tracked.register(REGISTERED_AS, files, {"ion.model": scorer.digest, "ion.node_run": run.id})

    signature = search.signature(scorer, known)
    scores = scorer.score(unseen[list(FEATURES)].to_numpy())
    return ion.Model(
        files=files,
        format=scorer.format,
        metrics=metrics,
        heldout=heldout,
        label=LABEL,
        features=FEATURES,
        input_schema=[{"name": name, "type": "double"} for name in FEATURES],
        output_schema=[{"name": "score", "type": "double"}, {"name": "label", "type": "string"}],
        signature=signature,
        links={**tracked.links, "mlflow_model": REGISTERED_AS, "mlflow_version": version},
        shown={
            "candidates": dg.MetadataValue.table(_candidates(told)),
            "ROC, held out": dg.MetadataValue.md(plots.roc(unseen[LABEL], scores)),
            "training histograms": dg.MetadataValue.md(plots.histograms({name: signature[name] for name in _SHOWN})),
            "MLflow": _link(tracked),
            "largest difference to Spark": difference,
        },
    )


def _tags(run: ion.NodeRun) -> dict[str, str]:
    """Return what ties the MLflow run to the code, the data and the node run."""
    code = run.code
    return {
        "ion.node_run": run.id,
        "ion.dataset": run.inputs["patient_tests/features"],
        "git.commit": str(code.get("commit", "")),
        "git.dirty": str(code.get("dirty", "unknown")).lower(),
        "source.digest": str(code["source_digest"]),
    }


def _link(tracked: TrackedRun) -> dg.MetadataValue:
    """Return the link to the run's page, or its identity where MLflow has no page."""
    page = tracked.links.get("mlflow_url")
    return dg.MetadataValue.url(page) if page else dg.MetadataValue.json(tracked.links)


def _candidates(told: Extraction) -> list[dg.TableRecord]:
    """Return every setting that was tried, the best first."""
    rows = [{**trial.params, **trial.metrics, "selected": trial.selected} for trial in told.trials]
    ordered = sorted(rows, key=lambda row: not row["selected"])
    return [dg.TableRecord({name: _cell(value) for name, value in row.items()}) for row in ordered]


def _cell(value: object) -> str | float | bool:
    return value if isinstance(value, bool | int | float | str) else str(value)


predictions = streaming(
    ion="patient_tests",
    name="predictions",
    model="model",
    classification="pii",
    on_lease_end="keep",
    on_revocation="fall_back",
    subject="patient",
    owners=OWNERS,
    description="Recommendations for incoming patients, by the promoted model, as a Flink job commits them.",
)
