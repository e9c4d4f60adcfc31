"""What a deployment consists of: the command, the environment and the readiness of every service."""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from ion.agent.standalone import is_shipping
from ion.cli.deployment.processes import MARKER
from ion.errors import IonError
from ion.evidence.shared_secret import MLFLOW_STORAGE, shared_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ion.home import Home

HOST = "127.0.0.1"
_STORAGE = '".ion/dagster'
"""How dagster.yaml names its folder; under `ion up` it is the absolute one of the home."""
_STORAGE_URL = "ION_DAGSTER_STORAGE_URL"


@dataclass(frozen=True, slots=True)
class Service:
    """One process; ``ready`` returns whether it answers, and may raise OSError while it does not.

    ``wave`` orders the start: a wave starts when the one before is ready. What runs ``once`` is
    ready when it has ended well. ``environment`` is for this process alone.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    wave: int = 0
    once: bool = False
    socket: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a deployment runs. ``mlflow_port`` None: MLflow is elsewhere (``MLFLOW_TRACKING_URI``)."""

    home: Home
    project: Path
    port: int
    mlflow_port: int | None
    sockets: Path

    @property
    def url(self) -> str:
        """Dagster's page."""
        return f"http://{HOST}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the deployment finds in its environment."""
        home = self.home.root
        return {
            **os.environ,
            MARKER: str(home),
            "ION_HOME": str(home),
            "ION_WEB_URL": f"{self.url}/ion",
            "DAGSTER_HOME": str(home / "dagster"),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "MLFLOW_TRACKING_URI": self.home.mlflow_url
            if self.mlflow_port is None
            else f"http://{HOST}:{self.mlflow_port}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PYTHONUNBUFFERED": "1",
        }

    def services(self) -> list[Service]:
        """Return the services in start order, and write the configuration they read.

        Raises:
            IonError: ``no-project``, ``bad-workspace``, ``bad-dagster-storage``.
        """
        locations, workspace = self._workspace()
        self._configure_dagster()
        file = self.home.root / "run" / "workspace.yaml"
        file.write_text(json.dumps(workspace, indent=1))  # JSON is YAML
        serve = (sys.executable, "-m", "ion.dagster.webserver", "--port", str(self.port), "--workspace", str(file))
        daemon = (sys.executable, "-m", "dagster._daemon", "run", "--workspace", str(file))
        services = [
            *self._storage(),
            *locations,
            Service("webserver", serve, lambda: _locations_loaded(self.url), wave=1),
            Service("daemon", daemon, lambda: _daemon_healthy(self.url), wave=1),
            Service("agent", (sys.executable, "-m", "ion.cli", "agent"), lambda: is_shipping(self.home), wave=1),
        ]
        return services if self.mlflow_port is None else [*services, self._mlflow(self.mlflow_port)]

    def _storage(self) -> list[Service]:
        """Make Dagster's SQLite files first: two processes that make them at once break them."""
        if (self.home.root / "dagster" / "schedules" / "schedules.db").exists():
            return []
        command = (sys.executable, "-c", "import dagster; dagster.DagsterInstance.get().dispose()")
        return [Service("storage", command, lambda: False, wave=-1, once=True)]

    def _mlflow(self, port: int) -> Service:
        command = (
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            HOST,
            "--port",
            str(port),
            "--workers",
            "1",
            "--backend-store-uri",
            self.home.mlflow_url,
            # As a run without the server would write them: both find each other's artifacts.
            "--no-serve-artifacts",
            "--default-artifact-root",
            (self.home.root / "mlflow-artifacts").as_uri(),
        )
        environment = {
            # So that it can tell the governance page, which is on this machine, what changes in its registry.
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "https,http",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            # By default it makes a key with every start, and could not read what it kept before.
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": shared_secret(self.home, MLFLOW_STORAGE) + "=",
            "MLFLOW_WEBHOOK_CACHE_TTL": "5",
            "MLFLOW_WEBHOOK_REQUEST_TIMEOUT": "5",
        }
        ready = partial(_answers, f"http://{HOST}:{port}/health")
        return Service("mlflow", command, ready, wave=1, environment=environment)

    def _workspace(self) -> tuple[list[Service], dict[str, object]]:
        """Turn every Python module of workspace.yaml into a code server that all others share."""
        import yaml  # type: ignore[import-untyped]  # comes with dagster

        source = self.project / "workspace.yaml"
        if not source.is_file():
            raise IonError(
                "no-project",
                f"there is no workspace.yaml in {self.project}",
                "run it in a project, or make one: ion init DIR",
            )
        try:
            entries = yaml.safe_load(source.read_text("utf-8"))["load_from"]
            modules = [entry["python_module"] for entry in entries if "python_module" in entry]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise IonError(
                "bad-workspace",
                f"{source.name} cannot be read: {error}"[:300],
                "Dagster's documentation describes the file",
            ) from error
        services: list[Service] = []
        shared: list[dict[str, object]] = [entry for entry in entries if "python_module" not in entry]
        for module in modules:
            known = {"module_name": module} if isinstance(module, str) else module
            name = str(known.get("location_name") or known["module_name"])
            path = self.sockets / f"{name}.sock"
            services.append(
                self._code_server(name, str(known["module_name"]), str(known.get("working_directory", ".")), path)
            )
            shared.append({"grpc_server": {"socket": str(path), "location_name": name}})
        return services, {"load_from": shared}

    def _code_server(self, name: str, module: str, folder: str, path: Path) -> Service:
        command = (
            sys.executable,
            "-m",
            "dagster",
            "code-server",  # reloads changed code when Dagster's page asks; `api grpc` would not
            "start",
            "--socket",
            str(path),
            "--module-name",
            module,
            "--working-directory",
            str((self.project / folder).resolve()),
            "--location-name",
            name,
            "--use-python-environment-entry-point",
            "--log-level",
            "warning",
            "--max-workers",
            "16",  # one per sensor that polls, and the page
        )
        return Service(f"code {name}", command, lambda: _listens(path), socket=path)

    def _configure_dagster(self) -> None:
        """Put the project's dagster.yaml where Dagster looks for it under this home."""
        source, folder = self.project / "dagster.yaml", self.home.root / "dagster"
        if not source.is_file():
            raise IonError(
                "no-project", f"there is no dagster.yaml in {self.project}", "make a project that has one: ion init DIR"
            )
        folder.mkdir(parents=True, exist_ok=True)
        text = source.read_text("utf-8").replace(_STORAGE, f'"{folder}')
        (folder / "dagster.yaml").write_text(_with_storage(text), "utf-8")


