"""Expectations on a frame as an asset check and as evidence, whatever library states them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import dagster as dg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from ion.agent.run import NodeRun

Cell = str | int | float | bool | None
"""What a table in Dagster holds."""


class Expectation(Protocol):
    """What one expectation found."""

    @property
    def passed(self) -> bool:
        """Whether it held."""

    @property
    def severity(self) -> str:
        """``ERROR`` or ``WARN``."""

    def as_dict(self) -> Mapping[str, Cell]:
        """Return the JSON form: counts and aggregates, no row."""


class Expectations(Protocol):
    """A named suite of expectations; call it with a frame."""

    @property
    def name(self) -> str:
        """What the check is called."""

    def __call__(self, frame: pd.DataFrame) -> Sequence[Expectation]:
        """Validate the frame."""


def evaluate(
    suite: Expectations, frame: pd.DataFrame, run: NodeRun, *, asset: str, digest: str, dagster_run: str
) -> dg.AssetCheckResult:
    """Record what ``suite`` finds in the version ``digest`` of ``asset`` and return it for Dagster.

    A suite that holds no expectation has not passed.
    """
    results = suite(frame)
    failed = [result for result in results if not result.passed]
    passed = bool(results) and not failed
    severity = "WARN" if failed and all(result.severity == "WARN" for result in failed) else "ERROR"
    rows = [dict(result.as_dict()) for result in results]
    run.check(asset, suite.name, digest, passed=passed, severity=severity, results=rows, engine_run=dagster_run)
    table: dg.MetadataValue = dg.MetadataValue.text("no expectation ran")
    if rows:
        table = dg.MetadataValue.table([dg.TableRecord(row) for row in rows])
    return dg.AssetCheckResult(
        check_name=suite.name,
        passed=passed,
        severity=dg.AssetCheckSeverity(severity),
        metadata={"expectations": table, "dataset digest": digest, "failed": len(failed), "ion/node_run": run.id},
    )
