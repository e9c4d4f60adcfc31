"""The expectation suites of patient_tests: they hold of the real data, and each planted fault breaks one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gov_assets.patient_tests.checks import features_suite, patients_suite
from gov_assets.patient_tests.data import FEATURES, LABEL, is_heldout, load_patients, with_split
from resources.great_expectations import CheckResult, Suite

if TYPE_CHECKING:
    import pandas as pd


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    return load_patients()


def failures(results: list[CheckResult]) -> list[str]:
    return [result.name for result in results if not result.passed]


def test_the_patients_are_the_569_rows_with_distinct_ids_and_212_malignant(patients: pd.DataFrame) -> None:
    assert list(patients.columns) == ["patient_id", *FEATURES, LABEL]
    assert patients.shape == (569, 32)
    assert patients["patient_id"].is_unique
    assert patients[LABEL].sum() == 212


def test_who_is_held_out_depends_on_the_patient_alone(patients: pd.DataFrame) -> None:
    whole = with_split(patients).set_index("patient_id")["heldout"]
    part = with_split(patients.iloc[::-3]).set_index("patient_id")["heldout"]
    assert part.equals(whole.loc[part.index])
    assert is_heldout("wdbc-0000") == bool(whole["wdbc-0000"])


def test_the_suites_hold_of_the_real_data(patients: pd.DataFrame) -> None:
    for suite, frame in ((patients_suite, patients), (features_suite, with_split(patients))):
        results = suite(frame)
        assert failures(results) == []
        assert len({result.name for result in results}) == len(results) > 60


@pytest.mark.parametrize(
    ("column", "row", "value", "broken"),
    [
        ("mean_radius", 3, float("nan"), "mean_radius: values to not be null"),
        ("area_error", 5, -1.0, "area_error: values to be between"),
        ("worst_area", 5, float("inf"), "worst_area: values to be between"),
        ("patient_id", 9, "wdbc-0001", "patient_id: values to be unique"),
        (LABEL, 7, 2, "malignant: values to be in set"),
    ],
)
def test_one_bad_value_breaks_one_expectation(
    patients: pd.DataFrame, column: str, row: int, value: object, broken: str
) -> None:
    bad = patients.copy()
    bad.loc[row, column] = value
    assert failures(patients_suite(bad)) == [broken]


def test_a_missing_column_fails_and_is_no_error(patients: pd.DataFrame) -> None:
    results = patients_suite(patients.drop(columns="worst_area"))
    broken = {result.name: result.observed for result in results if not result.passed}
    assert broken == {
        "columns to match ordered list": "31 columns",
        "worst_area: values to not be null": "could not be computed",
        "worst_area: values to be between": "could not be computed",
    }


def test_a_class_that_nearly_vanished_from_the_held_out_part_fails(patients: pd.DataFrame) -> None:
    split = with_split(patients)
    split.loc[split["heldout"] == 1, LABEL] = 0
    assert failures(features_suite(split)) == ["malignant: mean to be between where heldout == 1"]


def test_a_lopsided_split_fails(patients: pd.DataFrame) -> None:
    split = with_split(patients).assign(heldout=[1] * 500 + [0] * 69)
    assert "heldout: mean to be between" in failures(features_suite(split))


def test_results_hold_counts_and_no_value_of_a_patient(patients: pd.DataFrame) -> None:
    bad = patients.copy()
    bad["patient_id"] = "wdbc-0042"
    bad.loc[4, "mean_radius"] = -98765.4321
    text = json.dumps([result.as_dict() for result in patients_suite(bad)])
    assert "unexpected" in text
    assert "wdbc" not in text
    assert "98765" not in text
    assert "-98" not in text


def test_a_warning_of_the_suite_stays_a_warning_and_still_fails(patients: pd.DataFrame) -> None:
    def build() -> list[object]:
        import great_expectations.expectations as gxe

        return [gxe.ExpectTableRowCountToBeBetween(min_value=1000, severity="warning")]

    assert Suite("rows", build)(patients) == [  # type: ignore[arg-type]  # a list of another element type
        CheckResult("row count to be between", passed=False, severity="WARN", expected="1000 to any", observed="569")
    ]
