"""`Deployment`: start, look at and stop the deployment of one home."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ion.cli.deployment.ports import require_free
from ion.cli.deployment.processes import MARKER, end_all, marked, spawn
from ion.cli.deployment.services import HOST
from ion.cli.deployment.state import GRACE_S, START_S, DeploymentState, ServiceState, read_state
from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ion.home import Home

PORT = 3000
MLFLOW_PORT = 5000

Progress = Callable[[ServiceState], None]


@dataclass(frozen=True, slots=True)
class Deployment:
    """The deployment of ``home`` with the code in ``project`` (the folder of workspace.yaml)."""

    home: Home
    project: Path
    port: int = PORT
    mlflow_port: int = MLFLOW_PORT

    def start(self, progress: Progress | None = None, *, tied: bool = False) -> bool:
        """Start everything and return when it answers; False when it runs already.

        ``progress`` is called once per service, when it is ready. With ``tied`` the deployment
        ends with the calling process; without, it stays until `stop`.

        Raises:
            IonError: ``port-occupied``, ``no-project``, ``start-failed``, ``home-unusable``,
                ``other-port`` when it runs already, elsewhere.
        """
        self.home.make()
        with self._alone():
            running = self.status()
            if running is not None and running.phase == "stopping":
                self.stop()
                running = None
            if running is None:
                self._sweep()
                self._launch(tied=tied)
        self._await(progress or (lambda _service: None))
        if running is not None and (running.port, running.mlflow_port or self.mlflow_port) != (
            self.port,
            self.mlflow_port,
        ):
            raise IonError(
                "other-port", f"the deployment runs already, at {self.web_url}", "use it, or end it first: ion down"
            )
        return running is None

    def stop(self) -> bool:
        """End every process of the deployment within ten seconds; False when there was none.

        Raises:
            IonError: ``still-running`` when a process would not even be killed.
        """
        state = self.status()
        if state is not None:
            state.supervisor.send(signal.SIGTERM)
            until = time.monotonic() + GRACE_S + 3
            while state.alive and time.monotonic() < until:
                time.sleep(0.05)
        return self._sweep() or state is not None

    def status(self) -> DeploymentState | None:
        """Return the state while a supervisor runs, else None."""
        state = read_state(self._file)
        return state if state is not None and state.alive else None

    @property
    def dagster_url(self) -> str:
        """Dagster's page."""
        state = self.status()
        return f"http://{HOST}:{self.port if state is None else state.port}"

    @property
    def graphql_url(self) -> str:
        """Where Dagster's GraphQL API answers."""
        return f"{self.dagster_url}/graphql"

    @property
    def web_url(self) -> str:
        """The governance page."""
        return f"{self.dagster_url}/ion"

    @property
    def mlflow_url(self) -> str:
        """MLflow's page; that of ``MLFLOW_TRACKING_URI`` when that is set."""
        state = self.status()
        port = self.mlflow_port if state is None else state.mlflow_port
        return self._mlflow_elsewhere if self._mlflow_elsewhere or port is None else f"http://{HOST}:{port}"

    @property
    def logs(self) -> Path:
        """One file per service."""
        return self.home.root / "logs"

    @property
    def dagster_home(self) -> Path:
        """``DAGSTER_HOME`` of every service."""
        return self.home.root / "dagster"

    @property
    def _file(self) -> Path:
        return self.home.root / "run" / "deployment.json"

    @property
    def _mlflow_elsewhere(self) -> str:
        return os.environ.get("MLFLOW_TRACKING_URI", "")

    def _launch(self, *, tied: bool) -> None:
        mlflow_port = None if self._mlflow_elsewhere else self.mlflow_port
        require_free(HOST, self.port, option="--port")
        if mlflow_port is not None:
            require_free(HOST, mlflow_port, option="--mlflow-port")
        self._file.unlink(missing_ok=True)
        plan = {
            "home": str(self.home.root),
            "project": str(self.project),
            "port": self.port,
            "mlflow_port": mlflow_port,
        }
        spawn(
            [sys.executable, "-m", "ion.cli.deployment.supervisor", json.dumps(plan)],
            folder=self.project,
            environment={**os.environ, MARKER: str(self.home.root)},
            log=self.logs / "supervisor.log",
            tied=tied,
        )
        until = time.monotonic() + START_S
        while read_state(self._file) is None and marked(self.home.root) and time.monotonic() < until:
            time.sleep(0.05)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one caller at a time look whether there is a deployment, and make one."""
        (self.home.root / "run").mkdir(exist_ok=True)
        with (self.home.root / "run" / "starting").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _await(self, progress: Progress) -> None:
        told: set[str] = set()
        until = time.monotonic() + 2 * START_S
        while time.monotonic() < until:
            state = read_state(self._file)
            for service in () if state is None else state.services:
                if service.seconds is not None and service.name not in told:
                    told.add(service.name)
                    progress(service)
            if state is not None and state.phase == "running":
                return
            if state is not None and state.error is not None and not state.alive:
                raise IonError(**state.error)
            if (state is None and not marked(self.home.root)) or (state is not None and not state.alive):
                break
            time.sleep(0.1)
        raise IonError(
            "start-failed", "the deployment ended while it was starting", f"read {self.logs / 'supervisor.log'}"
        )

    def _sweep(self) -> bool:
        """End what a killed supervisor left; returns whether there was anything."""
        state = read_state(self._file)
        found = bool(marked(self.home.root))
        if found and not end_all(partial(marked, self.home.root), grace_s=GRACE_S):
            left = ", ".join(str(process.pid) for process in marked(self.home.root))
            raise IonError("still-running", f"these processes do not end: {left}", "end them by hand")
        if state is not None and Path(state.sockets).name.startswith("ion-"):
            shutil.rmtree(state.sockets, ignore_errors=True)
        self._file.unlink(missing_ok=True)
        return found
