"""Spark trainings by turns, plain and governed, in one process: ``python -m bench.training_turns PAIRS``.

One JVM and one warm session, so that start-up and the compiler's luck cancel out. Each turn is a whole
Dagster run on a SQLite instance. Prints one JSON line per turn with the CPU seconds of the process
group (Python, JVM, git); the first turn is the cold one, from the start of the process.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bench.cpu import group_cpu_s

_WARM_UP = 4


def main() -> None:
    """Run the turns."""
    import dagster as dg

    from bench.plain_training import model as plain
    from gov_assets.patient_tests.assets import features, patients, predictions
    from gov_assets.patient_tests.assets import model as governed
    from ion.dagster.io import ParquetIOManager
    from resources.mlflow import MlflowTracking
    from resources.spark import SparkResource

    assets = [patients, features, governed, predictions, plain]
    resources = {"io_manager": ParquetIOManager(), "pyspark": SparkResource(), "mlflow": MlflowTracking()}
    Path(os.environ["DAGSTER_HOME"]).mkdir(exist_ok=True)

    def run(chosen: list[dg.AssetsDefinition]) -> float:
        before = group_cpu_s(os.getpgrp())
        with dg.DagsterInstance.get() as instance:
            done = dg.materialize(assets, selection=chosen, instance=instance, resources=resources)
        if not done.success:
            raise RuntimeError("the run failed")
        return group_cpu_s(os.getpgrp()) - before

    if sys.argv[1] == "data":
        run([patients, features])
        return
    run([plain])
    print(json.dumps({"turn": "cold", "cpu_s": group_cpu_s(os.getpgrp())}), flush=True)
    for number in range(_WARM_UP):
        run([governed if number % 2 else plain])
    for pair in range(int(sys.argv[1])):
        for is_governed in (False, True) if pair % 2 else (True, False):
            cpu = run([governed if is_governed else plain])
            print(json.dumps({"turn": "governed" if is_governed else "plain", "pair": pair, "cpu_s": cpu}), flush=True)


if __name__ == "__main__":
    main()
