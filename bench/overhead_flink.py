"""What ion costs the streaming job, as a share of the job's own CPU time at 1,000 predictions a second.

The paired figure: windows of one running job with and without ion, in alternating order (see
`bench.switched_job`). The denominator is the mean CPU time of the windows without. Then, because CPU
time on a shared machine is noisy, each part's cost per event, measured alone, times its rate.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal, TypedDict

from bench.feeding import PERIOD_S, feeding, patient_rows
from bench.figures import tell
from bench.governed_node import NODE, prepare_node
from bench.sampling import PairedDifference
from bench.scene import FLINK_PYTHON, PROJECT, say, temporary_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ion.home import Home

ROWS_PER_S = 1000.0
_LEAST_ROWS = 0.97
_TARGET_PERCENT = 1.0


class Window(TypedDict):
    """One window as the job prints it."""

    pair: int
    governed: bool
    cpu_s: float
    python_s: float
    rows: int
    seconds: float


def measure(pairs: int, seconds: float) -> None:
    """Print the paired overhead and the parts that make it."""
    with temporary_home() as home:
        folders = prepare_node(home)
        with feeding(folders.inbox, ROWS_PER_S, PERIOD_S):
            windows = _windows(home, pairs, seconds)
        facts = _told(home)
    plain = _report(windows)
    say(f"the windows with ion told {facts}")
    with temporary_home() as home:
        prepare_node(home)
        (home.root / "patients.csv").write_text("\n".join(patient_rows()) + "\n")
        _report_parts(home, plain)


def _windows(home: Home, pairs: int, seconds: float) -> list[Window]:
    command = [str(FLINK_PYTHON), "-m", "bench.switched_job", str(home.root), NODE, str(pairs), str(seconds)]
    windows: list[Window] = []
    with group(command) as process:
        for line in process.stdout or ():
            with suppress(ValueError):
                windows.append(json.loads(line))
                say(line.strip())
    if process.returncode or len(windows) != 2 * pairs:
        raise RuntimeError(f"the job ended with {process.returncode} after {len(windows)} windows")
    return windows


@contextmanager
def group(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process in a group of its own, and end the whole group."""
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield process
            process.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _report(windows: list[Window]) -> float:
    """Print the paired figures; return the CPU seconds per second of the job without ion."""
    slow = [window for window in windows if window["rows"] < _LEAST_ROWS * ROWS_PER_S * window["seconds"]]
    if slow:
        say(f"{len(slow)} windows scored under {_LEAST_ROWS:.0%} of the rows: the machine was too busy")
    pairs, python = _pairs(windows, "cpu_s"), _pairs(windows, "python_s")
    plain = sum(without for without, _ in pairs) / len(pairs)
    note = f"of the job's CPU without ion ({plain:.3f} of a core: JVM and Python) at {ROWS_PER_S:.0f} predictions/s"
    if slow:
        note += f"; {len(slow)} of {len(windows)} windows too slow"
    for name, part, said in (
        ("", pairs, note),
        (".python", python, f"what Python used more, where all of ion runs, {note}"),
    ):
        found = PairedDifference.of(part)
        tell(f"overhead-flink{name}.mean", 100 * found.mean / plain, "%", found.pairs, note=said)
        tell(
            f"overhead-flink{name}.upper95",
            100 * found.upper / plain,
            "%",
            found.pairs,
            target=None if name else _TARGET_PERCENT,
            note=said,
        )
    return plain


def _pairs(windows: list[Window], column: Literal["cpu_s", "python_s"]) -> list[tuple[float, float]]:
    """Return (without, with) ion of every pair, in CPU seconds per second."""
    by_pair: dict[int, dict[bool, float]] = {}
    for window in windows:
        by_pair.setdefault(window["pair"], {})[window["governed"]] = window[column] / window["seconds"]
    return [(pair[False], pair[True]) for pair in by_pair.values()]


def _told(home: Home) -> dict[str, int]:
    """Return how many facts of each kind the windows told; a gap means that the comparison was not fair."""
    from ion.agent import ship_all
    from ion.facts import GapNoted, InputsCaptured, PredictionsCommitted, SignaturesRecorded, StatisticsRecorded
    from ion.store import open_store

    store = open_store(home.store_url)
    try:
        ship_all(home.spool, store)
        kinds = (PredictionsCommitted, InputsCaptured, StatisticsRecorded, SignaturesRecorded, GapNoted)
        counts = {kind.__name__: len(store.find(kind)) for kind in kinds}
        gaps = [(record.fact.what, record.fact.reason) for record in store.find(GapNoted)][:3]
    finally:
        store.close()
    if gaps or not all(counts[kind.__name__] for kind in kinds[:-1]):
        raise RuntimeError(f"the windows with ion did not do its work: {counts} {gaps}")
    return counts


def _report_parts(home: Home, plain: float) -> None:
    command = [str(FLINK_PYTHON), "-m", "bench.parts", str(home.root), NODE]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    total = 0.0
    for line in done.stdout.splitlines():
        part = json.loads(line)
        percent = 100 * part["seconds"] * part["per_second"]
        total += 0.0 if part["extra"] else percent
        note = f"{part['seconds'] * 1e6:.3g} us x {part['per_second']:g}/s"
        name = f"overhead-flink.parts.{part['name']}"
        tell(name, percent, "% of a core", part["n"], note=note + (f"; {part['extra']}" if part["extra"] else ""))
    tell(
        "overhead-flink.parts.sum",
        total,
        "% of a core",
        1,
        note="cost per event x rate, each measured alone on an idle thread",
    )
    share = 100 * (total / 100) / plain
    tell(
        "overhead-flink.parts.share",
        share,
        "%",
        1,
        target=_TARGET_PERCENT,
        note=f"the sum as a share of the job's CPU without ion ({plain:.3f} of a core)",
    )
