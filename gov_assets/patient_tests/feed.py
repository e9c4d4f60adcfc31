"""The clinic: patients arrive as CSV files in the inbox of the streaming node, until it is told to stop.

``python -m gov_assets.patient_tests.feed --rate 50``
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from gov_assets.patient_tests.data import FEATURES, load_patients
from ion.home import Home
from ion.ids import new_id
from resources.flink.folders import Folders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

_FILES_PER_SECOND = 4
_DAMAGED_EVERY = 500
"""One row in so many is cut short on the way, as happens; the job sets it aside."""


def main() -> None:
    """Write files of patients at a rate, each under its final name only when it is whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", default="patient_tests/predictions", help="the streaming node they go to")
    parser.add_argument("--rate", type=float, default=50.0, help="patients per second")
    parser.add_argument("--count", type=int, default=0, help="how many in all; 0: until stopped")
    parser.add_argument("--seed", type=int, default=11, help="of the order in which patients come")
    options = parser.parse_args()
    inbox = Folders.of(Home.find(), options.node).inbox
    inbox.mkdir(parents=True, exist_ok=True)
    rows = arriving(load_patients()[list(FEATURES)].to_numpy(), options.seed)
    per_file = max(1, round(options.rate / _FILES_PER_SECOND))
    written, started = 0, time.monotonic()
    while not options.count or written < options.count:
        size = min(per_file, options.count - written) if options.count else per_file
        write_file(inbox, [next(rows) for _ in range(size)])
        written += size
        time.sleep(max(0.0, started + written / options.rate - time.monotonic()))


def arriving(patients: np.ndarray, seed: int) -> Iterator[str]:
    """Yield patients (rows of shape (n, 30), drawn with replacement) as CSV lines, for ever."""
    import numpy as np

    random = np.random.default_rng(seed)
    number = 0
    while True:
        for row in random.integers(0, len(patients), size=1000):
            number += 1
            values = [repr(float(value)) for value in patients[row]]
            yield ",".join(values if number % _DAMAGED_EVERY else values[:12])


def write_file(inbox: Path, lines: list[str]) -> Path:
    """Put one file of lines into the inbox by atomic rename; returns its path."""
    name = f"patients-{new_id()}.csv"
    hidden = inbox / f".{name}"
    hidden.write_text("".join(f"{line}\n" for line in lines))
    return hidden.rename(inbox / name)


if __name__ == "__main__":
    main()
