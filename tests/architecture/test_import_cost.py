"""`import ion` is what every governed pipeline pays, in any engine's environment: it stays light and does nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "alembic",
    "click",
    "dagster",
    "fsspec",
    "great_expectations",
    "jsonschema",
    "matplotlib",
    "mlflow",
    "pandas",
    "pyarrow",
    "pydantic",
    "pyflink",
    "pyspark",
    "rich",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "starlette",
    "uvicorn",
}

# Runs in a process of its own, so that what pytest has imported does not count.
PROBE = """
import json, os, sys
touched = []

class Recorded(dict):
    def __getitem__(self, name):
        touched.append(name); return dict.__getitem__(self, name)
    def get(self, name, default=None):
        touched.append(name); return dict.get(self, name, default)
    def __contains__(self, name):
        touched.append(name); return dict.__contains__(self, name)

def watch(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if (writes and "__pycache__" not in str(args[0])) or event in {"socket.connect", "subprocess.Popen", "os.mkdir"}:
        touched.append(f"{event} {args[0]}")

os.environ = Recorded(os.environ)
sys.addaudithook(watch)
__import__(sys.argv[1])
effects = [each for each in touched if each.startswith("ION_") or " " in each]
print(json.dumps({"modules": sorted({name.partition(".")[0] for name in sys.modules}), "effects": effects}))
"""


def probe(module: str) -> dict[str, list[str]]:
    ran = subprocess.run([sys.executable, "-c", PROBE, module], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("module", ["ion", "ion.agent", "ion.evidence", "ion.serving", "ion.ledger"])
def test_core_imports_nothing_heavy_and_has_no_effect(module: str) -> None:
    seen = probe(module)
    assert not HEAVY & set(seen["modules"])
    assert seen["effects"] == []


def test_the_probe_sees_a_heavy_import() -> None:
    assert HEAVY & set(probe("sqlalchemy")["modules"])


def test_the_probe_sees_an_effect(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("planted")
    planted = 'import os\nos.environ.get("ION_HOME")\nopen(__file__ + ".note", "w").close()\n'
    (folder / "planted_effect.py").write_text(planted)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    effects = probe("planted_effect")["effects"]
    assert "ION_HOME" in effects
    assert any(each.startswith("open ") for each in effects)
