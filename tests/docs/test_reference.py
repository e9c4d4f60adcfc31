"""The reference names what the code has: facts, error codes, environment variables, settings, tables, tests."""

from __future__ import annotations

import ast
import dataclasses
import re
import runpy
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = ("ion", "gov_assets", "sensors", "policies", "resources")


def modules(checkout: Path, *more: str) -> Iterator[tuple[Path, ast.Module]]:
    """Yield the project's modules as syntax trees."""
    for folder in (*FOLDERS, *more):
        for path in sorted((checkout / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text("utf-8"))


def texts_by_name(tree: ast.Module) -> dict[str, str]:
    """Return the text constants of a module."""
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def called(node: ast.AST) -> str:
    """Return the last name of what is called, e.g. ``get`` of ``os.environ.get(…)``."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def error_codes(checkout: Path) -> set[str]:
    """Return every code an IonError is made with: written in place, or as a constant that is handed on."""
    trees = list(modules(checkout))
    constants = {name: text for _, tree in trees for name, text in texts_by_name(tree).items()}
    found: set[str] = set()
    for _, tree in trees:
        own = constants | texts_by_name(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) == "IonError" and node.args:
                given: list[ast.expr] = [node.args[0]]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "Fields.of" and len(node.args) > 2:
                given = [node.args[2]]
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "code":
                chosen = node.value
                given = [chosen.body, chosen.orelse] if isinstance(chosen, ast.IfExp) else []
            else:
                continue
            for part in given:
                if isinstance(part, ast.Constant):
                    found.add(str(part.value))
                elif isinstance(part, ast.Name) and part.id.isupper():
                    found.add(own[part.id])
    return found


def first_cells(text: str) -> list[str]:
    """Return the code in the first cell of every table row."""
    return [
        name for cell in re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)
    ]


def test_every_error_code_is_described_once(checkout: Path, docs: Path) -> None:
    described = first_cells((docs / "reference" / "errors.md").read_text("utf-8"))
    codes = error_codes(checkout)
    assert len(codes) > 90
    assert sorted(codes - set(described)) == []
    assert sorted(set(described) - codes) == []
    assert len(described) == len(set(described))


def environment_names(checkout: Path) -> set[str]:
    """Return the variables that are read or set by name, in Python."""
    found: set[str] = set()
    for _, tree in modules(checkout, "tests/plugins"):
        named = texts_by_name(tree)
        for node in ast.walk(tree):
            key: ast.expr | None = None
            function = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and node.args and re.fullmatch(r"os\.environ\.\w+|os\.getenv", function):
                key = node.args[0]
            elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                key = node.slice
            if isinstance(key, ast.Constant):
                found.add(str(key.value))
            elif isinstance(key, ast.Name) and key.id in named:
                found.add(named[key.id])
            elif key is not None and not isinstance(key, ast.Name):
                message = f"a variable whose name is not seen: {ast.unparse(node)}"
                raise AssertionError(message)
    return found


def test_every_environment_variable_is_described(checkout: Path, docs: Path) -> None:
    text = (docs / "reference" / "environment.md").read_text("utf-8")
    described = set(re.findall(r"`([A-Z][A-Z_]+)`", text))
    names = environment_names(checkout)
    assert {"ION_HOME", "ION_STORE_URL", "ION_FLINK_LOCK", "JAVA_HOME", "CI"} <= names
    assert sorted(names - described) == []


def test_no_variable_is_described_that_nothing_names(checkout: Path, docs: Path) -> None:
    sources = [
        path.read_text("utf-8") for folder in (*FOLDERS, "tests/plugins") for path in (checkout / folder).rglob("*.py")
    ]
    sources.append((checkout / "Makefile").read_text("utf-8"))
    for name in first_cells((docs / "reference" / "environment.md").read_text("utf-8")):
        assert any(name in source for source in sources), name


def test_the_page_of_facts_is_as_written_from_the_code(docs: Path) -> None:
    write = runpy.run_path(str(docs / "reference" / "write_facts.py"))["facts_page"]
    assert (docs / "reference" / "facts.md").read_text("utf-8") == write(), "run docs/reference/write_facts.py"


def test_the_settings_of_the_streaming_job_are_those_of_the_code(docs: Path) -> None:
    from resources.flink.settings import JobSettings

    text = (docs / "how-to" / "configure-engines.md").read_text("utf-8").partition("<!-- table: JobSettings -->")[2]
    written = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", text, re.MULTILINE))
    settings = [item for item in dataclasses.fields(JobSettings) if item.name not in {"home", "node", "subject"}]
    expected = {item.name: str(item.default) for item in settings}
    assert written == expected


def test_the_tables_of_the_store_are_those_of_the_code(docs: Path) -> None:
    from ion.store import schema

    record, _, projections = (docs / "spec" / "store.md").read_text("utf-8").partition("## What is folded from it")
    rows = {
        part: {
            name: re.findall(r"`(\w+)`", columns)
            for name, columns in re.findall(r"^\| `(ion_\w+)` \| ([^|]+) \|", text, re.MULTILINE)
        }
        for part, text in (("record", record), ("projections", projections))
    }
    names = {table.name for table in schema.PROJECTIONS}
    columns = {table.name: [column.name for column in table.columns] for table in schema.metadata.tables.values()}
    assert rows["projections"] == {name: found for name, found in columns.items() if name in names}
    assert rows["record"] == {name: found for name, found in columns.items() if name not in names}


def test_the_kinds_of_problem_are_those_of_the_audit(checkout: Path, docs: Path) -> None:
    text = (docs / "how-to" / "diagnose.md").read_text("utf-8").partition("## The audit finds something")[2]
    found: set[str] = set()
    for folder in ("ion/audit", "ion/ledger"):
        for path in (checkout / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and called(node) == "Problem":
                    found |= {part.value for part in ast.walk(node.args[1]) if isinstance(part, ast.Constant)}
    told = {kind for kind in found if isinstance(kind, str)} | {"block", "artifact", "model", "erased key"}
    assert told == set(first_cells(text))


def test_the_steps_of_the_gate_are_those_of_the_code(docs: Path) -> None:
    from ion.serving.admission import Step

    table = (
        (docs / "spec" / "pointer.md").read_text("utf-8").partition("| step | passes when |")[2].partition("\n\n")[0]
    )
    assert first_cells(table) == list(get_args(Step))
    assert set(
        first_cells(
            (docs / "how-to" / "diagnose.md").read_text("utf-8").partition("## The gate refuses")[2].partition("##")[0]
        )
    ) <= set(get_args(Step))


def test_the_tests_that_the_threat_model_names_exist(checkout: Path, docs: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", (docs / "threat-model.md").read_text("utf-8")))
    there = {
        name
        for path in (checkout / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert len(named) > 30
    assert sorted(named - there) == []


def api_names(text: str) -> list[tuple[str, str]]:
    """Return (module, name) of every first cell; a dotted name says its own module."""
    found: list[tuple[str, str]] = []
    for part in text.split("\n## ")[1:]:
        module = re.search(r"`([\w.]+)`", part.splitlines()[0])
        for name in re.findall(r"^\| `@?([\w.]+)", part, re.MULTILINE):
            own, _, last = name.rpartition(".")
            found.append((own or (module[1] if module else ""), last))
    return found


API = api_names((Path(__file__).resolve().parents[2] / "docs" / "reference" / "python-api.md").read_text("utf-8"))


@pytest.mark.parametrize(("module", "name"), API, ids=[".".join(pair) for pair in API])
def test_every_name_of_the_python_api_is_there(module: str, name: str) -> None:
    assert hasattr(import_module(module), name)
