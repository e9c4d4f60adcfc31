"""The heartbeat of a streaming job, as a file: what it is doing, and when it last said so."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, get_args

from ion.clock import now_us
from ion.evidence.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

State = Literal["starting", "running", "stopping", "stopped", "halted", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What the job wrote last. Times are microseconds UTC; ``error`` is for people."""

    state: State
    pid: int
    run: str
    started: int
    heartbeat: int
    error: str = ""


def write_status(path: Path, state: State, *, pid: int, run: str, started: int, error: str = "") -> None:
    """Replace the status."""
    status = JobStatus(state, pid, run, started, now_us(), error)
    write_atomic(path, json.dumps(asdict(status)).encode(), mode=0o600)


def read_status(path: Path) -> JobStatus | None:
    """Return the last status; None when there is none that can be read."""
    try:
        status = JobStatus(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return status if status.state in get_args(State) else None
