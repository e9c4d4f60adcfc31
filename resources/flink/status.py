"""The heartbeat of a streaming job, as a file: what it is doing, and when it last said so."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, get_args

from ion.clock import now_us

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
    """Replace the status: readers see the old or the new one. Not durable: after a power cut no job runs."""
    status = JobStatus(state, pid, run, started, now_us(), error)
    written = f"{path}.{pid}"
    with open(written, "wb", opener=_private) as file:
        file.write(json.dumps(asdict(status)).encode())
    os.replace(written, path)  # noqa: PTH105 - a beat is cheap


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def read_status(path: Path) -> JobStatus | None:
    """Return the last status; None when there is none that can be read."""
    try:
        status = JobStatus(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return status if status.state in get_args(State) else None
