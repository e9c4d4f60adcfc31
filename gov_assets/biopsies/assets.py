"""The assets of `biopsies`: samples, the model trained on them, and how urgent it finds each of them."""

from __future__ import annotations

import pandas as pd

import ion
from gov_assets.patient_tests.data import LABEL, MEASURES, load_patients, with_split
from ion.dagster import dataset, inference, training
from policies import catalog
from resources.great_expectations import Suite
from resources.sklearn import linear_model

FEATURES = tuple(f"mean_{measure}" for measure in MEASURES)


def _plausible() -> list:
    import great_expectations.expectations as gxe

    return [
        gxe.ExpectColumnValuesToBeUnique(column="patient_id"),
        gxe.ExpectColumnValuesToBeInSet(column=LABEL, value_set=[0, 1]),
        *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in FEATURES),
    ]


@dataset(ion="biopsies", expectations=Suite("plausible_samples", _plausible), classification="pii")
def samples() -> pd.DataFrame:
    """The mean measures of every patient's sample, and what the biopsy said; a quarter held out."""
    return with_split(load_patients())[["patient_id", *FEATURES, LABEL, "heldout"]]


@training(ion="biopsies", policy=catalog.clinical_high_risk)
def urgency(run: ion.NodeRun, samples: pd.DataFrame) -> ion.Model:
    """The probability that a sample is malignant: two people approve it before it serves."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known, unseen = samples[samples["heldout"] == 0], samples[samples["heldout"] == 1]
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(known[list(FEATURES)], known[LABEL])
    return linear_model(run, fitted, FEATURES, heldout=unseen, label=LABEL, classification="pii")


@inference(ion="biopsies", model="urgency", classification="pii")
def urgencies(scorer: ion.Scorer, samples: pd.DataFrame) -> pd.DataFrame:
    """How urgent each sample is, by the approved model."""
    scores = scorer.score(samples[list(scorer.features)].to_numpy())
    return samples[["patient_id"]].assign(urgency=scores)
