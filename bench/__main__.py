"""``python -m bench``: run the benchmarks one after the other, each in a process of its own."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from importlib import import_module

from bench.figures import Figure, table
from bench.scene import PROJECT, say

BESIDE = {
    "captured": "bench.captured",
    "footprint": "bench.footprint",
    "ingest": "bench.ingest",
    "lookup": "bench.lookup",
    "paper-day": "bench.paper_day",
    "peers": "bench.peers",
    "rate": "bench.rate",
}
"""Benchmarks that take no options: a module with ``measure()`` each."""
NAMES = ("cost", "down", "gate", "ledger", "overhead-flink", "overhead-spark", *BESIDE, "propagation", "revocation")


def main() -> int:
    """Run what was asked for; 0 when every target was reached, 1 when not, 2 when one could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure propagation, overhead and cost.")
    parser.add_argument("--only", choices=NAMES, help="run one benchmark; default all")
    parser.add_argument("--swaps", type=int, default=40, help="propagation: model swaps to measure")
    parser.add_argument("--pairs", type=int, default=0, help="overhead: pairs with and without ion; 0 chooses")
    parser.add_argument("--seconds", type=float, default=10.0, help="overhead-flink: length of one window")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        _measure(given)
        return 0
    figures: list[Figure] = []
    failed = [name for name in ([given.only] if given.only else NAMES) if _run(name, given, figures)]
    print(table(figures))
    for name in failed:
        say(f"{name} could not be measured")
    return 2 if failed else int(any(figure.reached is False for figure in figures))


def _run(name: str, given: argparse.Namespace, figures: list[Figure]) -> int:
    """Run one benchmark in its own process, repeat what it prints, collect its figures."""
    say(f"--- {name}")
    options = ["--swaps", str(given.swaps), "--pairs", str(given.pairs), "--seconds", str(given.seconds)]
    command = [sys.executable, "-m", "bench", "--inside", "--only", name, *options]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout or ():
                sys.stdout.write(line)
                sys.stdout.flush()
                figure = Figure.parse(line)
                if figure is not None:
                    figures.append(figure)
        except BaseException:
            process.send_signal(signal.SIGTERM)  # it ends what it started
            process.wait()
            raise
    return process.returncode


def _measure(given: argparse.Namespace) -> None:
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    if given.only in BESIDE:
        import_module(BESIDE[given.only]).measure()
    elif given.only == "propagation":
        from bench.propagation import measure

        measure(given.swaps)
    elif given.only == "overhead-flink":
        from bench.overhead_flink import measure as measure_flink

        measure_flink(given.pairs or 22, given.seconds)
    elif given.only == "overhead-spark":
        from bench.overhead_spark import measure as measure_spark

        measure_spark(given.pairs or 20)
    elif given.only == "gate":
        from bench.gate import measure as measure_gate

        measure_gate()
    elif given.only == "revocation":
        from bench.revocation import measure as measure_revocation

        measure_revocation()
    elif given.only == "down":
        from bench.down import measure as measure_down

        measure_down()
    elif given.only == "ledger":
        from bench.ledger import measure as measure_ledger

        measure_ledger()
    else:
        from bench.cost import measure as measure_cost

        measure_cost()


if __name__ == "__main__":
    sys.exit(main())
