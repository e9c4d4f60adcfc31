"""Starting, watching and stopping a streaming job from the project's own environment.

Quick to import and to ask, so that a Dagster sensor can: nothing here imports Flink. The job is a
process group of its own, holds the node's lock, and outlives whoever started it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.errors import IonError
from ion.evidence import load_trust
from ion.facts import IonDefined, SignatureRecorded
from ion.serving import pointer_path
from resources.flink.bins import has_bins, write_bins
from resources.flink.checkpoints import newest_restore_point
from resources.flink.lock import INHERITED, is_locked, take_lock
from resources.flink.settings import JobSettings
from resources.flink.status import JobStatus, read_status, write_status

if TYPE_CHECKING:
    from ion.home import Home
    from ion.store import GovernanceStore

PROJECT = Path(__file__).resolve().parents[2]
MARK = "ION_FLINK_NODE_FOLDER"
"""Environment variable that every process of a job carries: whose job it belongs to."""

_LOOK_S = 0.05
_REST_US = 30_000_000
_STARTED: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """Whether a job holds the node's lock, and what it last said of itself (None: it never did)."""

    running: bool
    last: JobStatus | None

    @property
    def heartbeat_age_s(self) -> float | None:
        """Seconds since the last heartbeat; over ten of them while ``running`` mean that it hangs."""
        return None if self.last is None else (now_us() - self.last.heartbeat) / 1e6


@dataclass(frozen=True, slots=True)
class FlinkDeployment:
    """The streaming job of one node under one state root.

    Args:
        home: the state root.
        node: ``ion/node``.
        python: interpreter of Flink's environment.
        options: other fields of `JobSettings`, e.g. ``{"parallelism": 2}``.
    """

    home: Home
    node: str
    python: Path = PROJECT / ".venv-flink" / "bin" / "python"
    options: dict[str, int | float] = field(default_factory=dict)

    @property
    def settings(self) -> JobSettings:
        """The settings the job gets.

        Raises:
            IonError: ``bad-node`` or ``bad-setting``.
        """
        return JobSettings(str(self.home.root.resolve()), self.node, **self.options)  # type: ignore[arg-type]

    def start(self, store: GovernanceStore) -> bool:
        """Start the job; False when one is running. Returns at once: see `wait_running`.

        A job that was refused or failed is not started again for 30 s, unless there is another pointer
        (then also False). What a killed job left behind is ended first. Output goes to ``logs/job.log``.

        Raises:
            IonError: ``flink-missing``, ``trust-missing``.
        """
        if not self.python.exists():
            raise IonError("flink-missing", "Flink's environment is not set up", "run `make setup`")
        folders = self.settings.folders.make()
        lock = take_lock(folders.lock)
        if lock is None:
            return False
        try:
            if self._rests():
                return False
            self._end_remains()
            load_trust(self.home).root("decision")
            self.share_bins(store)
            settings = replace(self.settings, subject=self.subject(store))
            write_status(folders.status, "starting", pid=0, run="", started=now_us())
            environment = {**os.environ, INHERITED: str(lock), MARK: str(folders.root)}
            command = [str(self.python), "-m", "resources.flink.job", *settings.arguments()]
            with (folders.logs / "job.log").open("ab") as log:
                process = subprocess.Popen(
                    command,
                    cwd=PROJECT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(lock,),
                )
            _STARTED.append(process)
        finally:
            os.close(lock)  # the job holds it from here on
        return True

    def status(self) -> DeploymentStatus:
        """Return whether a job runs and what it last said. Microseconds, no engine asked."""
        self._reap()
        folders = self.settings.folders
        return DeploymentStatus(is_locked(folders.lock), read_status(folders.status))

    def wait_running(self, timeout: float) -> DeploymentStatus:
        """Wait until the job runs or has ended, at most ``timeout`` seconds; return its status."""
        give_up = time.monotonic() + timeout
        while True:
            status = self.status()
            settled = not status.running or (status.last is not None and status.last.state != "starting")
            if settled or time.monotonic() > give_up:
                return status
            time.sleep(_LOOK_S)

    def stop(self, timeout: float = 20.0) -> bool:
        """Stop the job with a savepoint and its last facts told; True when it ended by itself in time.

        After ``timeout`` seconds it is killed: its next start goes on from the newest checkpoint.
        """
        folders = self.settings.folders
        status = self.status()
        if not status.running:
            return True
        give_up = time.monotonic() + timeout
        asked = False
        while is_locked(folders.lock) and time.monotonic() < give_up:
            last = read_status(folders.status)
            if not asked and last is not None and last.pid:
                with suppress(ProcessLookupError):
                    os.kill(last.pid, signal.SIGTERM)
                asked = True
            time.sleep(_LOOK_S)
        in_time = not is_locked(folders.lock)
        self._end_remains()
        self._reap()
        return in_time

    def newest_checkpoint(self) -> Path | None:
        """Return what the next start goes on from."""
        return newest_restore_point(self.settings.folders)

    def subject(self, store: GovernanceStore) -> str:
        """Return what the node declares as data subject, the first field of its rows; empty when nothing."""
        ion, _, name = self.node.partition("/")
        known = store.latest(IonDefined, ion)
        nodes = known.fact.definition["nodes"] if known else ()
        assert isinstance(nodes, list | tuple)  # noqa: S101 - the schema of definitions says so
        return next((str(node.get("subject", "")) for node in nodes if node["name"] == name), "")

    def share_bins(self, store: GovernanceStore) -> bool:
        """Give the job the training bins of the model it should serve; True when there was news."""
        current = store.current(self.node)
        folder = self.settings.folders.bins
        if not current.model or not folder.is_dir() or has_bins(folder, current.model):
            return False
        found = [record.fact for record in store.find(SignatureRecorded, current.run)]
        edges = {fact.name: fact.edges for fact in found if fact.role == "training"}
        if edges:
            write_bins(folder, current.model, edges)
        return bool(edges)

    def _rests(self) -> bool:
        """Tell whether the last job failed a moment ago, and nothing has changed that could help."""
        last = read_status(self.settings.folders.status)
        if last is None or last.state not in {"refused", "failed"} or now_us() - last.heartbeat > _REST_US:
            return False
        try:
            return pointer_path(self.home.root, self.node).stat().st_mtime_ns // 1000 < last.started
        except OSError:
            return True

    def _end_remains(self) -> None:
        """Kill processes of an earlier job of this node: a JVM that outlived it could still commit.

        They are known by the mark in their environment, never by a process id that may be reused.
        """
        mark = f"{MARK}={self.settings.folders.root}".encode()
        give_up = time.monotonic() + 5.0
        while (remains := _marked(mark)) and time.monotonic() < give_up:
            for pid in remains:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_S)
        if remains:
            raise IonError("flink-remains", f"processes of an earlier job do not end: {remains}", "end them by hand")

    @staticmethod
    def _reap() -> None:
        _STARTED[:] = [process for process in _STARTED if process.poll() is None]


def _marked(mark: bytes) -> list[int]:
    """Return the processes (but this one) whose environment holds ``mark``; none where /proc is not."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if entry.name == str(os.getpid()):
            continue
        with suppress(OSError):
            # A process that has ended and waits for its parent has an empty environment.
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found
