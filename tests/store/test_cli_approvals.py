"""`ion approve`, `ion reject` and `ion pending`, with keys made by `ion keys new`."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING

import pytest

from ion.cli import run
from ion.evidence.approvals import ApprovalStatement
from ion.evidence.envelope import unverified_payload
from ion.evidence.in_toto import PAYLOAD_TYPE
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
    model = deployment.train(submitter="carol").model
    deployment.govern()
    (waiting,) = asked(capsys, "pending")["pending"]  # type: ignore[misc]
    assert waiting["model"] == model
    assert waiting["asked"][0]["may"] == ["anna", "ben"]
    told = asked(
        capsys, "approve", model[7:19], "--node", SERVING, "--reason", "it was tried", "--key", "anna", "--yes"
    )
    assert (told["person"], told["word"], told["model"]) == ("anna", "approve", model)
    (counted,) = told["asked"]  # type: ignore[misc]
    assert (counted["approved"], counted["quorum"], counted["not_counted"]) == (["anna"], 2, [])
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
    assert run([*words[:-1], "eve", "--person", "anna", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "approval-refused"
    assert [r.fact.alert for r in deployment.store.find(AlertRaised)] == ["approval-refused"]
    assert Home.find() == deployment.home


def test_whoever_made_the_model_is_told_that_the_signature_does_not_count(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    introduced(capsys, "anna")
    asked(capsys, "trust", "require", SERVING, "--role", "approver", "--quorum", "1")
    model = deployment.train(submitter="Anna").model
    deployment.govern()
    words = ["--node", SERVING, "--reason", "I made it"]
    assert run(["approve", model, *words]) == 0  # the only key there is
    assert "not counted: anna submitted the model" in capsys.readouterr().out
    assert [outcome.verdict for outcome in deployment.govern()] == ["defer"]


def test_a_signature_counts_until_the_date_that_is_given(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    introduced(capsys, "anna")
    model = deployment.train(submitter="carol").model
    words = ["approve", model[7:15], "--node", SERVING, "--reason", "it was tried"]
    assert asked(capsys, *words, "--until", "2100-01-31")["until"] == "2100-01-31T00:00:00.000000Z"
    ninety = asked(capsys, *words)["until"]
    (first, second) = (record.fact for record in deployment.store.find(ApprovalGiven))
    assert second.until - second.issued == 90 * 86_400_000_000
    assert (first.person, second.person, ninety is not None) == ("anna", "anna", True)
    capsys.readouterr()
    assert run([*words, "--until", "2001-01-01", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bad-statement"


def test_a_statement_is_printed_without_a_store_and_without_a_trust_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the person's own machine there is nothing but the key."""
    monkeypatch.setenv("ION_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("ION_HOME", str(tmp_path / "nothing-here"))
    asked(capsys, "keys", "new", "anna", "--no-passphrase")
    model = "sha256:" + "1" * 64
    capsys.readouterr()
    assert run(["approve", model, "--node", SERVING, "--reason", "it was tried", "--person", "anna", "--print"]) == 0
    envelope = b64decode(capsys.readouterr().out)
    said = ApprovalStatement.from_payload(unverified_payload(envelope, PAYLOAD_TYPE))
    assert (said.person, said.model, said.address, said.word) == ("anna", model, SERVING, "approve")
    assert not (tmp_path / "nothing-here").exists()
