"""Code in the documentation compiles, commands in it exist with their options, and what is meant to run runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from tests.docs import blocks as documentation

if TYPE_CHECKING:
    from pathlib import Path

    from tests.docs.blocks import Block


PYTHON = [block for block in documentation.BLOCKS if block.language == "python"]
COMMAND = re.compile(r"^\$ (?:\w+=\S+ )*(?:\.venv/bin/)?(ion .*)$")
LINES = [
    (str(block), match[1])
    for block in documentation.BLOCKS
    if block.language in {"console", "sh", "bash", "shell", ""}
    for line in block.code.splitlines()
    if (match := COMMAND.match(line))
]
INLINE = [
    (str(page.relative_to(documentation.CHECKOUT)), text)
    for page in documentation.PAGES
    for text in re.findall(r"`(ion [a-z][^`\n]*)`", page.read_text("utf-8"))
]


def problem(line: str) -> str:
    """Return what is wrong with a command line as written; empty when the command takes it."""
    from ion.cli import ion

    words = shlex.split(line, comments=True)[1:]
    context = click.Context(ion, info_name="ion")
    command: click.Command = ion
    while isinstance(command, click.Group):
        if not words:
            return ""  # a group is named as a whole
        found = command.get_command(context, words[0])
        if found is None:
            return f"there is no command {words[0]!r}"
        command, words = found, words[1:]
    return _arguments_problem(command, words)


def _arguments_problem(command: click.Command, words: list[str]) -> str:
    if not words:
        return ""  # only named
    # As `ion` sets it: click keeps the first help option that a command is asked for.
    with command.make_context(command.name, [], resilient_parsing=True, help_option_names=["-h", "--help"]) as context:
        known = {name for parameter in command.get_params(context) for name in parameter.opts if name.startswith("-")}
        unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in known]
        if unknown:
            return f"{command.name} has no option {unknown[0]}"
        try:
            command.make_parser(context).parse_args(list(words))
        except click.UsageError as error:
            return error.message
        places = sum(1 for parameter in command.params if isinstance(parameter, click.Argument))
        taken = [part for part in command.make_parser(context).parse_args(list(words))[1] if part]
        return f"{command.name} takes {places} arguments" if taken else ""


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.code, str(block), "exec")


@pytest.mark.parametrize(("where", "line"), LINES + INLINE, ids=[f"{where} {line}" for where, line in LINES + INLINE])
def test_a_command_exists_with_these_options(where: str, line: str) -> None:
    assert problem(line) == "", where


@pytest.mark.parametrize("line", ["ion forget", "ion audit guess", "ion predictions wines --newest 3", "ion why a b c"])
def test_a_wrong_command_is_seen(line: str) -> None:
    assert problem(line) != ""


def test_json_parses() -> None:
    texts = [block for block in documentation.BLOCKS if block.language == "json"]
    assert texts
    for block in texts:
        json.loads(block.code)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run in ``folder`` with the state there; the test environment isolates the rest."""
    environment = {**os.environ, "ION_HOME": str(folder / ".ion"), "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_program_outside_dagster_is_governed_as_described(tmp_path: Path) -> None:
    page = "docs/how-to/govern-a-program.md"
    for name in ("readmission.json", "extract.py"):
        (tmp_path / name).write_text(documentation.marked(page, "file", name))
    python = (sys.executable,)
    ion = (sys.executable, "-m", "ion.cli")
    for command in ((*ion, "define", "--file", "readmission.json"), (*python, "extract.py")):
        done = run(tmp_path, *command)
        assert done.returncode == 0, done.stdout + done.stderr
    events = json.loads(run(tmp_path, *ion, "timeline", "readmission", "--json").stdout)["events"]
    kinds = [event["kind"] for event in events]
    assert {"NodeRunStarted", "DatasetRecorded", "CheckEvaluated", "MessageSent", "NodeRunEnded"} <= set(kinds)
    audit = run(tmp_path, *ion, "audit", "verify", "--json")
    assert json.loads(audit.stdout)["problems"] == []


def test_the_policy_of_the_page_decides(tmp_path: Path, checkout: Path) -> None:
    page = "docs/how-to/write-a-policy.md"
    shutil.copytree(checkout / "policies", tmp_path / "policies", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "policies" / "size.py").write_text(documentation.marked(page, "file", "policies/size.py"))
    with (tmp_path / "policies" / "catalog.py").open("a") as catalogue:
        catalogue.write(documentation.marked(page, "append", "policies/catalog.py"))
    program = """
import json, pathlib, sys
from dataclasses import replace
from ion.testing import Deployment
from policies import catalog
from policies.size import no_larger_than
deployment = Deployment.make(pathlib.Path(sys.argv[1]))
told = []
for policies in (catalog.on_devices, replace(catalog.on_devices, policies=(no_larger_than(0),))):
    deployment.train()
    (outcome,) = deployment.govern(lambda _: policies)
    told.append([outcome.verdict, outcome.reasons[-1].policy, len(outcome.reasons)])
deployment.close()
print(json.dumps(told))
"""
    done = run(tmp_path, sys.executable, "-c", program, str(tmp_path / "state"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["approve", "no_larger_than", 5], ["reject", "no_larger_than", 1]]


def test_what_the_page_records_is_recorded(tmp_path: Path, checkout: Path) -> None:
    page = "docs/how-to/record.md"
    (tmp_path / "resources").symlink_to(checkout / "resources")
    for name in ("record.py", "fit.py"):
        (tmp_path / name).write_text(documentation.marked(page, "file", name))
        done = run(tmp_path, sys.executable, name)
        assert done.returncode == 0, done.stderr
    told = """
import json, ion
kinds = ("FigureRecorded", "SignatureRecorded", "CategoriesRecorded", "SketchRecorded", "EventRecorded", "LogsRecorded",
         "ComponentRan", "TrialRecorded", "GapNoted")
print(json.dumps({kind: len(ion.facts(kind, as_="rows")) for kind in kinds} | {"points": len(ion.stats("score"))}))
"""
    assert json.loads(run(tmp_path, sys.executable, "-c", told).stdout) == {
        "FigureRecorded": 4,
        "SignatureRecorded": 1,
        "CategoriesRecorded": 1,
        "SketchRecorded": 1,
        "EventRecorded": 1,
        "LogsRecorded": 1,
        "ComponentRan": 3,
        "TrialRecorded": 2,
        "GapNoted": 0,
        "points": 5,
    }


def test_what_the_page_reads_back_is_what_it_shows(tmp_path: Path) -> None:
    page = "docs/how-to/read-back.md"
    (tmp_path / "read.py").write_text(documentation.marked(page, "file", "read.py"))
    done = run(tmp_path, sys.executable, "read.py")
    assert done.returncode == 0, done.stderr
    (shown,) = [block.code for block in documentation.BLOCKS if block.page == page and block.language == "text"]
    assert done.stdout == shown


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_backup_is_made_and_restored_as_the_page_says(
    database: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ion.testing import make_history

    def store(home: Path) -> str:
        if database == "sqlite":
            return f"sqlite:///{home / 'store.db'}"
        return str(request.getfixturevalue("postgres")())

    program = tmp_path / "bin" / "ion"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ion.cli "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    said = {}
    for name, home in (("back up", tmp_path / "old"), ("restore", tmp_path / "new")):
        url = store(home)
        if name == "back up":
            make_history(home, url).deployment.close()
        monkeypatch.setenv("ION_HOME", str(home))
        monkeypatch.setenv("ION_STORE_URL", url)
        for line in documentation.marked("docs/how-to/back-up.md", "run", name).splitlines():
            command = line.removeprefix("$ ").replace("/mnt/backups", str(tmp_path / "backups"))
            done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        audit = subprocess.run([program, "audit", "verify", "--json"], capture_output=True, text=True, check=True)
        said[name] = json.loads(audit.stdout)
    assert said["back up"] == said["restore"]
