"""The commands that read the project's code or need Dagster: define, doctor, evaluate."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from ion.cli import run
from ion.cli.examination import java_version
from ion.facts import DecisionMade, IonDefined, MaterializationObserved
from ion.store import open_store
from tests.store.complete_history import complete_history

if TYPE_CHECKING:
    from pathlib import Path

    from ion.testing import History

PROJECT = '''
import dagster as dg
import pandas as pd
from ion.dagster import dataset, governed

@dataset(ion="small", classification="public")
def rows() -> pd.DataFrame:
    """Rows."""
    return pd.DataFrame({"x": [1]})

@dg.asset
def plain() -> None:
    """Knows nothing of ion."""

@dg.asset
def unseen() -> None:
    """Never ran."""

defs = governed([rows, plain, unseen])
nothing = 3
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A code location of its own, importable by a name no other test uses."""
    name = f"project_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(PROJECT)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, object]:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code, capsys.readouterr()
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_define_derives_the_ion_from_the_assets(
    capsys: pytest.CaptureFixture[str], isolated: Path, project: str
) -> None:
    document = answer(capsys, "define", "small", "--module", project)
    assert document["ion"] == "small"
    assert [node["components"] for node in document["nodes"]] == [["rows"]]  # type: ignore[attr-defined]
    assert not (isolated / ".ion").exists(), "printing records nothing"
    listed = answer(capsys, "define", "--module", project)["ions"]
    assert [each["ion"] for each in listed] == ["small"]  # type: ignore[attr-defined]
    answer(capsys, "define", "small", "--module", project, "--record")
    store = open_store(f"sqlite:///{isolated / '.ion' / 'store.db'}")
    recorded = store.latest(IonDefined, "small")
    store.close()
    assert recorded
    assert recorded.fact.definition == document
    assert run(["define", "small", "--module", project, "--record"]) == 0
    assert "already recorded" in capsys.readouterr().out


def test_the_reference_project_is_defined_by_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    document = answer(capsys, "define", "patient_tests")
    kinds = {node["name"]: node["kind"] for node in document["nodes"]}  # type: ignore[attr-defined]
    assert kinds == {"model": "training", "approval": "policy", "predictions": "inference"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["define", "other", "--module", "{project}"], "unknown-ion"),
        (["define", "--module", "no.such.module"], "no-project"),
        (["define", "--module", "{project}:nothing"], "no-project"),
        (["define", "--module", "{project}:missing"], "no-project"),
    ],
)
def test_what_the_code_does_not_hold(
    capsys: pytest.CaptureFixture[str], project: str, arguments: list[str], code: str
) -> None:
    filled = [argument.format(project=project) for argument in arguments]
    error = answer(capsys, *filled, code=2)["error"]
    assert error["code"] == code  # type: ignore[index]
    assert error["hint"]  # type: ignore[index]


def test_doctor_lists_what_is_governed_observed_and_neither(
    capsys: pytest.CaptureFixture[str], isolated: Path, project: str
) -> None:
    states = answer(capsys, "doctor", "--project", "--module", project)["assets"]
    assert {each["asset"]: each["state"] for each in states} == {  # type: ignore[attr-defined]
        "plain": "ungoverned",
        "small/rows": "governed",
        "unseen": "ungoverned",
    }
    store = open_store(f"sqlite:///{isolated / '.ion' / 'store.db'}")
    with store.command() as command:
        seen = MaterializationObserved(
            instance="i", dagster_run="r", asset="plain", partition="", step="s", storage_id=1, us=1
        )
        command.record(seen)
    store.close()
    states = answer(capsys, "doctor", "--project", "--module", project)["assets"]
    assert {each["asset"]: each["state"] for each in states}["plain"] == "observed"  # type: ignore[attr-defined]
    assert run(["doctor", "--project", "--module", project]) == 0
    assert "ungoverned: 1" in capsys.readouterr().out


