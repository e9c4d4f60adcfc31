"""Patients at a steady rate into a monitored folder: ``python -m bench.feeding FOLDER RATE``.

A process of its own, so that neither the job's CPU time nor a busy benchmark touches the stream. It
ends when its parent does. The rows are the real patients, over and over.
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


@contextmanager
def feeding(folder: Path, rate: float) -> Iterator[None]:
    """Feed ``rate`` rows a second into ``folder``, ten files a second, while inside."""
    process = subprocess.Popen([sys.executable, "-m", "bench.feeding", str(folder), str(rate)], cwd=PROJECT)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def feed(folder: Path, rate: float, patients: list[str]) -> None:
    """Write a file every tenth of a second, by the clock: what was missed follows at once."""
    parent, began, written, number = os.getppid(), time.monotonic(), 0, 0
    while os.getppid() == parent:
        due = int((time.monotonic() - began) * rate)
        if due > written:
            rows = [patients[row % len(patients)] for row in range(written, due)]
            hidden = folder / f".bench-{number:08d}.csv"
            hidden.write_text("\n".join(rows) + "\n")
            hidden.rename(folder / hidden.name[1:])
            written, number = due, number + 1
        time.sleep(PERIOD_S - (time.monotonic() - began) % PERIOD_S)


def patient_rows() -> list[str]:
    """Return every patient as a row of the stream."""
    from gov_assets.patient_tests.data import FEATURES, load_patients

    frame = load_patients()[list(FEATURES)]
    return [",".join(map(repr, map(float, row))) for row in frame.to_numpy().tolist()]


if __name__ == "__main__":
    feed(Path(sys.argv[1]), float(sys.argv[2]), patient_rows())
