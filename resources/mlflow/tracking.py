"""MLflow through dagster-mlflow: one tracked run per training run.

dagster-mlflow leaves its MLflow run RUNNING; here it ends with its true status.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import PrivateAttr

from ion.errors import IonError
from ion.home import Home
from ion.values import dataclass
from resources.mlflow.server import client, reaching, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """The MLflow run of one training run, while it is open."""

    run_id: str
    experiment_id: str
    tracking_uri: str

    @property
    def links(self) -> dict[str, str]:
        """What identifies this run in MLflow, and its page where MLflow's pages are served.

        That is the tracking server, or what ``ION_MLFLOW_URL`` names.
        """
        found = {"mlflow_run": self.run_id, "mlflow_experiment": self.experiment_id}
        server = self.tracking_uri if self.tracking_uri.startswith("http") else ""
        pages = os.environ.get("ION_MLFLOW_URL") or without_credentials(server)
        if pages:
            found["mlflow_url"] = f"{pages.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.run_id}"
        return found

    def log(self, params: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Log the parameters and metrics of the selected candidate."""
        import mlflow

        with reaching(self.tracking_uri):
            mlflow.log_params(dict(params))
            mlflow.log_metrics(dict(metrics))

    def register(self, name: str, files: Mapping[str, bytes], tags: Mapping[str, str]) -> str:
        """Keep a model's bytes with the run and return its new version under ``name`` in the registry."""
        import mlflow
        from mlflow.exceptions import MlflowException

        registry = client(self.tracking_uri)
        with reaching(self.tracking_uri), tempfile.TemporaryDirectory() as folder:
            for path, data in files.items():
                target = Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            mlflow.log_artifacts(folder, "model")
            with suppress(MlflowException):  # it is there already; if not, the next call says why
                registry.create_registered_model(name)
            source = registry.get_run(self.run_id).info.artifact_uri + "/model"
            version = registry.create_model_version(name, source, self.run_id, tags=dict(tags), await_creation_for=0)
        return str(version.version)


class MlflowTracking(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is itself
    """Where training runs are tracked and models registered.

    By default a SQLite file under the ION home, artifacts beside it; ``MLFLOW_TRACKING_URI`` or
    ``tracking_uri`` names a server.
    """

    experiment: str = "ion"
    tracking_uri: str = ""

    _context: dg.InitResourceContext | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Keep the context that dagster-mlflow wants; nothing is contacted before `run`."""
        self._context = context

    @property
    def uri(self) -> str:
        """The tracking URI in force."""
        return self.tracking_uri or Home.find().mlflow_url

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str]) -> Iterator[TrackedRun]:
        """Track what happens inside: FINISHED when it ends, FAILED on an error, KILLED on an interrupt.

        Args:
            name: what the run is called in MLflow.
            tags: put on the run, beside dagster-mlflow's ``dagster_run_id``.

        Raises:
            IonError: ``mlflow-unreachable`` within 15 s when the server does not answer,
                ``mlflow-refused`` when it answers no, ``mlflow-outside-dagster`` without a Dagster run.
        """
        if self._context is None:
            raise IonError(
                "mlflow-outside-dagster",
                "MLflow tracks Dagster runs, and none is going on",
                "give the resource to an asset",
            )
        with reaching(self.uri):
            tracked = self._start(self._context, name, tags)
        import mlflow

        try:
            yield tracked
        except BaseException as error:
            with suppress(Exception):  # the first error is the one to report
                mlflow.end_run("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        with reaching(self.uri):
            mlflow.end_run("FINISHED")

    def _start(self, context: dg.InitResourceContext, name: str, tags: Mapping[str, str]) -> TrackedRun:
        """Make an MLflow run of our own and let dagster-mlflow enter it.

        Left alone, dagster-mlflow gives all training assets of a Dagster run the same MLflow run.
        """
        server = client(self.uri)
        found = server.get_experiment_by_name(self.experiment)
        experiment_id = found.experiment_id if found else server.create_experiment(self.experiment, self._artifacts())
        made = server.create_run(experiment_id, tags=dict(tags))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dagster-mlflow warns that it is beta each time it is imported
            from dagster_mlflow import mlflow_tracking

            resource_fn = mlflow_tracking.resource_fn
            settings = {
                "experiment_name": self.experiment,
                "mlflow_tracking_uri": self.uri,
                "mlflow_run_id": made.info.run_id,
                "env": {},
                "extra_tags": {},
            }
            next(resource_fn(context.replace_config(settings)))
        server.set_tag(made.info.run_id, "mlflow.runName", name)  # it was named after Dagster's job
        return TrackedRun(made.info.run_id, experiment_id, self.uri)

    def _artifacts(self) -> str | None:
        """Return where artifacts go: a server decides itself, a file keeps them beside it."""
        if self.uri.startswith("http"):
            return None
        return (Home.find().root / "mlflow-artifacts").as_uri()
