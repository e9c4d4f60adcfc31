"""The tutorial, followed: a scaffolded project, its ION from the page, trained, decided, predicted, explained."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import BLOCKS, marked

PAGE = "docs/tutorial.md"
ASSETS = "gov_assets/wines/assets.py"
MOST_LINES = 30


def own_lines(code: str) -> list[str]:
    """Return the lines that are the engineer's own: not blank, no comment, no import, no docstring."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(code)):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if text or isinstance(node, ast.Import | ast.ImportFrom):
            left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = [line for number, line in enumerate(code.splitlines(), start=1) if number not in left_out]
    return [line for line in lines if line.strip() and not line.strip().startswith("#")]


def test_an_ion_is_thirty_lines_of_ones_own_or_fewer() -> None:
    assert 10 < len(own_lines(marked(PAGE, "file", ASSETS))) <= MOST_LINES


def test_lines_are_counted_without_imports_blanks_and_docstrings() -> None:
    assert own_lines('"""Doc."""\nimport a\nfrom b import (\n    c,\n)\n\n# why\nx = """\ntext"""\n') == [
        'x = """',
        'text"""',
    ]


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run in the project folder, whose packages come before the checkout's."""
    environment = {
        **os.environ,
        "ION_HOME": str(folder / ".ion"),
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project made by ``ion init``."""
    folder = tmp_path_factory.mktemp("tutorial") / "wine-project"
    subprocess.run([sys.executable, "-m", "ion.cli", "init", str(folder)], check=True, capture_output=True)
    return folder


def test_what_the_page_asks_make_for_is_in_a_new_project(project: Path) -> None:
    commands = "\n".join(block.code for block in BLOCKS if block.page == PAGE and block.language == "console")
    targets = set(re.findall(r"^\$ make (\w+)", commands, re.MULTILINE))
    text = (project / "Makefile").read_text("utf-8") if (project / "Makefile").is_file() else ""
    assert {target for target in targets if f"\n{target}:" not in text} == set()


@pytest.mark.slow
def test_the_tutorial_leads_from_data_to_an_explained_prediction(project: Path) -> None:
    wines = project / ASSETS
    wines.parent.mkdir()
    (wines.parent / "__init__.py").touch()
    wines.write_text(marked(PAGE, "file", ASSETS))
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "wines")):
        done = run(project, "git", *command)
        assert done.returncode == 0, done.stderr
    played = run(project, sys.executable, str(Path(__file__).with_name("governed_wines.py")))
    assert played.returncode == 0, played.stderr[-4000:]
    assert json.loads(played.stdout.splitlines()[-1]) == {
        "assets": ["wines/analyses", "wines/approval", "wines/deployment", "wines/grower", "wines/growers"],
        "checks": [["plausible_wine", True]],
        "verdict": "approve",
        "approval": 1,
        "deployment": 1,
        "inference": True,
        "predictions": 178,
        "explained": {"complete": True, "gaps": []},
        "datasets": ["heldout", "wines/analyses"],
        "replayed": "identical",
    }
    for command in (("models",), ("predictions", "wines", "--limit", "3"), ("timeline", "wines"), ("audit", "verify")):
        done = run(project, sys.executable, "-m", "ion.cli", *command)
        assert done.returncode == 0, done.stdout + done.stderr
