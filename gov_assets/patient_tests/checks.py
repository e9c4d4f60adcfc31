"""What must hold of the data before a model may be trained on it, as Great Expectations suites."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gov_assets.patient_tests.data import FEATURES, LABEL, MEASURES
from resources.great_expectations import Suite

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

_PLAUSIBLE = {
    "radius": 60,
    "texture": 100,
    "perimeter": 400,
    "area": 10_000,
    "smoothness": 1,
    "compactness": 4,
    "concavity": 4,
    "concave_points": 1,
    "symmetry": 2,
    "fractal_dimension": 1,
}
"""Per measure, what no cell nucleus exceeds (pixels or ratios): about twice the largest ever seen."""


def _table(*columns: str) -> list[Expectation]:
    """Expect exactly these columns, enough rows, and every value present and plausible."""
    import great_expectations.expectations as gxe

    expectations: list[Expectation] = [
        gxe.ExpectTableColumnsToMatchOrderedList(column_list=list(columns)),
        gxe.ExpectTableRowCountToBeBetween(min_value=100, max_value=1_000_000),
        gxe.ExpectColumnValuesToBeUnique(column="patient_id"),
        gxe.ExpectColumnValuesToBeInSet(column=LABEL, value_set=[0, 1]),
    ]
    expectations += [gxe.ExpectColumnValuesToNotBeNull(column=column) for column in columns]
    for feature in FEATURES:
        measure = next(measure for measure in MEASURES if measure in feature)
        expectations.append(
            gxe.ExpectColumnValuesToBeBetween(column=feature, min_value=0, max_value=_PLAUSIBLE[measure])
        )
    return expectations


def _patients() -> list[Expectation]:
    """Expect the raw table, with neither class rare."""
    import great_expectations.expectations as gxe

    return [
        *_table("patient_id", *FEATURES, LABEL),
        gxe.ExpectColumnMeanToBeBetween(column=LABEL, min_value=0.2, max_value=0.6),
    ]


def _features() -> list[Expectation]:
    """Expect the split table: about a quarter held out, and both classes in either part."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    return [
        *_table("patient_id", *FEATURES, LABEL, "heldout"),
        gxe.ExpectColumnValuesToBeInSet(column="heldout", value_set=[0, 1]),
        gxe.ExpectColumnMeanToBeBetween(column="heldout", min_value=0.15, max_value=0.35),
        *(
            gxe.ExpectColumnMeanToBeBetween(
                column=LABEL, min_value=0.2, max_value=0.6, row_condition=Column("heldout") == part
            )
            for part in (0, 1)
        ),
    ]


patients_suite = Suite("patients_expectations", _patients)
features_suite = Suite("features_expectations", _features)
