"""The ION that is measured: the patients of `patient_tests`, and models that were trained beforehand.

Everything but the learning is as in production: datasets by digest, expectations as checks, training
histograms, a candidate, and Dagster's own materialization.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd

import ion
from bench.candidates import Pretrained
from bench.policy import bench_low_risk
from gov_assets.patient_tests.checks import features_suite, patients_suite
from gov_assets.patient_tests.data import FEATURES, LABEL, load_patients, with_split
from gov_assets.patient_tests.search import heldout_metrics, signature
from ion.dagster import dataset, streaming, training
from ion.dagster.declaration import declarations, definitions_of

if TYPE_CHECKING:
    from ion.graph import Definition

ION = "propagation"
NODE = f"{ION}/predictions"
MODEL = dg.AssetKey([ION, "model"])


class CandidateConfig(dg.Config):
    """Which of the pre-trained models to hand in."""

    number: int


@dataset(ion=ION, node="model", expectations=patients_suite, classification="pii")
def patients() -> pd.DataFrame:
    """Return the patients."""
    return load_patients()


@dataset(ion=ION, node="model", expectations=features_suite, classification="pii")
def features(patients: pd.DataFrame) -> pd.DataFrame:
    """Return the patients with the held-out part marked."""
    return with_split(patients)


@training(ion=ION, policy=bench_low_risk)
def model(
    run: ion.NodeRun, features: pd.DataFrame, config: CandidateConfig, pretrained: dg.ResourceParam[Pretrained]
) -> ion.Model:
    """Return a pre-trained model with its held-out metrics and training histograms."""
    scorer = pretrained.scorers[config.number]
    known, unseen = features[features["heldout"] == 0], features[features["heldout"] == 1]
    return ion.Model(
        files={"model.json": scorer.to_bytes()},
        format=scorer.format,
        metrics=heldout_metrics(scorer, unseen),
        heldout=run.dataset(f"{ION}/heldout", unseen, role="heldout", classification="pii"),
        label=LABEL,
        features=FEATURES,
        signature=signature(scorer, known),
    )


predictions = streaming(ion=ION, name="predictions", model="model", classification="pii", on_lease_end="keep")

ASSETS = (patients, features, model, predictions)


def definition() -> Definition:
    """Return the ION as these assets declare it."""
    return definitions_of(declarations(ASSETS))[0]
