"""Fitted scikit-learn objects describe themselves, whatever they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils.discovery import all_estimators

from ion.agent import Client
from ion.facts import ComponentRan, TrialRecorded
from ion.home import Home
from ion.testing import MemoryReceiver
from resources.sklearn import extract

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),  # the library's own
]


@pytest.fixture(scope="module")
def rows() -> tuple[pd.DataFrame, pd.Series]:
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"age": random.normal(50, 9, 120), "days": random.normal(4, 1, 120), "ward": list("abc") * 40})
    return frame, pd.Series(np.where(frame["age"] + random.normal(0, 3, 120) > 50, "yes", "no"))


def test_a_search_over_a_pipeline_tells_every_step_and_every_setting(
    rows: tuple[pd.DataFrame, pd.Series], tmp_path: Path
) -> None:
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["age", "days"]), ("wards", OneHotEncoder(), ["ward"])], remainder="drop"
    )
    pipeline = Pipeline([("columns", columns), ("nothing", "passthrough"), ("model", LogisticRegression(max_iter=200))])
    search = GridSearchCV(pipeline, {"model__C": [1e-7, 1.0]}, cv=3, scoring=["accuracy", "roc_auc"], refit="accuracy")
    search.fit(*rows)
    found = extract(search)
    assert [(each.name, each.kind) for each in found.components] == [
        ("grid_search_cv", "sklearn.GridSearchCV"),
        ("columns", "sklearn.ColumnTransformer"),
        ("columns.numbers", "sklearn.StandardScaler"),
        ("columns.wards", "sklearn.OneHotEncoder"),
        ("model", "sklearn.LogisticRegression"),
    ]
    of = {each.name: each for each in found.components}
    assert of["columns"].features == (
        "numbers__age",
        "numbers__days",
        "wards__ward_a",
        "wards__ward_b",
        "wards__ward_c",
    )
    assert of["model"].classes == ("no", "yes")
    assert of["model"].params["C"] == search.best_params_["model__C"]
    assert of["model"].iterations == search.best_estimator_[-1].n_iter_[0]
    assert of["grid_search_cv"].metrics == {"best_score": search.best_score_}
    assert [trial.params for trial in found.trials] == [{"model__C": 1e-7}, {"model__C": 1.0}]
    assert [trial.metrics["accuracy"] for trial in found.trials] == search.cv_results_["mean_test_accuracy"].tolist()
    assert set(found.trials[0].metrics) == {"accuracy", "accuracy_std", "roc_auc", "roc_auc_std"}
    assert search.best_index_ == 1
    assert found.selected.params == search.best_params_

    receiver = MemoryReceiver()
    client = Client(Home(tmp_path), "test", receiver)
    with client.node_run("wards/model", kind="training") as run:
        found.record(run)
    client.close()
    assert [fact.component for fact in receiver.facts(ComponentRan)] == list(of)
    assert [fact.selected for fact in receiver.facts(TrialRecorded)].count(True) == 1


def test_single_estimators_tell_their_fit(rows: tuple[pd.DataFrame, pd.Series]) -> None:
    numbers, truth = rows[0][["age", "days"]], rows[1]
    (forest,) = extract(
        RandomForestClassifier(n_estimators=20, oob_score=True, random_state=0).fit(numbers, truth)
    ).components
    assert forest.metrics["oob_score"] > 0.5
    assert (forest.features, forest.classes) == (("age", "days"), ("no", "yes"))
    (clusters,) = extract(KMeans(3, random_state=0).fit(numbers)).components
    assert clusters.metrics["inertia"] > 0
    assert clusters.iterations is not None
    (network,) = extract(MLPClassifier((4,), max_iter=30, random_state=0).fit(numbers, truth)).components
    assert network.metrics["loss"] > 0
    assert network.params["hidden_layer_sizes"] == [4]


def test_unions_functions_and_repeated_steps_have_names_of_their_own(rows: tuple[pd.DataFrame, pd.Series]) -> None:
    union = FeatureUnion([("plain", StandardScaler()), ("log", FunctionTransformer(np.abs))])
    fitted = make_pipeline(union, StandardScaler(), StandardScaler()).fit(rows[0][["age", "days"]])
    found = extract(fitted).components
    assert [each.name for each in found] == [
        "featureunion",
        "featureunion.plain",
        "featureunion.log",
        "standardscaler-1",
        "standardscaler-2",
    ]
    assert found[2].params["func"] == "absolute"


def test_every_classifier_of_the_library_is_read_without_an_error(tmp_path: Path) -> None:
    """Whatever its attributes are: what is told has a canonical form."""
    random = np.random.default_rng(2)
    data, truth = np.abs(random.normal(size=(60, 3))), np.array(list("ab") * 30)
    receiver = MemoryReceiver()
    client = Client(Home(tmp_path), "test", receiver)
    read = 0
    with client.node_run("wards/model", kind="training") as run:
        for _, kind in all_estimators(type_filter="classifier"):
            try:
                fitted = kind().fit(data, truth)
            except (TypeError, ValueError):
                continue  # needs an estimator inside, or other data
            extract(fitted).record(run)
            read += 1
    client.close()
    assert read > 25
    told = [fact for fact in receiver.facts(ComponentRan) if fact.details.get("classes")]
    assert len(told) >= read
    assert {tuple(fact.details["classes"]) for fact in told} == {("a", "b")}  # type: ignore[arg-type]
