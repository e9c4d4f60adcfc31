"""The `ion` command: what it prints, with and without --json, and how it exits."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from ion.cli import COMMANDS, ion, run
from ion.cli.reference import reference
from ion.errors import IonError
from ion.facts import AlertRaised, NodeHalted, PredictionReplayed
from ion.graph import definition_schema
from ion.serving import pointer_path
from ion.testing import DEFINITION, SERVING, History
from tests.store.complete_history import artifact, complete_history

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def history(isolated: Path) -> History:
    """A complete history in the state root that commands find by themselves."""
    return complete_history(isolated / ".ion")


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, object]:
    """Run with --json: stdout must be one JSON object and nothing else."""
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def text_of(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert run(arguments) == code
    return capsys.readouterr().out


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """Run both ways: exit code 2, the error on stderr, or as JSON on stdout."""
    error = json_of(capsys, *arguments, code=2)["error"]
    assert isinstance(error, dict)
    assert set(error) == {"code", "message", "hint"}
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert error["message"].splitlines()[0] in printed.err
    return error


# Every command ------------------------------------------------------------------------------------


def commands(group: click.Group = ion, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*path, name)
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_explains_itself_with_an_example(
    capsys: pytest.CaptureFixture[str], path: tuple[str, ...]
) -> None:
    helped = text_of(capsys, *path, "--help")
    assert helped.startswith(f"Usage: ion {' '.join(path)}")
    assert f"Example: ion {path[0]}" in helped


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_option_explains_itself(path: tuple[str, ...]) -> None:
    command: click.Command = ion
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name) or click.Command("missing")
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_each_command_module_holds_a_command_of_its_name() -> None:
    for name in ion.list_commands(click.Context(ion)):
        found = ion.get_command(click.Context(ion), name)
        assert found is not None
        assert found.name == name
    assert set(ion.list_commands(click.Context(ion))) <= set(COMMANDS)


def test_the_reference_is_what_the_commands_say() -> None:
    written = (CHECKOUT / "docs/reference/cli.md").read_text()
    assert written == reference(), "python -m ion.cli.reference > docs/reference/cli.md"


def test_the_published_schema_is_the_one_in_force() -> None:
    published = json.loads((CHECKOUT / "docs/reference/ion-definition.schema.json").read_text())
    assert published == definition_schema()


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    probe = (
        "import sys, time; begin = time.process_time()\n"
        "from ion.cli import run; code = run(['--help'])\n"
        "heavy = {'dagster', 'sqlalchemy', 'pandas', 'numpy', 'rich', 'jsonschema', 'mlflow'} & set(sys.modules)\n"
        "print(time.process_time() - begin, sorted(heavy), code, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    seconds, rest = ran.stderr.split(" ", 1)
    assert rest.strip() == "[] 0"
    assert float(seconds) < 0.5


def test_the_module_runs_like_the_command(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "ion.cli", "models", "--json"],
        cwd=tmp_path,
        env={**os.environ, "ION_HOME": str(tmp_path / ".ion")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert json.loads(ran.stdout)["error"]["code"] == "no-home"
    assert not (tmp_path / ".ion").exists(), "a question makes nothing"


# Usage and environment ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["models", "--nothing"], ["why"], ["predictions", "x", "--limit", "0"], ["halt", "x/y"]]
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert json_of(capsys, *arguments, code=2)["error"]["code"] == "usage"  # type: ignore[index]
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Usage: ion" in printed.err


ASKING = [
    ["why", "x:1"],
    ["replay", "x:1"],
    ["audit", "verify"],
    ["models"],
    ["timeline", "x"],
    ["predictions", "x"],
    ["evaluate", "0" * 12],
    ["halt", "x/y", "--reason", "z"],
    ["store", "rebuild"],
    ["store", "ship"],
]


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
def test_asking_where_nothing_is(capsys: pytest.CaptureFixture[str], isolated: Path, arguments: list[str]) -> None:
    assert error_of(capsys, *arguments)["code"] == "no-home"
    assert not (isolated / ".ion").exists(), "a question makes nothing"


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
def test_a_foreign_or_unreadable_state(
    capsys: pytest.CaptureFixture[str], isolated: Path, arguments: list[str]
) -> None:
    home = isolated / ".ion"
    home.mkdir()
    (home / "store.db").write_bytes(b"not a database at all, and longer than its header would be" * 10)
    assert error_of(capsys, *arguments)["code"] == "store-unreachable"
    (home / "store.db").unlink()
    connection = sqlite3.connect(home / "store.db")
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    assert error_of(capsys, *arguments)["code"] == "foreign-store"
    (home / "store.db").unlink()
    home.rmdir()
    home.write_text("a file")
    assert error_of(capsys, *arguments)["code"] == "home-unusable"


def test_an_unexpected_error_keeps_the_promise(
    capsys: pytest.CaptureFixture[str], history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    assert history
    monkeypatch.setattr("ion.graph.catalogue", broken)
    error = error_of(capsys, "models")
    assert error["code"] == "unexpected"
    assert "boom" in error["message"]
    monkeypatch.setenv("ION_TRACEBACK", "1")
    assert run(["models"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_ion_error_from_anywhere_is_printed_with_its_hint(
    capsys: pytest.CaptureFixture[str], history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise IonError("some-code", "what happened", "what to do")

    assert history
    monkeypatch.setattr("ion.graph.catalogue", refuses)
    assert error_of(capsys, "models") == {"code": "some-code", "message": "what happened", "hint": "what to do"}
    run(["models"])
    assert "what happened [some-code]\n  what to do" in capsys.readouterr().err


# Questions ------------------------------------------------------------------------------------------


def test_why(capsys: pytest.CaptureFixture[str], history: History) -> None:
    prediction = str(history.served.predictions[3])
    answer = json_of(capsys, "why", prediction)
    assert (answer["prediction"], answer["complete"]) == (prediction, True)
    told = text_of(capsys, "why", prediction)
    for expected in (prediction, history.trained.model[7:19], "clinical_low_risk", "c0ffee", "complete", "no person"):
        assert expected in told
    artifact(history, history.trained.model).unlink()
    assert json_of(capsys, "why", prediction, code=1)["complete"] is False
    assert "not complete: 1 missing" in text_of(capsys, "why", prediction, code=1)
    assert error_of(capsys, "why", f"{history.served.epoch}:99")["code"] == "unknown-prediction"
    assert error_of(capsys, "why", "99")["code"] == "bad-prediction-id"


def test_a_beginning_of_the_epoch_is_enough(capsys: pytest.CaptureFixture[str], history: History) -> None:
    answer = json_of(capsys, "why", f"{history.served.epoch[:20]}:1")
    assert answer["prediction"] == str(history.served.predictions[1])


def test_replay(capsys: pytest.CaptureFixture[str], history: History) -> None:
    prediction, score = str(history.served.predictions[0]), history.served.scores[0]
    answer = json_of(capsys, "replay", prediction)
    assert list(answer)[:3] == ["prediction", "model", "verdict"]
    assert {"verdict": "identical", "recorded": score, "replayed": score, "max_abs_diff": 0, "reason": ""}.items() <= (
        answer.items()
    )
    assert len(history.deployment.store.find(PredictionReplayed, prediction)) == 1
    assert "identical" in text_of(capsys, "replay", prediction)
    lost = history.deployment.serve(capture=False)
    answer = json_of(capsys, "replay", str(lost.predictions[0]), code=1)
    assert (answer["verdict"], answer["replayed"]) == ("unavailable", None)
    assert "not captured" in text_of(capsys, "replay", str(lost.predictions[0]), code=1)


def test_audit_verify(capsys: pytest.CaptureFixture[str], history: History) -> None:
    answer = json_of(capsys, "audit", "verify")
    assert list(answer) == ["ok", "entries", "head", "root", "checkpoints", "removed", "problems"]
    assert (answer["ok"], answer["problems"]) == (True, [])
    pointer_path(history.deployment.home.root, SERVING).unlink()
    answer = json_of(capsys, "audit", "verify", code=1)
    assert answer["ok"] is False
    assert "✗ pointer" in text_of(capsys, "audit", "verify", code=1)


def test_models_predictions_timeline(capsys: pytest.CaptureFixture[str], history: History) -> None:
    models = json_of(capsys, "models")["models"]
    assert [model["verdict"] for model in models] == ["reject", "approve"]  # type: ignore[attr-defined]
    told = text_of(capsys, "models")
    assert history.bad.model[7:19] in told
    assert "✗ metric_at_least: roc_auc" in told
    listed = json_of(capsys, "predictions", "patient_tests", "--limit", "2")["predictions"]
    newest_two = [str(history.served.predictions[4]), str(history.served.predictions[3])]
    assert [entry["prediction"] for entry in listed] == newest_two  # type: ignore[attr-defined]
    assert newest_two[0] in text_of(capsys, "predictions", "patient_tests")
    events = json_of(capsys, "timeline", "patient_tests", "--limit", "3")["events"]
    assert len(events) == 3  # type: ignore[arg-type]
    assert "promoted model" in text_of(capsys, "timeline", "patient_tests")
    assert error_of(capsys, "predictions", "nothing")["code"] == "unknown-ion"


def test_what_waits_in_a_spool_is_in_the_answer(capsys: pytest.CaptureFixture[str], history: History) -> None:
    from ion.agent import open_client

    client = open_client(history.deployment.home, name="unshipped", ship=False)
    client.emit(AlertRaised(scope=SERVING, alert="late", message="but told"))
    client.close()
    assert "alert late: but told" in text_of(capsys, "timeline", "patient_tests")


def test_a_damaged_spool_does_not_prevent_an_answer(
    capsys: pytest.CaptureFixture[str], history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise OSError("the disk is gone")

    assert history
    monkeypatch.setattr("ion.agent.hands.ship_home", fails)
    assert run(["models", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["models"]
    assert "facts wait in the spool" in printed.err


def test_hostile_text_reaches_the_terminal_as_text(capsys: pytest.CaptureFixture[str], history: History) -> None:
    client = history.deployment.client
    client.emit(AlertRaised(scope=history.served.epoch, alert="x", message="\x1b[2J[bold red]boo[/] \x9b31m \x07"))
    client.ship()
    for arguments in (["timeline", "patient_tests"], ["why", str(history.served.predictions[0])]):
        told = text_of(capsys, *arguments)
        assert "[bold red]boo[/]" in told
        assert not {"\x1b", "\x9b", "\x07"} & set(told)


# Acts -----------------------------------------------------------------------------------------------


def test_halt(capsys: pytest.CaptureFixture[str], history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "sam")
    answer = json_of(capsys, "halt", SERVING, "--reason", "wrong unit")
    assert answer == {"node": SERVING, "serial": 2, "reason": "wrong unit", "by": "sam"}
    halted = history.deployment.store.latest(NodeHalted, SERVING)
    assert halted
    assert (halted.fact.reason, halted.fact.by) == ("wrong unit", "sam")
    assert json_of(capsys, "audit", "verify")["ok"] is True
    assert error_of(capsys, "halt", "patient_tests/nothing", "--reason", "x")["code"] == "never-promoted"
    assert error_of(capsys, "halt", "nothing", "--reason", "x")["code"] == "bad-node"


def test_store_rebuild(capsys: pytest.CaptureFixture[str], history: History) -> None:
    assert json_of(capsys, "store", "rebuild")["changed"] == []
    connection = sqlite3.connect(history.deployment.home.root / "store.db")
    with connection:
        connection.execute("UPDATE ion_current SET halted = 1")
    connection.close()
    assert json_of(capsys, "store", "rebuild", code=1)["changed"] == ["ion_current"]
    assert "nothing changed" in text_of(capsys, "store", "rebuild")


def test_store_ship(capsys: pytest.CaptureFixture[str], history: History) -> None:
    from ion.agent import open_client

    before = history.deployment.store.head().position
    client = open_client(history.deployment.home, name="unshipped", ship=False)
    client.emit(AlertRaised(scope=SERVING, alert="a", message="m"))
    client.close()
    answer = json_of(capsys, "store", "ship")
    assert answer["facts"] == before + 1
    assert client.agent not in answer["open_spools"]  # type: ignore[operator]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from ion import __version__

    assert json_of(capsys, "version")["dagster-ion"] == __version__
    assert text_of(capsys, "version").startswith(f"dagster-ion {__version__}")


# Definitions ----------------------------------------------------------------------------------------


def test_define_from_a_file(capsys: pytest.CaptureFixture[str], isolated: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(DEFINITION))
    assert json_of(capsys, "define", "--file", str(path)) == DEFINITION
    assert (isolated / ".ion" / "store.db").exists()
    assert "already recorded" in text_of(capsys, "define", "--file", str(path))
    recorded = json_of(capsys, "define", "patient_tests", "--module", "nothing.here")
    assert recorded == DEFINITION, "an ION that is no code here is printed as recorded"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "bad-definition"),
        ("[]", "bad-definition"),
        ('{"ion": "x"}', "bad-definition"),
        ("[" * 100_000, "bad-definition"),
        ('{"ion": "x", "nodes": [{"name": "a", "kind": "magic"}], "edges": []}', "bad-definition"),
        (
            json.dumps(
                {
                    "ion": "x",
                    "nodes": [{"name": "a", "kind": "custom"}],
                    "edges": [{"from": "a", "to": "b", "message": "data"}],
                }
            ),
            "bad-definition",
        ),
    ],
)  # fmt: skip
def test_a_malformed_definition(
    capsys: pytest.CaptureFixture[str], isolated: Path, tmp_path: Path, text: str, code: str
) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    error = error_of(capsys, "define", "--file", str(path))
    assert error["code"] == code
    assert not (isolated / ".ion").exists(), "nothing was recorded"


def test_a_definition_file_that_is_missing_or_another(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert error_of(capsys, "define", "--file", str(tmp_path / "none.json"))["code"] == "no-file"
    (tmp_path / "x.json").write_text(json.dumps(DEFINITION))
    assert error_of(capsys, "define", "other", "--file", str(tmp_path / "x.json"))["code"] == "bad-definition"


# A new project ----------------------------------------------------------------------------------------


def test_init_writes_the_reference_project(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    written = json_of(capsys, "init", str(folder))["files"]
    assert {"workspace.yaml", "gov_assets/definitions.py", "policies/catalog.py", "requirements/flink.txt"} <= set(
        written
    )  # type: ignore[call-overload]
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == set(written)  # type: ignore[call-overload]
    assert not [name for name in found if "__pycache__" in name or ".ion/" in name]
    assert (folder / "policies/catalog.py").read_bytes() == (CHECKOUT / "policies/catalog.py").read_bytes()
    assert ".ion/" in (folder / ".gitignore").read_text().splitlines()
    error = error_of(capsys, "init", str(folder))
    assert error["code"] == "not-empty"


def test_init_and_the_wheel_agree_on_the_project() -> None:
    import ast

    from ion.cli.init import FILES, FOLDERS

    tree = ast.parse((CHECKOUT / "hatch_build.py").read_text())
    named = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert (named["FOLDERS"], named["FILES"]) == (FOLDERS, FILES)
