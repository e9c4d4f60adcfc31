"""What did not run is named, and is a failure where everything has to run."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SKIPS = "import pytest\ndef test_a(): pytest.skip('no chromium here')\ndef test_b(): pass\n"
MODULE_SKIPS = "import pytest\npytest.skip('no strace here', allow_module_level=True)\n"
EXPECTED_FAILURE = "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_a(): raise ValueError\n"


def run(checkout: Path, folder: Path, body: str, *, ci: str, workers: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_planted.py").write_text(body)
    arguments = ["-p", "tests.plugins.not_run", "-p", "no:cacheprovider", "-c", os.devnull, "-n", workers]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, "--rootdir", folder, folder],
        cwd=checkout,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize(("body", "reason"), [(SKIPS, "no chromium here"), (MODULE_SKIPS, "no strace here")])
def test_a_skipped_test_is_named_and_fails_where_ci_is_set(
    checkout: Path, tmp_path: Path, body: str, reason: str, workers: str
) -> None:
    strict = run(checkout, tmp_path, body, ci="true", workers=workers)
    assert strict.returncode == pytest.ExitCode.TESTS_FAILED, strict.stdout
    assert "not run: not allowed here" in strict.stdout
    assert reason in strict.stdout
    lenient = run(checkout, tmp_path, body, ci="", workers=workers)
    assert lenient.returncode != pytest.ExitCode.TESTS_FAILED, lenient.stdout
    assert reason in lenient.stdout


def test_an_expected_failure_did_run(checkout: Path, tmp_path: Path) -> None:
    assert run(checkout, tmp_path, EXPECTED_FAILURE, ci="true", workers="0").returncode == pytest.ExitCode.OK
