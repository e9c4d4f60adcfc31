"""``ion doctor --hands`` where one user does everything, and what it reads in workspace.yaml."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from ion.cli import run
from ion.home import Home
from ion.testing import Deployment

if TYPE_CHECKING:
    from pathlib import Path


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert run(["doctor", *arguments, "--json"]) == 1
    return json.loads(capsys.readouterr().out)["findings"]  # type: ignore[no-any-return]


def of(found: list[dict[str, object]], name: str) -> dict[str, object]:
    return next(each for each in found if each["name"] == name)


def test_one_user_for_everything_is_not_separated(capsys: pytest.CaptureFixture[str], isolated: Path) -> None:
    assert of(findings(capsys, "--hands"), "hands")["ok"] is False
    assert not (isolated / ".ion").exists(), "an examination makes nothing"
    deployment = Deployment.make(isolated / ".ion")
    deployment.client.close()
    found = findings(capsys, "--hands")
    assert "who can sign" in str(of(found, "hands")["found"])
    assert of(found, "keys")["ok"] is True
    (isolated / ".ion" / "keys").chmod(0o755)
    (isolated / ".ion" / "keys" / "decision.pem").chmod(0o644)
    assert "decision.pem" in str(of(findings(capsys, "--hands"), "keys")["found"])


@pytest.mark.parametrize("location", ["keys", "elsewhere"])
def test_a_hand_of_the_same_user_reaches_everything(
    capsys: pytest.CaptureFixture[str], isolated: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    home = Home(isolated / ".ion")
    Deployment.make(home.root).client.close()
    (home.hands / "train" / "spool").mkdir(parents=True)
    if location == "elsewhere":
        (home.keys / "decision.pem").rename(isolated / "d.pem")
        monkeypatch.setenv("ION_DECISION_KEY", f"file:{isolated / 'd.pem'}")
    monkeypatch.setenv("ION_STORE_URL", "spool:train")
    found = findings(capsys, "--hands")
    assert {name for name in ("keys", "store", "trust", "hand") if of(found, name)["ok"]} == set()
    assert "can be used by everybody" in str(of(found, "hand")["found"])
    (home.hands / "train").chmod(0o750)
    (home.hands / "train" / "spool").chmod(0o700)
    assert "cannot take facts over" in str(of(findings(capsys, "--hands"), "hand")["found"])
    (home.hands / "train" / "spool").chmod(0o2770)
    assert of(findings(capsys, "--hands"), "hand")["ok"] is True


def test_a_command_that_asks_the_store_says_why_a_hand_cannot(
    capsys: pytest.CaptureFixture[str], isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (isolated / ".ion").mkdir()
    monkeypatch.setenv("ION_STORE_URL", "spool:train")
    assert run(["models", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "store-elsewhere"
    (isolated / ".ion" / "hands" / "train" / "spool").mkdir(parents=True)
    examined = {each["name"]: each for each in _examined(capsys)}
    assert examined["state"]["ok"] is True


def _examined(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    capsys.readouterr()
    run(["doctor", "--json"])
    return json.loads(capsys.readouterr().out)["findings"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("server", "ok", "said"),
    [
        ("python_module: {module_name: m, location_name: assets}", False, "assets is loaded by Dagster itself"),
        ("grpc_server: {host: h, port: 4000, location_name: assets}", False, "listens on port 4000"),
        ("grpc_server: {socket: /nowhere/code.sock, location_name: assets}", True, "/nowhere/code.sock"),
    ],
)
def test_where_code_locations_run(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
    ok: bool,  # noqa: FBT001 - a column of the table
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workspace.yaml").write_text(f"load_from:\n  - {server}\n")
    found = of(findings(capsys, "--hands"), "code locations")
    assert found["ok"] is ok
    assert said in str(found["found"])


@pytest.mark.parametrize("content", ["", "load_from: 3", ": [", "load_from: [x]"])
def test_a_workspace_that_cannot_be_read_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workspace.yaml").write_text(content)
    assert of(findings(capsys, "--hands"), "code locations")["ok"] is False


def test_root_is_told_to_ask_as_somebody_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert of(findings(capsys, "--hands"), "user")["ok"] is (os.geteuid() != 0)
