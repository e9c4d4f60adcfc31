"""The import contracts name every room there is, hold, and go red when they are broken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

FOLDERS = ("ion", "gov_assets", "sensors", "policies", "resources")


@pytest.fixture(scope="module")
def linter(checkout: Path) -> dict[str, Any]:
    return tomllib.loads((checkout / "pyproject.toml").read_text())["tool"]["importlinter"]


def contract(linter: dict[str, Any], *, kind: str, source: str = "") -> dict[str, Any]:
    """Return the one contract of this kind (about this source module)."""
    found = [
        each
        for each in linter["contracts"]
        if each["type"] == kind and (not source or source in each.get("source_modules", []))
    ]
    assert len(found) == 1, f"{len(found)} contracts of type {kind} about {source or 'everything'}"
    return found[0]


def present(checkout: Path, *modules: str) -> set[str]:
    """Return those of the named modules that exist; import-linter refuses to hear of others."""
    paths = {module: checkout.joinpath(*module.split(".")) for module in modules}
    return {name for name, path in paths.items() if path.with_suffix(".py").exists() or (path / "__init__.py").exists()}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def test_every_project_folder_is_a_root_package(checkout: Path, linter: dict[str, Any]) -> None:
    existing = [name for name in FOLDERS if (checkout / name / "__init__.py").exists()]
    assert sorted(linter["root_packages"]) == sorted(existing)


def test_every_room_of_ion_has_its_layer(checkout: Path, linter: dict[str, Any]) -> None:
    named = set(re.findall(r"[\w.]+", " ".join(contract(linter, kind="layers")["layers"])))
    rooms = {
        f"ion.{path.stem}"
        for path in (checkout / "ion").iterdir()
        if path.name != "__init__.py" and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert rooms <= named, f"give these a layer in pyproject.toml: {sorted(rooms - named)}"
    assert {name for name in FOLDERS if name != "ion"} <= named


def test_policies_may_not_reach_dagster(checkout: Path, linter: dict[str, Any]) -> None:
    forbidden = set(contract(linter, kind="forbidden", source="policies")["forbidden_modules"])
    assert {"dagster", *present(checkout, "ion.cli", "ion.dagster", "ion.web")} <= forbidden


def test_the_flink_job_may_reach_core_only(checkout: Path, linter: dict[str, Any]) -> None:
    # The job runs in an environment of its own, which has neither SQLAlchemy nor dagster.
    if present(checkout, "resources.flink.job"):
        forbidden = set(contract(linter, kind="forbidden", source="resources.flink.job")["forbidden_modules"])
        assert {"dagster", "sqlalchemy", *present(checkout, "ion.dagster", "ion.store")} <= forbidden


def test_the_contracts_hold(checkout: Path) -> None:
    ran = lint(checkout)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract_id"),
    [
        ("ion/facts.py", "import ion.agent", "The rooms import one way"),
        ("ion/errors.py", "import ion.canonical", "The rooms import one way"),
        ("ion/agent/__init__.py", "def f():\n    import dagster", "ion imports no engine"),
        ("ion/evidence/__init__.py", "import sqlalchemy", "ion imports no engine"),
    ],
)
def test_a_planted_import_is_caught(checkout: Path, tmp_path: Path, module: str, line: str, contract_id: str) -> None:
    for name in FOLDERS:
        if (checkout / name).exists():
            shutil.copytree(checkout / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(checkout / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a") as planted:
        planted.write(f"\n{line}\n")
    ran = lint(tmp_path)
    assert ran.returncode != 0
    assert re.search(rf"{contract_id}.*BROKEN", ran.stdout), ran.stdout
