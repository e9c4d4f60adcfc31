"""XGBoost describes itself, and what it evaluates becomes statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ion.agent import Client
from ion.facts import ComponentRan, FigureRecorded
from ion.home import Home
from ion.store import open_store
from resources import xgboost as extraction
from resources.sklearn import extract as extract_sklearn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.agent import NodeRun
    from ion.store import GovernanceStore

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def rows() -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(4)
    frame = pd.DataFrame(random.normal(size=(300, 3)), columns=["age", "days", "noise"])
    return frame, (frame["age"] + 0.5 * frame["days"] + random.normal(0, 0.3, 300) > 0).to_numpy().astype(int)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GovernanceStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


@pytest.fixture
def run(tmp_path: Path, store: GovernanceStore) -> Iterator[NodeRun]:
    client = Client(Home(tmp_path), "test", store)
    yield client.node_run("wards/model", kind="training")
    client.close()


def told_values(store: GovernanceStore, run: NodeRun, series: str) -> list[float]:
    return [float(value) for value in store.points(run.id, series).values]  # noqa: PD011 - no data frame


def test_an_estimator_tells_parameters_importances_and_every_round(
    rows: tuple[pd.DataFrame, np.ndarray], run: NodeRun, store: GovernanceStore
) -> None:
    frame, truth = rows
    model = xgboost.XGBClassifier(
        n_estimators=40, max_depth=3, learning_rate=0.25, early_stopping_rounds=5, eval_metric=["error", "logloss"]
    )
    model.fit(frame[:200], truth[:200], eval_set=[(frame[200:], truth[200:])], verbose=False)
    extraction.record(run, model)
    run.end()
    (component,) = [r.fact for r in store.find(ComponentRan, run.id)]
    told = component.details
    assert (component.component, component.component_kind) == ("booster", "xgboost.XGBClassifier")
    assert told["params"]["max_depth"] == 3  # type: ignore[index]
    assert told["params"]["eta"] == pytest.approx(0.25)  # type: ignore[index]
    assert told["params"]["early_stopping_rounds"] == 5  # type: ignore[index]
    assert told["params"]["objective"] == "binary:logistic"  # type: ignore[index]
    assert told["params"]["metrics"] == ["error", "logloss"]  # type: ignore[index]
    assert told["metrics"] == {"best_iteration": model.best_iteration, "best_score": model.best_score}
    assert told["iterations"] == model.get_booster().num_boosted_rounds()
    assert (told["features"], told["classes"]) == (["age", "days", "noise"], [0, 1])
    for metric in ("error", "logloss"):
        assert told_values(store, run, f"validation_0/{metric}") == model.evals_result()["validation_0"][metric]
    (table,) = [r.fact for r in store.find(FigureRecorded, run.id)]
    columns = {column["name"]: column["values"] for column in table.figure["columns"]}  # type: ignore[attr-defined]
    assert columns["feature"][0] == "age"
    assert columns["gain"] == sorted(columns["gain"], reverse=True)
    assert columns["gain"][0] == pytest.approx(model.get_booster().get_score(importance_type="gain")["age"])


def test_a_booster_tells_each_round_when_it_is_made(
    rows: tuple[pd.DataFrame, np.ndarray], run: NodeRun, store: GovernanceStore
) -> None:
    data = xgboost.DMatrix(rows[0], rows[1])
    kept: dict[str, dict[str, list[float]]] = {}
    booster = xgboost.train(
        {"objective": "binary:logistic", "eval_metric": "auc", "max_depth": 2},
        data,
        num_boost_round=12,
        evals=[(data, "training")],
        evals_result=kept,
        callbacks=[extraction.rounds(run)],
        verbose_eval=False,
    )
    extraction.record(run, booster)
    run.end()
    points = store.points(run.id, "training/auc")
    assert told_values(store, run, "training/auc") == kept["training"]["auc"]
    assert (np.diff(points.times) >= 0).all()
    assert points.times[0] < points.times[-1]
    assert [r.fact.component_kind for r in store.find(ComponentRan, run.id)] == ["xgboost.Booster"]


def test_a_linear_booster_of_several_classes_is_read_too(
    rows: tuple[pd.DataFrame, np.ndarray], run: NodeRun, store: GovernanceStore
) -> None:
    truth = np.digitize(rows[0]["age"], [-0.5, 0.5])
    extraction.record(run, xgboost.XGBClassifier(booster="gblinear", n_estimators=5).fit(rows[0], truth))
    run.end()
    (table,) = [r.fact for r in store.find(FigureRecorded, run.id)]
    assert [column["name"] for column in table.figure["columns"]] == ["feature", "weight"]  # type: ignore[attr-defined]
    (component,) = [r.fact for r in store.find(ComponentRan, run.id)]
    assert (component.details["classes"], component.details["params"]["booster"]) == ([0, 1, 2], "gblinear")  # type: ignore[index]


def test_inside_a_pipeline_it_is_one_of_the_steps(rows: tuple[pd.DataFrame, np.ndarray]) -> None:
    fitted = make_pipeline(StandardScaler(), xgboost.XGBRegressor(n_estimators=3)).fit(*rows)
    assert [each.kind for each in extract_sklearn(fitted).components] == [
        "sklearn.StandardScaler",
        "xgboost.XGBRegressor",
    ]