def _with_storage(text: str) -> str:
    """Return dagster.yaml with the storage that the environment names; as it is where none is named.

    The address stays in the environment: it may hold a password.

    Raises:
        IonError: ``bad-dagster-storage``.
    """
    url = os.environ.get(_STORAGE_URL, "")
    if not url:
        return text
    if not url.startswith("postgresql+psycopg2://"):
        hint = f"{_STORAGE_URL}=postgresql+psycopg2://user@host/database; see docs/how-to/postgresql.md"
        raise IonError("bad-dagster-storage", f"{_STORAGE_URL} does not name psycopg2 and a database", hint)
    import yaml

    settings = yaml.safe_load(text)
    settings["storage"] = {"postgres": {"postgres_url": {"env": _STORAGE_URL}}}
    return json.dumps(settings, indent=1)  # JSON is YAML


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        probe.connect(str(path))
    return True


def _answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own loopback address
        return int(answer.status) == 200  # noqa: PLR2004 - OK


def graphql(url: str, query: str) -> dict[str, object]:
    """Ask Dagster's page a GraphQL question and return ``data``."""
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - our own loopback address
        found: dict[str, object] = json.load(answer)["data"]
    return found


_LOCATIONS = (
    "{ workspaceOrError { ... on Workspace { locationEntries { name "
    "locationOrLoadError { __typename ... on PythonError { message } } } } } }"
)
_DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { healthy required } } } }"


def _locations_loaded(url: str) -> bool:
    """Tell whether every code location is there.

    Raises:
        IonError: ``start-failed`` when one does not load; waiting would not mend it.
    """
    workspace = graphql(url, _LOCATIONS)["workspaceOrError"]
    entries = workspace["locationEntries"] if isinstance(workspace, dict) else []
    for entry in entries:
        found = entry["locationOrLoadError"] or {}
        if found.get("__typename") == "PythonError":
            raise IonError("start-failed", f"code {entry['name']} does not load", str(found["message"])[-1500:])
    return bool(entries) and all(
        (entry["locationOrLoadError"] or {}).get("__typename") == "RepositoryLocation" for entry in entries
    )


def _daemon_healthy(url: str) -> bool:
    instance = graphql(url, _DAEMONS)["instance"]
    statuses = instance["daemonHealth"]["allDaemonStatuses"] if isinstance(instance, dict) else []
    return bool(statuses) and all(status["healthy"] for status in statuses if status["required"])
