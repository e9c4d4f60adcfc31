"""Training in a real Spark session: the export agrees with Spark, the pipeline describes itself."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from gov_assets.patient_tests import search
from gov_assets.patient_tests.data import FEATURES, LABEL, load_patients, with_split
from gov_assets.patient_tests.search import TrainingConfig
from ion import IonError
from resources.spark import SparkResource, extract, open_session

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from pyspark.ml import PipelineModel
    from pyspark.ml.tuning import CrossValidatorModel
    from pyspark.sql import DataFrame, SparkSession

    from ion.serving import LinearScorer

pytestmark = [pytest.mark.integration, pytest.mark.slow]

QUICK = TrainingConfig(reg_params=[0.01, 10.0], elastic_net_params=[0.0], folds=2)


@pytest.fixture(scope="module")
def session() -> SparkSession:
    return open_session({})


@pytest.fixture(scope="module")
def known() -> pd.DataFrame:
    rows = with_split(load_patients())
    return rows[rows["heldout"] == 0]


@pytest.fixture(scope="module")
def frame(session: SparkSession, known: pd.DataFrame) -> DataFrame:
    return search.spark_frame(session, known)


@pytest.fixture(scope="module")
def fitted(frame: DataFrame) -> CrossValidatorModel:
    return search.fit(frame, QUICK)


def test_the_export_agrees_with_spark_on_every_training_row(fitted: CrossValidatorModel, frame: DataFrame) -> None:
    scorer, difference = search.checked_export(fitted.bestModel, frame)
    assert 0.0 <= difference <= 1e-12
    assert scorer.features == FEATURES


def test_an_export_that_differs_a_little_is_refused(
    fitted: CrossValidatorModel, frame: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = search.export(fitted.bestModel)

    def shifted(_pipeline: PipelineModel) -> LinearScorer:
        return dataclasses.replace(right, intercept=right.intercept + 1e-10)

    monkeypatch.setattr(search, "export", shifted)
    with pytest.raises(IonError, match="differ by up to") as caught:
        search.checked_export(fitted.bestModel, frame)
    assert caught.value.code == "export-differs"


def test_training_again_gives_the_same_bytes(
    fitted: CrossValidatorModel, session: SparkSession, known: pd.DataFrame
) -> None:
    again = search.fit(search.spark_frame(session, known), QUICK)
    assert search.export(again.bestModel).to_bytes() == search.export(fitted.bestModel).to_bytes()


def test_a_model_of_few_measures_still_takes_all_thirty(session: SparkSession, known: pd.DataFrame) -> None:
    config = QUICK.model_copy(update={"features": 4, "reg_params": [0.01]})
    frame = search.spark_frame(session, known)
    scorer, difference = search.checked_export(search.fit(frame, config).bestModel, frame)
    assert difference <= 1e-12
    assert scorer.features == FEATURES
    assert all(scorer.coefficients[:4])
    assert not any(scorer.coefficients[4:])


def test_a_constant_measure_weighs_nothing(session: SparkSession, known: pd.DataFrame) -> None:
    frame = search.spark_frame(session, known.assign(mean_radius=3.0))
    scorer, difference = search.checked_export(search.fit(frame, QUICK).bestModel, frame)
    assert difference <= 1e-12
    assert scorer.coefficients[0] == 0.0


def test_label_noise_turns_round_about_its_share_of_training_labels(known: pd.DataFrame) -> None:
    noisy = search.with_label_noise(known, TrainingConfig(label_noise=0.3))
    assert 0.2 < (noisy[LABEL] != known[LABEL]).mean() < 0.4
    assert search.with_label_noise(known, TrainingConfig())[LABEL].equals(known[LABEL])


def test_a_fitted_search_describes_itself(fitted: CrossValidatorModel, frame: DataFrame) -> None:
    told = extract(fitted, frame)
    names = [component.name for component in told.components]
    assert names == ["cross_validator", "vector_assembler", "standard_scaler", "logistic_regression"]
    validator, assembler, scaler, regression = told.components
    assert validator.params["numFolds"] == 2
    assert assembler.features == scaler.features == regression.features == FEATURES
    assert regression.kind == "spark.LogisticRegressionModel"
    assert regression.params["maxIter"] == 20
    assert regression.iterations is not None
    assert 1 <= regression.iterations <= 20
    assert regression.metrics["areaUnderROC"] > 0.98
    json.dumps([component.as_dict() for component in told.components], allow_nan=False)


def test_every_setting_that_was_tried_is_told_and_the_best_is_marked(
    fitted: CrossValidatorModel, frame: DataFrame
) -> None:
    told = extract(fitted, frame)
    assert [trial.params for trial in told.trials] == [
        {"regParam": 0.01, "elasticNetParam": 0.0},
        {"regParam": 10.0, "elasticNetParam": 0.0},
    ]
    scores = [trial.metrics["areaUnderROC"] for trial in told.trials]
    assert told.trials[scores.index(max(scores))] == told.selected
    assert told.selected.params["regParam"] == fitted.bestModel.stages[-1].getRegParam()


def test_the_scaler_is_fitted_inside_the_folds(fitted: CrossValidatorModel) -> None:
    stages = [type(stage).__name__ for stage in fitted.getEstimator().getStages()]
    assert stages == ["VectorAssembler", "StandardScaler", "LogisticRegression"]


def test_a_split_search_and_a_plain_pipeline_describe_themselves(frame: DataFrame) -> None:
    from pyspark.ml import Pipeline
    from pyspark.ml.evaluation import RegressionEvaluator
    from pyspark.ml.feature import VectorAssembler
    from pyspark.ml.regression import LinearRegression
    from pyspark.ml.tuning import ParamGridBuilder, TrainValidationSplit

    assembler = VectorAssembler(inputCols=["mean_radius", "mean_texture"], outputCol="features")
    regression = LinearRegression(maxIter=3)
    grid = ParamGridBuilder().addGrid(regression.regParam, [0.0, 1.0]).build()
    pipeline = Pipeline(stages=[assembler, regression])
    split = TrainValidationSplit(
        estimator=pipeline, estimatorParamMaps=grid, evaluator=RegressionEvaluator(metricName="rmse"), seed=1
    ).fit(frame)
    told = extract(split, frame)
    rmse = [trial.metrics["rmse"] for trial in told.trials]
    assert told.selected.metrics["rmse"] == min(rmse)  # smaller is better here
    plain = extract(pipeline.fit(frame), frame)
    assert [component.name for component in plain.components] == ["vector_assembler", "linear_regression"]
    assert plain.components[1].features == ("mean_radius", "mean_texture")
    assert plain.components[1].metrics["r2"] > 0
    with pytest.raises(IonError, match="without a hyper-parameter search"):
        _ = plain.selected


def test_the_resource_gives_the_lean_session_in_utc(session: SparkSession) -> None:
    again = SparkResource().spark_session
    assert again.sparkContext is session.sparkContext
    assert again.conf.get("spark.sql.session.timeZone") == "UTC"
    assert again.conf.get("spark.sql.shuffle.partitions") == "1"


def test_without_java_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(IonError, match="there is none on the path") as caught:
        open_session({})
    assert caught.value.code == "java-missing"
    assert "install Java 17" in caught.value.hint


def test_an_old_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(IonError) as caught:
        open_session({})
    assert caught.value.code == "java-too-old"
