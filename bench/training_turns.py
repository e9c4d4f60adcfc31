"""Spark trainings by turns, plain and governed, in one process: ``python -m bench.training_turns PAIRS``.

One JVM and one warm session, so that start-up and the compiler's luck cancel out. Each turn is a whole
Dagster run on a SQLite instance. Prints one JSON line per turn with the CPU seconds of the process
group (Python, JVM, git), and of that the seconds inside ``search.fit``, which is the same call in both
and holds most of the noise. The first turn is the cold one, from the start of the process.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from bench.cpu import group_cpu_s

if TYPE_CHECKING:
    import dagster as dg
    from pyspark.ml.tuning import CrossValidatorModel
    from pyspark.sql import DataFrame

    from gov_assets.patient_tests.search import TrainingConfig

_WARM_UP = 4


def main() -> None:
    """Run the turns."""
    from bench.plain_training import model as plain
    from gov_assets.patient_tests.assets import features, patients
    from gov_assets.patient_tests.assets import model as governed

    if sys.argv[1] == "data":
        _run([patients, features], [patients, features])
        return
    turn = partial(_run, [patients, features, governed, plain])
    turn([plain])
    _print("cold", -1, cpu_s=group_cpu_s(os.getpgrp()))
    for _ in range(_WARM_UP // 2):
        turn([plain])
        turn([governed])
    spent = _watch_fit()
    for pair in range(int(sys.argv[1])):
        for is_governed in (False, True) if pair % 2 else (True, False):
            before, fit_before = group_cpu_s(os.getpgrp()), spent[0]
            turn([governed if is_governed else plain])
            cpu, fit = group_cpu_s(os.getpgrp()) - before, spent[0] - fit_before
            _print("governed" if is_governed else "plain", pair, cpu_s=cpu, fit_s=fit)


def _run(assets: list[dg.AssetsDefinition], chosen: list[dg.AssetsDefinition]) -> None:
    import dagster as dg

    from ion.dagster.io import ParquetIOManager
    from resources.mlflow import MlflowTracking
    from resources.spark import SparkResource

    resources = {"io_manager": ParquetIOManager(), "pyspark": SparkResource(), "mlflow": MlflowTracking()}
    with dg.DagsterInstance.get() as instance:
        done = dg.materialize(assets, selection=chosen, instance=instance, resources=resources)
    if not done.success:
        raise RuntimeError("the run failed")


def _watch_fit() -> list[float]:
    """Sum the CPU seconds of the process group inside ``search.fit`` into the one number returned."""
    from gov_assets.patient_tests import search

    spent, fit = [0.0], search.fit

    def watched(frame: DataFrame, config: TrainingConfig) -> CrossValidatorModel:
        before = group_cpu_s(os.getpgrp())
        fitted = fit(frame, config)
        spent[0] += group_cpu_s(os.getpgrp()) - before
        return fitted

    search.fit = watched
    return spent


def _print(turn: str, pair: int, **seconds: float) -> None:
    print(json.dumps({"turn": turn, "pair": pair, **seconds}), flush=True)


if __name__ == "__main__":
    main()
