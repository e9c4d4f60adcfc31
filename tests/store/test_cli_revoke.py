"""`ion revoke`, and how the answering commands show what it did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ion.cli import run
from ion.decision import Policy, PolicySet
from ion.graph import Definition, define, explain
from ion.testing import DEFINITION, SERVING, Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.testing import Trained


@pytest.fixture
def deployment(isolated: Path) -> Iterator[Deployment]:
    made = Deployment.make(isolated / ".ion")
    nodes = [
        {**node, "on_revocation": "fall_back"} if node["name"] == "predictions" else node
        for node in DEFINITION["nodes"]  # type: ignore[attr-defined]
    ]
    define(made.store, Definition.from_json({**DEFINITION, "nodes": nodes}))
    yield made
    made.close()


def promote(deployment: Deployment, weight: float) -> Trained:
    trained = deployment.train(weight=weight)
    policies = PolicySet("fixed", (Policy("fixed", {}, lambda _: ("approve", "as asked")),), 30, {}, "tests")
    (outcome,) = deployment.govern(lambda _: policies)
    assert outcome.promoted
    return trained


def answered(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, object]:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert run(arguments) == code
    return " ".join(capsys.readouterr().out.split())


def revoke(capsys: pytest.CaptureFixture[str], trained: Trained, reason: str = "mislabelled rows") -> dict[str, object]:
    return answered(capsys, "revoke", trained.model[7:19], "--node", SERVING, "--reason", reason)


def test_revoke_tells_what_serves_now(
    capsys: pytest.CaptureFixture[str], deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "sam")
    first, second, third = (promote(deployment, weight) for weight in (1.0, 1.1, 1.2))
    told = {"node": SERVING, "reason": "mislabelled rows", "by": "sam"}
    assert revoke(capsys, second) == {
        **told, "model": second.model, "serial": 4, "served": False, "serves_now": third.model,
    }  # fmt: skip
    assert revoke(capsys, third) == {
        **told, "model": third.model, "serial": 5, "served": True, "serves_now": first.model,
    }  # fmt: skip
    assert answered(capsys, "audit", "verify")["ok"] is True
    text = said(capsys, "revoke", first.model, "--node", SERVING, "--reason", "all of them")
    assert f"never serves {first.model[7:19]} again, serial 7, by sam" in text
    assert "the node has stopped" in text
    assert answered(capsys, "audit", "verify")["ok"] is True


def test_models_timeline_and_why_show_what_was_revoked(
    capsys: pytest.CaptureFixture[str], deployment: Deployment
) -> None:
    first, second = promote(deployment, 1.0), promote(deployment, 1.1)
    before = deployment.serve()
    revoke(capsys, second)
    after = deployment.serve()
    models = answered(capsys, "models")["models"]
    assert isinstance(models, list)
    assert {entry["model"]: (entry["serving"], entry["revoked"]) for entry in models} == {
        first.model: ([SERVING], []),
        second.model: ([], [SERVING]),
    }
    assert {entry["model"]: entry["predictions"] for entry in models} == {first.model: 5, second.model: 5}
    assert f"revoked for {SERVING}" in said(capsys, "models")
    timeline = said(capsys, "timeline", "patient_tests")
    assert f"model {second.model[7:19]} withdrawn" in timeline
    assert f"went back to model {first.model[7:19]}" in timeline
    for served, words in ((before, "model revoked"), (after, "gone back to")):
        explained = explain(deployment.store, served.predictions[0], deployment.home)
        assert {hole.what for hole in explained.gaps} <= {"component", "code"}, "not what this scene leaves out"
        told = said(capsys, "why", str(served.predictions[0]), code=1)
        assert words in told
        assert "mislabelled rows" in told
    (decision,) = explain(deployment.store, after.predictions[0], deployment.home).decisions
    (back,) = decision["rollbacks"]  # type: ignore[misc]
    assert (back["serial"], back["previous"], back["signature"]) == (4, second.model, "verified")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["0" * 12, "--node", SERVING, "--reason", "x"], "unknown-model"),
        (["0" * 12, "--node", "nothing", "--reason", "x"], "bad-node"),
        (["--node", SERVING, "--reason", "x"], "usage"),
        (["0" * 12, "--reason", "x"], "usage"),
        (["0" * 12, "--node", SERVING], "usage"),
    ],
)
def test_what_cannot_be_revoked_is_an_error(
    capsys: pytest.CaptureFixture[str], deployment: Deployment, arguments: list[str], code: str
) -> None:
    assert deployment.store.head().position
    error = answered(capsys, "revoke", *arguments, code=2)["error"]
    assert isinstance(error, dict)
    assert error["code"] == code
