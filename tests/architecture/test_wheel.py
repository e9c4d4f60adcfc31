"""The wheel holds `ion` and what `ion init` copies; nothing of this machine's state."""

from __future__ import annotations

import runpy
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=checkout, check=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


@pytest.mark.parametrize(
    "name",
    [
        "ion/__init__.py",
        "ion/py.typed",
        "ion/store/migrations/env.py",
        "ion/store/migrations/versions/format_2.py",
        "ion/store/migrations/versions/format_3.py",
        "ion/scaffold/workspace.yaml",
        "ion/scaffold/dagster.yaml",
        "ion/scaffold/gov_assets/definitions.py",
        "ion/scaffold/sensors/definitions.py",
        "ion/scaffold/policies/__init__.py",
        "ion/scaffold/resources/__init__.py",
        "ion/scaffold/requirements/flink.txt",
        "dagster_ion-0.1.0.dist-info/licenses/LICENSE",
    ],
)
def test_the_wheel_holds(wheel: zipfile.ZipFile, name: str) -> None:
    assert name in wheel.namelist()


def test_what_a_run_left_behind_stays_out(checkout: Path, tmp_path: Path) -> None:
    scaffold = runpy.run_path(str(checkout / "hatch_build.py"))["scaffold"]
    for name in ("gov_assets", "sensors", "policies", "resources"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    left = tmp_path / "gov_assets" / ".ion" / "keys"
    left.mkdir(parents=True)
    (left / "decision.pem").touch()
    named = {path.relative_to(tmp_path).as_posix() for path in scaffold(tmp_path)}
    assert "gov_assets/__init__.py" in named
    assert not [name for name in named if "decision" in name]
    (tmp_path / "sensors" / "__init__.py").unlink()
    with pytest.raises(FileNotFoundError, match="sensors"):
        list(scaffold(tmp_path))


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.partition("/")[0] for name in names} == {"ion", "dagster_ion-0.1.0.dist-info"}
    assert not [name for name in names if "__pycache__" in name or "/.ion/" in name or name.endswith((".pem", ".db"))]
