"""Patients at a steady rate into a monitored folder: ``python -m bench.feeding FOLDER RATE PERIOD``.

A process of its own, so that neither the job's CPU time nor a busy benchmark touches the stream. It
ends when its parent does. The rows are the real patients, over and over. Files are removed after half a
minute, long after the job has read them: Flink lists the whole folder again and again, and a
folder that grows would make every later window of the job dearer than the one before.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.scene import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

PERIOD_S = 0.1
"""Time between files: rows that trickle in, as patients do."""
_KEPT_S = 30.0


@contextmanager
def feeding(folder: Path, rate: float, period: float) -> Iterator[None]:
    """Feed ``rate`` rows a second into ``folder``, a file every ``period`` seconds, while inside."""
    command = [sys.executable, "-m", "bench.feeding", str(folder), str(rate), str(period)]
    process = subprocess.Popen(command, cwd=PROJECT)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def feed(folder: Path, rate: float, period: float, patients: list[str]) -> None:
    """Write a file every ``period`` seconds, by the clock: what was missed follows at once."""
    parent, began, written, number = os.getppid(), time.monotonic(), 0, 0
    kept = int(_KEPT_S / period)
    while os.getppid() == parent:
        due = int((time.monotonic() - began) * rate)
        if due > written:
            rows = [patients[row % len(patients)] for row in range(written, due)]
            hidden = folder / f".bench-{number:08d}.csv"
            hidden.write_text("\n".join(rows) + "\n")
            hidden.rename(folder / hidden.name[1:])
            (folder / f"bench-{number - kept:08d}.csv").unlink(missing_ok=True)
            written, number = due, number + 1
        time.sleep(period - (time.monotonic() - began) % period)


def patient_rows() -> list[str]:
    """Return every patient as a row of the stream."""
    from gov_assets.patient_tests.data import FEATURES, load_patients

    frame = load_patients()[list(FEATURES)]
    return [",".join(map(repr, map(float, row))) for row in frame.to_numpy().tolist()]


if __name__ == "__main__":
    feed(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), patient_rows())
