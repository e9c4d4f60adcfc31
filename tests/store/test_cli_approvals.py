from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ion.cli import run
from ion.facts import AlertRaised, ApprovalGiven
from ion.home import Home
from ion.testing import SERVING, Deployment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    made = Deployment.make(tmp_path / "home")
    monkeypatch.setenv("ION_HOME", str(made.home.root))
    monkeypatch.setenv("ION_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("ION_KEY_PASSPHRASE", "a long one")
    return made


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    capsys.readouterr()
    code = run([*words, "--json"])
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    assert code == 0, told
    return told


def introduced(capsys: pytest.CaptureFixture[str], person: str) -> None:
    public = asked(capsys, "keys", "new", person)["public"]
    asked(capsys, "trust", "add", person, "--name", person.title(), "--role", "approver", "--key", str(public))


def test_a_person_signs_with_an_own_key_and_pending_tells_who_may_still(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    introduced(capsys, "anna")
    introduced(capsys, "ben")
    asked(capsys, "trust", "require", SERVING, "--role", "approver", "--quorum", "2")
    model = deployment.train().model
    deployment.govern()
    (waiting,) = asked(capsys, "pending")["pending"]  # type: ignore[misc]
    assert waiting["model"] == model
    assert waiting["asked"][0]["may"] == ["anna", "ben"]
    told = asked(
        capsys, "approve", model[7:19], "--node", SERVING, "--reason", "it was tried", "--key", "anna", "--yes"
    )
    assert (told["person"], told["word"], told["model"]) == ("anna", "approve", model)
    deployment.govern()
    (waiting,) = asked(capsys, "pending", "--person", "ben")["pending"]  # type: ignore[misc]
    assert waiting["asked"][0] == {"role": "approver", "quorum": 2, "approved": ["anna"], "may": ["ben"]}
    assert asked(capsys, "pending", "--person", "anna")["pending"] == []
    asked(capsys, "reject", model, "--node", SERVING, "--reason", "no", "--key", "ben")
    deployment.govern()
    assert asked(capsys, "pending")["pending"] == []
    assert [r.fact.verdict for r in deployment.store.find(ApprovalGiven)] == ["approve", "reject"]
    assert run(["pending"]) == 0
    assert "Nothing waits" in capsys.readouterr().out


def test_what_is_printed_is_recorded_nowhere_and_a_foreign_statement_is_refused(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    introduced(capsys, "anna")
    model = deployment.train().model
    capsys.readouterr()
    words = ["approve", model, "--node", SERVING, "--reason", "it was tried", "--key", "anna"]
    assert run([*words, "--print"]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 1
    assert deployment.store.find(ApprovalGiven) == []
    asked(capsys, "keys", "new", "eve")
    capsys.readouterr()
    assert run([*words[:-1], "eve", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unknown-person"
    assert run([*words[:-1], "eve", "--person", "anna", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "approval-refused"
    assert [r.fact.alert for r in deployment.store.find(AlertRaised)] == ["approval-refused"]
    assert Home.find() == deployment.home
