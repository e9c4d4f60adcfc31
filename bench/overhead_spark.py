"""What ion costs a Spark training, as a share of the CPU time of the same training as a plain Dagster asset.

Turns of a plain and of the governed training alternate in one process with one warm Spark session (see
`bench.training_turns`). The job is a whole Dagster run, from the start of its process; its CPU time is
that of the cold plain turn. What ion adds is the paired difference of the warm turns outside the fit,
plus importing ion, which a warm turn does not see. Inside the fit ion does nothing but let its agent
thread idle: that is measured too, and added.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from bench.figures import tell
from bench.overhead_flink import group
from bench.sampling import PairedDifference, quantile
from bench.scene import PROJECT, say, temporary_home

if TYPE_CHECKING:
    from ion.home import Home

_TARGET_PERCENT = 1.0
_IMPORTS = 5
_IDLE_S = 3.0
_LIBRARIES = (
    "dagster, dagster_mlflow, dagster_pyspark, matplotlib.pyplot, mlflow, numpy, pandas, pyarrow.parquet, "
    "sklearn.metrics, sqlalchemy.orm"
)
_OURS = "gov_assets.patient_tests.assets, ion.store, ion.agent.client"


def measure(pairs: int) -> None:
    """Print the overhead of a training."""
    imported = _import_cost()
    with temporary_home() as home:
        os.environ["DAGSTER_HOME"] = str(home.root / "dagster")
        (home.root / "dagster").mkdir()
        (home.root / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        idle = _idle_cost(home)
        _turns(["data"])
        turns = _turns([str(pairs)])
    cold = next(float(turn["cpu_s"]) for turn in turns if turn["turn"] == "cold")
    by_pair: dict[int, dict[str, dict[str, float]]] = {}
    for turn in turns:
        if turn["turn"] != "cold":
            by_pair.setdefault(int(turn["pair"]), {})[str(turn["turn"])] = turn  # type: ignore[assignment]
    whole = [(pair["plain"]["cpu_s"], pair["governed"]["cpu_s"]) for pair in by_pair.values()]
    outside = [
        tuple(pair[kind]["cpu_s"] - pair[kind]["fit_s"] for kind in ("plain", "governed")) for pair in by_pair.values()
    ]
    _report(whole, outside, cold, imported, idle)  # type: ignore[arg-type]


def _report(
    whole: list[tuple[float, float]], outside: list[tuple[float, float]], cold: float, imported: float, idle: float
) -> None:
    raw, added = PairedDifference.of(whole), PairedDifference.of(outside)
    warm = sum(plain for plain, _ in whole) / len(whole)
    extra = imported + idle * warm  # a warm turn takes no longer than its CPU time on one core
    job = f"of a plain training run's CPU, cold ({cold:.1f} s: Python and JVM)"
    tell(
        "overhead-spark.added",
        added.mean,
        "CPU s",
        added.pairs,
        note=f"outside the fit; deviation {added.deviation:.2g} s",
    )
    tell(
        "overhead-spark.import",
        imported,
        "CPU s",
        _IMPORTS,
        note="importing ion after the libraries a plain training imports",
    )
    tell("overhead-spark.mean", 100 * (added.mean + extra) / cold, "%", added.pairs, note=job)
    tell(
        "overhead-spark.upper95", 100 * (added.upper + extra) / cold, "%", added.pairs, target=_TARGET_PERCENT, note=job
    )
    tell(
        "overhead-spark.warm.mean",
        100 * added.mean / warm,
        "%",
        added.pairs,
        note=f"without imports, of a warm turn's CPU ({warm:.1f} s)",
    )
    tell(
        "overhead-spark.warm.whole.mean",
        100 * raw.mean / warm,
        "%",
        raw.pairs,
        note="the same with the noise of the fit",
    )
    tell(
        "overhead-spark.warm.whole.upper95",
        100 * raw.upper / warm,
        "%",
        raw.pairs,
        note="the same with the noise of the fit",
    )


def _turns(arguments: list[str]) -> list[dict[str, str | float]]:
    turns: list[dict[str, str | float]] = []
    with group([sys.executable, "-m", "bench.training_turns", *arguments]) as process:
        for line in process.stdout or ():
            with suppress(ValueError):
                turns.append(json.loads(line))
                say(line.strip())
    if process.returncode:
        raise RuntimeError(f"the turns ended with {process.returncode}")
    return turns


def _import_cost() -> float:
    """Return the median CPU seconds of importing ion where the libraries are imported already."""
    code = (
        f"import time, {_LIBRARIES}\nbefore = time.process_time()\nimport {_OURS}\nprint(time.process_time() - before)"
    )
    command = [sys.executable, "-c", code]
    costs = [
        float(subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True).stdout)
        for _ in range(_IMPORTS)
    ]
    return quantile(costs, 0.5)


def _idle_cost(home: Home) -> float:
    """Return the CPU seconds per second of an agent that is told nothing."""
    from ion.agent import open_client

    client = open_client(home, name="idle")
    before = time.process_time()
    time.sleep(_IDLE_S)
    spent = time.process_time() - before
    client.close()
    return spent / _IDLE_S