def test_doctor_examines_the_machine(
    capsys: pytest.CaptureFixture[str], isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {each["name"]: each for each in answer(capsys, "doctor")["findings"]}  # type: ignore[attr-defined]
    assert {
        "Python",
        "Java",
        "uv",
        "dagster",
        "Flink",
        "state",
        "disk",
        "port 3000",
        "port 5000",
        "chromium",
        "strace",
    } <= set(found)
    assert found["Java"]["ok"]
    assert not (isolated / ".ion").exists(), "an examination makes nothing"
    monkeypatch.setenv("PATH", str(isolated))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    lacking = answer(capsys, "doctor", code=1)
    java = next(each for each in lacking["findings"] if each["name"] == "Java")  # type: ignore[attr-defined]
    assert (lacking["ok"], java["ok"], java["needed"]) == (False, False, True)
    assert "openjdk" in java["advice"]


def test_doctor_sees_a_taken_port_and_a_foreign_state(
    capsys: pytest.CaptureFixture[str], isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (isolated / ".ion").mkdir()
    (isolated / ".ion" / "store.db").write_bytes(b"foreign" * 200)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr("ion.cli.examination._PORTS", {port: ("a page", "--port")})
        findings = answer(capsys, "doctor", code=1)["findings"]
    found = {each["name"]: each for each in findings}  # type: ignore[attr-defined]
    assert (found[f"port {port}"]["ok"], found[f"port {port}"]["needed"]) == (False, False)
    assert "--port" in found[f"port {port}"]["advice"]
    assert (found["state"]["ok"], found["state"]["needed"]) == (False, True)


@pytest.mark.parametrize(
    ("told", "number"),
    [
        ('openjdk version "17.0.9" 2023-10-17', 17),
        ('java version "1.8.0_381"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("command not found", 0),
    ],
)
def test_java_says_its_version_in_several_ways(told: str, number: int) -> None:
    assert java_version(told) == number


# Evaluate ---------------------------------------------------------------------------------------------


@pytest.fixture
def history(isolated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    """A complete history, with a real Dagster instance that holds both materializations."""
    import dagster as dg

    home = tmp_path / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    history = complete_history(isolated / ".ion")
    with dg.DagsterInstance.get() as instance:
        for trained in (history.trained, history.bad):
            event = dg.AssetMaterialization(asset_key=["recommender"], tags={"ion/node_run": trained.run})
            instance.report_runless_asset_event(event)
    return history


def test_evaluate_decides_again(capsys: pytest.CaptureFixture[str], history: History) -> None:
    store = history.deployment.store
    again = answer(capsys, "evaluate", history.bad.model[7:17], code=1)
    (outcome,) = again["outcomes"]  # type: ignore[misc]
    assert (again["model"], outcome["verdict"], outcome["promoted"]) == (history.bad.model, "reject", False)
    assert len(store.find(DecisionMade, history.bad.model)) == 2
    good = answer(capsys, "evaluate", history.trained.model)
    (outcome,) = good["outcomes"]  # type: ignore[misc]
    assert outcome["verdict"] == "approve"
    assert answer(capsys, "audit", "verify")["ok"] is True
    assert run(["evaluate", history.bad.model[7:17]]) == 1
    assert "✗ metric_at_least: roc_auc" in capsys.readouterr().out


def test_what_cannot_be_evaluated(capsys: pytest.CaptureFixture[str], history: History) -> None:
    unseen = history.deployment.train(weight=0.5)
    for arguments, code in (
        ([unseen.model], "not-eligible"),
        (["0" * 12], "unknown-model"),
        (["abc"], "bad-prefix"),
        ([history.bad.model, "--run", "nothing"], "unknown-run"),
    ):
        error = answer(capsys, "evaluate", *arguments, code=2)["error"]
        assert error["code"] == code  # type: ignore[index]
        assert code != "not-eligible" or "no materialization" in error["message"]  # type: ignore[index]
