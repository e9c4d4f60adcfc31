"""Programs and agents are killed at any moment and at every step: nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def killed(home: Path, *arguments: str) -> dict[str, object]:
    """Run the program that kills; return what it found."""
    command = [sys.executable, str(ROOT / "tests" / "faults" / "killing.py"), str(home), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_random_lose_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    found = killed(tmp_path / "home", "random", str(seed), "60")
    assert found["wrong"] == []
    assert found["left"] == []
    assert int(str(found["acknowledged"])) > 0


@pytest.mark.parametrize("what", ["tell", "ship"])
def test_a_kill_at_every_step_loses_nothing_acknowledged(tmp_path: Path, what: str) -> None:
    found = killed(tmp_path / "home", "steps", what)
    assert found["wrong"] == []
    assert found["left"] == []
    assert int(str(found["kills"])) > 20


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_two_thousand_kills_lose_nothing_acknowledged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kills = acknowledged = stored = 0
    for seed in range(10):
        found = killed(tmp_path / str(seed), "random", str(seed), "200")
        assert found["wrong"] == []
        kills += int(str(found["kills"]))
        acknowledged += int(str(found["acknowledged"]))
        stored += int(str(found["stored"]))
    with capsys.disabled():
        print(f"\n{kills} kills of programs and agents: {acknowledged} facts acknowledged, 0 lost; {stored} stored")  # noqa: T201
    assert kills >= 2000
