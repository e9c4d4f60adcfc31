"""The supervisor: starts the services in order, restarts what dies, and ends everything.

Run as ``python -m ion.cli.deployment.supervisor``; nothing here is called by other processes.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ion.cli.deployment.processes import Process, end_all, marked, spawn
from ion.cli.deployment.services import Plan, Service
from ion.cli.deployment.state import GRACE_S, START_S, DeploymentState, Phase, ServiceState
from ion.errors import IonError
from ion.home import Home

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

_LOG_LINES = 12


@dataclass(slots=True)
class _Running:
    """A service and its present process."""

    service: Service
    process: subprocess.Popen[bytes]
    state: ServiceState
    restart_at: float = 0.0


class Supervisor:
    """Owns the services of one deployment for as long as it runs."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._file = plan.home.root / "run" / "deployment.json"
        self._stop = threading.Event()
        self._running: dict[str, _Running] = {}
        self._phase: Phase = "starting"
        self._error: dict[str, str] | None = None
        self._began = time.monotonic()

    def run(self) -> int:
        """Start, watch and end the services; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        self._tell()
        try:
            services = self._plan.services()
            for wave in sorted({service.wave for service in services}):
                self._start([service for service in services if service.wave == wave])
            if not self._stop.is_set():
                self._phase = "running"
                self._tell()
                self._watch()
        except IonError as error:
            self._error = error.as_dict()
        except Exception as error:  # noqa: BLE001 - whoever started us reads it in the state
            self._error = IonError("start-failed", f"the supervisor failed: {error!r}").as_dict()
        self._phase = "stopping"
        self._tell()
        gone = end_all(partial(self._others), grace_s=GRACE_S)
        shutil.rmtree(self._plan.sockets, ignore_errors=True)
        self._phase = "failed" if self._error else "stopped"
        self._tell()
        return 0 if gone and not self._error else 2

    def _others(self) -> list[Process]:
        for running in self._running.values():
            running.process.poll()  # takes away zombies
        return marked(self._plan.home.root)

    def _start(self, services: Sequence[Service]) -> None:
        for service in services:
            self._running[service.name] = self._launch(service)
        self._tell()
        until = time.monotonic() + START_S
        while not self._stop.is_set():
            waiting = [self._running[s.name] for s in services if self._running[s.name].state.seconds is None]
            if not waiting:
                return
            for running in waiting:
                code = running.process.poll()
                if code == 0 and running.service.once:
                    self._ready(running)
                elif code is not None or time.monotonic() > until:
                    what = (
                        f"ended with exit code {code}" if code is not None else f"did not answer within {START_S:.0f} s"
                    )
                    raise IonError(
                        "start-failed",
                        f"{running.service.name} {what}",
                        f"its log, {self._log(running.service)}, ends:\n{self._tail(running.service)}",
                    )
                elif not running.service.once and _is_ready(running.service):
                    self._ready(running)
            self._stop.wait(0.1)

    def _ready(self, running: _Running) -> None:
        running.state = replace(running.state, seconds=round(time.monotonic() - self._began, 1))
        self._tell()

    def _launch(self, service: Service) -> _Running:
        if service.socket is not None:
            service.socket.unlink(missing_ok=True)
        process = spawn(
            service.command,
            folder=self._plan.project,
            environment={**self._plan.environment, **service.environment},
            log=self._log(service),
            tied=True,
        )
        identity = Process.of(process.pid) or Process(process.pid, 0)
        return _Running(service, process, ServiceState(service.name, identity.pid, identity.started))

    def _watch(self) -> None:
        """Restart what ends, each time a second later than before, at most half a minute."""
        while not self._stop.wait(0.5):
            now = time.monotonic()
            for name, running in self._running.items():
                if running.service.once or running.process.poll() is None:
                    continue
                if not running.restart_at:
                    running.restart_at = now + min(running.state.restarts + 1, 30)
                    print(f"{name} ended with exit code {running.process.returncode}; starting it again", flush=True)  # noqa: T201 - its log
                elif now >= running.restart_at:
                    again = self._launch(running.service)
                    again.state = replace(
                        again.state, seconds=running.state.seconds, restarts=running.state.restarts + 1
                    )
                    self._running[name] = again
                    self._tell()

    def _log(self, service: Service) -> Path:
        return self._plan.home.root / "logs" / f"{service.name.replace(' ', '-')}.log"

    def _tail(self, service: Service) -> str:
        try:
            lines = self._log(service).read_text("utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"  {line[:200]}" for line in lines[-_LOG_LINES:])

    def _tell(self) -> None:
        own = Process.of(os.getpid())
        if own is None:
            raise IonError("no-proc", "/proc is not there", "`ion up` needs Linux; `dagster dev` does not")
        DeploymentState(
            self._phase,
            own,
            self._plan.port,
            self._plan.mlflow_port,
            str(self._plan.sockets),
            tuple(running.state for running in self._running.values()),
            self._error,
        ).write(self._file)


def _is_ready(service: Service) -> bool:
    try:
        return service.ready()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def main() -> int:
    """Run with the plan given as JSON; exit code 75 when the home already has a supervisor."""
    given = json.loads(sys.argv[1])
    home = Home(Path(given["home"]))
    (home.root / "run").mkdir(parents=True, exist_ok=True)
    with (home.root / "run" / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return 75
        # Sockets want short paths, and nobody else may reach a code server: it runs what it is told.
        sockets = Path(tempfile.mkdtemp(prefix="ion-"))
        return Supervisor(Plan(home, Path(given["project"]), given["port"], given["mlflow_port"], sockets)).run()


if __name__ == "__main__":
    sys.exit(main())
