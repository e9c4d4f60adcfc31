"""Processes of a deployment as Linux shows them under /proc, and how they are ended.

A process id alone may be another process by now: identity is the id with the start time.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MARKER = "ION_DEPLOYMENT"
"""The environment variable by which every process of a deployment is known; its value is the home."""

_PR_SET_PDEATHSIG = 1
_SCAN_S = 0.1


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its id and its start time (clock ticks since boot)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the running process with this id; None when there is none, or a zombie."""
        found = _stat(pid)
        return None if found is None or found.state in "ZX" else cls(pid, found.started)

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Process.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Send a signal if this very process still runs."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    @property
    def command(self) -> str:
        """The command line, as people would type it; empty when it may not be read."""
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return ""


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    parent: int
    group: int
    started: int


def _stat(pid: int) -> _Stat | None:
    """Read /proc/<pid>/stat; see proc_pid_stat(5). The name in parentheses may hold anything."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return _Stat(fields[0], int(fields[1]), int(fields[2]), int(fields[19]))
    except (OSError, IndexError, ValueError):
        return None


def marked(home: Path) -> list[Process]:
    """Return every process of the deployment at ``home`` that this user may see, but not this one."""
    wanted = f"{MARKER}={home}".encode()
    found: list[Process] = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            environment = Path("/proc", entry, "environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0"):
            process = Process.of(int(entry))
            if process is not None:
                found.append(process)
    return found


def end_all(find: Callable[[], Sequence[Process]], *, grace_s: float, spare: Sequence[Process] = ()) -> bool:
    """End the processes that ``find`` returns, and those that appear meanwhile; True when none is left.

    Leaders (of a process group, or without a parent among them) are asked with SIGTERM and see to
    their own children: a Flink job stops with a savepoint, a run records that it was interrupted.
    After ``grace_s`` seconds the rest is killed.
    """
    asked: set[Process] = set()
    until = time.monotonic() + grace_s
    while time.monotonic() < until:
        left = [process for process in find() if process not in spare]
        if not left:
            return True
        ids = {process.pid for process in left}
        for process in left:
            stat = _stat(process.pid)
            leads = stat is not None and (stat.group == process.pid or stat.parent not in ids)
            if leads and process not in asked:
                process.send(signal.SIGTERM)
                asked.add(process)
        time.sleep(_SCAN_S)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        left = [process for process in find() if process not in spare]
        if not left:
            return True
        for process in left:
            process.send(signal.SIGKILL)
        time.sleep(_SCAN_S)
    return False


def spawn(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path, tied: bool
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own with default signal handling, its output appended to ``log``.

    ``tied``: it gets SIGTERM when the thread that started it ends, however that happens.
    """
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def prepare() -> None:
        # A shell's `&` leaves SIGINT ignored, and dagster then ignores SIGTERM too.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if tied:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it ended before prctl
                os._exit(1)

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - one thread
        )
