"""The stream of patients: real rows, drawn again and again, into the folder the streaming job watches.

Run it as ``python -m gov_assets.patient_tests.feed --rate 50``; it ends after ``--count`` rows, or when
it is told to (SIGTERM, Ctrl-C), between two files.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import threading
import time
from typing import TYPE_CHECKING

from gov_assets.patient_tests.data import FEATURES, load_patients
from ion.clock import now_us
from ion.home import Home
from resources.flink.folders import Folders

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

NODE = "patient_tests/predictions"
_FILE_S = 0.2
_ONES = ",1" * (len(FEATURES) - 1)
_BAD_ROWS = ("", "wdbc-0000,17.99,10.38", f"wdbc-0001,n/a{_ONES}", f"wdbc-0002,nan{_ONES}")


def patient_rows(seed: int, bad_share: float = 0.0) -> Iterator[str]:
    """Yield CSV rows without end, the same for the same ``seed``: the patient's id, then `FEATURES`.

    Args:
        seed: of the draw.
        bad_share: share (0 to 1) of rows that no scorer can take: empty, short, not a number, not finite.
    """
    import numpy as np

    patients = load_patients()
    measured = zip(patients["patient_id"], patients[list(FEATURES)].to_numpy().tolist(), strict=True)
    known = [",".join([patient, *map(repr, row)]) for patient, row in measured]
    rng = np.random.default_rng(seed)
    while True:
        bad = rng.random() < bad_share
        yield _BAD_ROWS[rng.integers(len(_BAD_ROWS))] if bad else known[rng.integers(len(known))]


def write_rows(inbox: Path, name: str, rows: Iterable[str]) -> None:
    """Let a file of rows appear in the inbox whole, by rename."""
    hidden = inbox / f".{name}"
    hidden.write_text("".join(f"{row}\n" for row in rows))
    hidden.rename(inbox / name)


def feed(inbox: Path, rows: Iterator[str], *, rate: float, count: int, stopping: threading.Event) -> int:
    """Write ``rate`` rows a second until ``count`` (0: no end) or ``stopping``; return how many were written.

    A file appears every 0.2 s, or with each row when they are rarer.
    """
    per_file = max(1, round(rate * _FILE_S))
    written, started = 0, time.monotonic()
    for number in itertools.count():
        size = min(per_file, count - written) if count else per_file
        write_rows(inbox, f"patients-{now_us()}-{number}.csv", itertools.islice(rows, size))
        written += size
        if written == count or stopping.wait(max(0.0, started + written / rate - time.monotonic())):
            break
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Feed the node of this deployment (``ION_HOME``); return the exit code."""
    parser = argparse.ArgumentParser(prog="gov_assets.patient_tests.feed", description="Stream patients.")
    parser.add_argument("--rate", type=float, default=50.0, help="rows a second")
    parser.add_argument("--count", type=int, default=0, help="rows in all; 0 goes on until stopped")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--bad-share", type=float, default=0.0, help="share of rows that cannot be scored")
    given = parser.parse_args(arguments)
    if given.rate <= 0 or given.count < 0 or not 0 <= given.bad_share <= 1:
        parser.error("the rate is positive, the count not negative, the share from 0 to 1")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    inbox = Folders.of(Home.find(), NODE).make().inbox
    rows = patient_rows(given.seed, given.bad_share)
    feed(inbox, rows, rate=given.rate, count=given.count, stopping=stopping)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
