"""IONs of one dataset, one model and its predictions; `ion_of` makes as many as a test needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd

import ion
from ion import testing
from ion.dagster import dataset, inference, training
from ion.serving.measure import measure
from ion.serving.scorer import LINEAR_FORMAT

if TYPE_CHECKING:
    from ion.decision import PolicySet


class Rows(dg.Config):
    seed: int = 7


class Training(dg.Config):
    weight: float = 1.0
    registered_as: str = ""


class Lamp(dg.ConfigurableResource):
    """A resource with a secret in its configuration."""

    password: str = "hunter2-of-the-lamp"  # noqa: S105 - planted, to be looked for

    def light(self) -> float:
        return 0.5


@dataclass(frozen=True)
class Finding:
    name: str
    passed: bool
    severity: str = "ERROR"

    def as_dict(self) -> dict[str, str | bool]:
        return {"name": self.name, "passed": self.passed}


@dataclass(frozen=True)
class AtLeast:
    """Expects so many rows."""

    rows: int
    name: str = "enough_rows"
    severity: str = "ERROR"

    def __call__(self, frame: pd.DataFrame) -> list[Finding]:
        return [Finding("row count", len(frame) >= self.rows, self.severity)]


@dataclass(frozen=True)
class Ion:
    patients: dg.AssetsDefinition
    recommender: dg.AssetsDefinition
    scores: dg.AssetsDefinition

    @property
    def all(self) -> list[dg.AssetsDefinition]:
        return [self.patients, self.recommender, self.scores]


def fitted(run: ion.NodeRun, patients: pd.DataFrame, weight: float, name: str, registered_as: str = "") -> ion.Model:
    heldout = patients.iloc[::3].reset_index(drop=True)
    files = {"model.json": testing.linear_model(weight)}
    return ion.Model(
        files=files,
        format=LINEAR_FORMAT,
        metrics=measure(LINEAR_FORMAT, files, heldout, "malignant"),
        heldout=run.dataset(f"{name}/heldout", heldout, role="heldout", classification="pii"),
        label="malignant",
        features=testing.FEATURES,
        links={"mlflow_model": name, "mlflow_version": registered_as} if registered_as else {},
    )


def lit_ion(policy: PolicySet) -> dg.AssetsDefinition:
    @training(ion="ward", policy=policy)
    def recommender(context: dg.AssetExecutionContext, run: ion.NodeRun, config: Training, bulb: Lamp) -> ion.Model:
        run.param("light", bulb.light())
        run.param("key", context.asset_key.to_user_string())
        return fitted(run, testing.patients(), config.weight, "ward")

    return recommender


def ion_of(name: str, policy: PolicySet, rows: int = 100) -> Ion:
    @dataset(ion=name, classification="pii", expectations=AtLeast(rows))
    def patients(config: Rows) -> pd.DataFrame:
        """Patients, drawn anew for every seed."""
        return testing.patients(config.seed)

    @training(ion=name, policy=policy)
    def recommender(run: ion.NodeRun, patients: pd.DataFrame, config: Training) -> ion.Model:
        """Says who needs a further test."""
        run.param("weight", config.weight)
        return fitted(run, patients, config.weight, name, config.registered_as)

    @inference(ion=name, model="recommender", classification="pii")
    def scores(scorer: ion.Scorer, patients: pd.DataFrame) -> pd.DataFrame:
        """Scores of all patients."""
        return patients.assign(score=scorer.score(patients[list(scorer.features)].to_numpy()))

    return Ion(patients, recommender, scores)
