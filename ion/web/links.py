"""Addresses of the same things in other systems. An unknown system gives no link, never a broken one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Links:
    """Where Dagster's and MLflow's pages are; empty when there is none to link to."""

    dagster: str = ""
    mlflow: str = ""

    @classmethod
    def from_environment(cls, dagster: str = "") -> Links:
        """Return the links of this process: MLflow's page is ``MLFLOW_TRACKING_URI`` if that is a server."""
        tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
        return cls(dagster, tracking if _is_web(tracking) else "")

    def dagster_run(self, run: str) -> str:
        """Return the page of a Dagster run."""
        return f"{self.dagster.rstrip('/')}/runs/{quote(run, safe='')}" if self.dagster and run else ""

    def dagster_asset(self, key: str) -> str:
        """Return the page of an asset (``a/b``)."""
        return f"{self.dagster.rstrip('/')}/assets/{quote(key)}" if self.dagster and key else ""

    def mlflow_run(self, links: Mapping[str, object]) -> str:
        """Return the page of the MLflow run that a model's recorded ``links`` name.

        A recorded address counts only when it is one: facts come from other programs.
        """
        run, experiment = str(links.get("mlflow_run", "")), str(links.get("mlflow_experiment", ""))
        if self.mlflow and run and experiment:
            return f"{self.mlflow.rstrip('/')}/#/experiments/{quote(experiment, safe='')}/runs/{quote(run, safe='')}"
        recorded = str(links.get("mlflow_url", ""))
        return recorded if _is_web(recorded) else ""


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))
