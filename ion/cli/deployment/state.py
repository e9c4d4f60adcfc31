"""What the supervisor says of the deployment: a file under the home that everyone else reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from ion.cli.deployment.processes import Process
from ion.evidence.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

GRACE_S = 6.0
"""How long services have to end before they are killed."""
START_S = 120.0
"""How long a service may take until it answers."""

Phase = Literal["starting", "running", "stopping", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service: what it is, its process, and after how many seconds it was ready (None: not yet)."""

    name: str
    pid: int
    started: int
    seconds: float | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """The deployment at one moment. ``error`` is the JSON form of an `IonError` when ``phase`` is failed."""

    phase: Phase
    supervisor: Process
    port: int
    mlflow_port: int | None
    sockets: str
    services: tuple[ServiceState, ...] = ()
    error: dict[str, str] | None = None

    @property
    def alive(self) -> bool:
        """Whether the supervisor that wrote this still runs."""
        return self.supervisor.alive

    def write(self, path: Path) -> None:
        """Replace the file atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(asdict(self), indent=1).encode())


def read_state(path: Path) -> DeploymentState | None:
    """Return what the supervisor wrote last; None when there is nothing that can be read."""
    try:
        value = json.loads(path.read_bytes())
        value["supervisor"] = Process(**value["supervisor"])
        value["services"] = tuple(ServiceState(**item) for item in value["services"])
        return DeploymentState(**value)
    except (OSError, ValueError, TypeError, KeyError):
        return None
