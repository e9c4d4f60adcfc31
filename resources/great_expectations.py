"""Great Expectations 1.x as data quality evidence: run a suite on a frame, keep counts, never rows.

The library takes seconds to import, so a `Suite` names a function that builds the expectations, and
nothing is imported before the suite runs. Everything kept of a result is a count, a share or an
aggregate; values of single rows stay where they are, because most tables here are personal data.
"""

from __future__ import annotations

import logging
import math
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pandas as pd
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation

Severity = Literal["ERROR", "WARN"]

_BOOKKEEPING = frozenset({"batch_id", "condition_parser", "row_condition", "column", "column_list"})


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one expectation found in one frame.

    Args:
        name: the expectation and the column or table it speaks about; unique within a suite.
        passed: False also when the expectation itself could not be computed.
        severity: ``ERROR``, or ``WARN`` for what the suite declares as less than critical.
        expected: the declared limits, as text.
        observed: an aggregate or a count, as text; never the value of a single row.
        unexpected: how many values broke the expectation; 0 for expectations about aggregates.
        rows: how many values were looked at; 0 for expectations about aggregates.
    """

    name: str
    passed: bool
    severity: Severity
    expected: str
    observed: str
    unexpected: int = 0
    rows: int = 0

    def as_dict(self) -> dict[str, str | int | bool]:
        """Return the JSON form that goes into facts and check metadata."""
        return {
            "name": self.name,
            "passed": self.passed,
            "severity": self.severity,
            "expected": self.expected,
            "observed": self.observed,
            "unexpected": self.unexpected,
            "rows": self.rows,
        }


@dataclass(frozen=True, slots=True)
class Suite:
    """A named set of expectations; calling it with a frame validates the frame.

    Args:
        name: what the check is called on the asset's page.
        build: returns the expectations; may import Great Expectations, which nothing else here does.
    """

    name: str
    build: Callable[[], Sequence[Expectation]]

    def __call__(self, frame: pd.DataFrame) -> list[CheckResult]:
        """Validate ``frame`` and return one result per expectation, in the suite's order."""
        with _as_if_interactive():
            import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        batch = (
            context.data_sources.add_pandas("frames")
            .add_dataframe_asset(self.name)
            .add_batch_definition_whole_dataframe("whole")
            .get_batch({"dataframe": frame})
        )
        # One by one: a suite's results come back in another order than the suite's own.
        limits = {"result_format": "BASIC", "partial_unexpected_count": 0}
        return [_described(batch.validate(each, result_format=limits)) for each in self.build()]


@contextmanager
def _as_if_interactive() -> Iterator[None]:
    """Let the library import PySpark in a process that Dagster started for a run.

    Such a process has no main file. PySpark then believes that it runs doctests and ends the process
    (`pyspark.sql.connect.utils.check_dependencies`), unless an interactive prompt is set.
    """
    missing = not hasattr(sys, "ps1")
    if missing:
        sys.ps1 = ""
    try:
        yield
    finally:
        if missing:
            del sys.ps1


def _described(outcome: ExpectationValidationResult) -> CheckResult:
    """Return what may be kept of one validation result."""
    config = outcome.expectation_config
    if config is None:
        return CheckResult("unknown", passed=False, severity="ERROR", expected="", observed="no configuration")
    found = outcome.result or {}
    return CheckResult(
        name=_name(config.type, config.kwargs),
        passed=bool(outcome.success),
        severity="ERROR" if str(getattr(config.severity, "value", "critical")) == "critical" else "WARN",
        expected=_expected(config.kwargs),
        observed=_observed(found, outcome.exception_info or {}),
        unexpected=int(found.get("unexpected_count") or 0),
        rows=int(found.get("element_count") or 0),
    )


def _name(kind: str, arguments: Mapping[str, object]) -> str:
    """Return e.g. ``mean_radius: values to be between`` or ``row count to be between``."""
    words = kind.removeprefix("expect_").removeprefix("table_").removeprefix("column_").replace("_", " ")
    subject = str(arguments.get("column", ""))
    where = _condition(arguments.get("row_condition"))
    return f"{subject}: {words}{where}" if subject else f"{words}{where}"


def _condition(condition: object) -> str:
    """Return e.g. `` where heldout == 1``: which rows an expectation speaks about."""
    if not condition:
        return ""
    if isinstance(condition, dict) and isinstance(condition.get("column"), dict):
        return f" where {condition['column'].get('name')} {condition.get('operator')} {condition.get('parameter')}"
    return f" where {condition}"


def _expected(arguments: Mapping[str, object]) -> str:
    """Return the declared limits, e.g. ``0 to 60``."""
    if "column_list" in arguments:
        columns = arguments["column_list"]
        return f"{len(columns)} columns" if isinstance(columns, list) else ""
    rest = {name: value for name, value in arguments.items() if name not in _BOOKKEEPING and value is not None}
    low, high = rest.pop("min_value", None), rest.pop("max_value", None)
    parts = [f"{_number(low)} to {_number(high)}"] if (low, high) != (None, None) else []
    parts += [f"{name.replace('_', ' ')} {value}" for name, value in sorted(rest.items())]
    return ", ".join(parts)


def _observed(found: Mapping[str, object], exceptions: Mapping[str, object]) -> str:
    """Return an aggregate or a count; text found in the data is never repeated."""
    value = found.get("observed_value")
    if isinstance(value, bool | int | float) or hasattr(value, "__float__"):
        return _number(float(value))  # type: ignore[arg-type]  # numpy scalars too
    if isinstance(value, list):
        return f"{len(value)} columns"
    if found.get("element_count") is not None:
        return f"{found.get('unexpected_count') or 0} unexpected"
    return "could not be computed" if exceptions else "nothing"


def _number(value: object) -> str:
    if value is None:
        return "any"
    number = float(value)  # type: ignore[arg-type]  # limits are numbers
    return str(int(number)) if math.isfinite(number) and number == int(number) else f"{number:.6g}"
