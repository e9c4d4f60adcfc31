"""Both code locations load quickly, quietly and as recorded in ``snapshots/``."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

SNAPSHOT = Path(__file__).parent / "snapshots" / "definitions.json"
CHECKOUT = Path(__file__).resolve().parents[2]
LOCATIONS = ("gov_assets.definitions", "sensors.definitions")
NOT_NEEDED = {"great_expectations", "matplotlib", "mlflow", "pyflink", "pyspark.ml", "scipy", "sklearn"}
"""What no definition may import. The session class of pyspark comes with dagster-pyspark's resource."""

# In a process of its own: what pytest has imported does not count.
PROBE = """
import json, sys, time, warnings
import dagster as dg
from importlib import import_module
before = time.process_time()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = [import_module(name).defs for name in sys.argv[1:]]
took = time.process_time() - before

def described(defs):
    repository = defs.get_repository_def()
    graph = repository.asset_graph
    return {
        "assets": {
            key.to_user_string(): {
                "group": graph.get(key).group_name,
                "kinds": sorted(graph.get(key).kinds),
                "owners": sorted(graph.get(key).owners),
                "upstream": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
                "executable": graph.get(key).is_executable,
                "checks": sorted(check.name for check in graph.get_check_keys_for_assets({key})),
            }
            for key in sorted(graph.get_all_asset_keys())
        },
        "sensors": {
            sensor.name: {
                "status": sensor.default_status.value,
                "interval": sensor.minimum_interval_seconds,
            }
            for sensor in sorted(repository.sensor_defs, key=lambda sensor: sensor.name)
        },
        "resources": sorted(repository.get_top_level_resources()),
        "jobs": sorted(name for name in repository.job_names if not name.startswith("__")),
    }

print(json.dumps({
    "took": took,
    "warnings": [f"{each.category.__name__}: {each.message} at {each.filename}" for each in caught],
    "modules": sorted(sys.modules),
    "described": {name: described(defs) for name, defs in zip(sys.argv[1:], found)},
}))
"""


def probe(*locations: str) -> dict[str, object]:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, *locations], capture_output=True, text=True, check=False, cwd=CHECKOUT
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, object] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def probed() -> list[dict[str, object]]:
    return [probe(*LOCATIONS) for _ in range(3)]


def test_the_definitions_are_as_recorded(probed: list[dict[str, object]]) -> None:
    found = json.dumps(probed[0]["described"], indent=2, sort_keys=True) + "\n"
    assert SNAPSHOT.read_text() == found, "a deliberate change is recorded by writing the new text there"


def test_they_load_without_a_warning(probed: list[dict[str, object]]) -> None:
    assert [found["warnings"] for found in probed] == [[], [], []]


def test_they_add_less_than_a_second_to_importing_dagster(probed: list[dict[str, object]]) -> None:
    assert statistics.median(float(str(found["took"])) for found in probed) < 1.0


def test_they_import_no_engine(probed: list[dict[str, object]]) -> None:
    assert NOT_NEEDED & set(map(str, probed[0]["modules"])) == set()  # type: ignore[call-overload]


def test_governance_needs_no_spark_at_all() -> None:
    modules = probe("sensors.definitions")["modules"]
    assert isinstance(modules, list)
    assert "pyspark" not in modules
    assert "gov_assets" not in modules, "sensors learn of IONs from the store"
