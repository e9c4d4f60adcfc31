"""``ion tokens`` issues, lists and revokes; ``ion server`` listens only where tokens do not cross in the clear."""

from __future__ import annotations

import json

import pytest

from ion.cli import run
from ion.facts import TokenIssued
from ion.home import Home
from ion.server.tokens import recognised
from ion.store import open_store


@pytest.fixture(autouse=True)
def deployed() -> None:
    open_store(Home.find().make().store_url).close()


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    status = run([*arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def issued(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
    status, told = asked(capsys, "tokens", "new", "--agent", "spark-*", "--ion", "patient_tests", *more)
    assert status == 0
    return told


def test_a_token_is_issued_listed_and_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    told = issued(capsys, "--node", "wines/model", "--until", "2199-01-31")
    assert told["nodes"] == ["patient_tests/*", "wines/model"]
    store = open_store(Home.find().store_url)
    assert recognised(store, str(told["secret"])).issued.token == told["token"]
    store.close()
    _, listed = asked(capsys, "tokens", "list")
    (row,) = listed["tokens"]  # type: ignore[misc]
    assert (row["token"], row["roles"], row["until"], row["problem"]) == (
        told["token"], ["agent"], "2199-01-31T00:00:00.000000Z", None
    )  # fmt: skip
    assert str(told["secret"]) not in json.dumps(listed)
    assert asked(capsys, "tokens", "revoke", str(told["token"]), "--reason", "gone")[0] == 0
    assert asked(capsys, "tokens", "revoke", str(told["token"]), "--reason", "gone")[0] == 1
    _, listed = asked(capsys, "tokens", "list")
    assert listed["tokens"][0]["problem"] == "it was revoked: gone"  # type: ignore[index]


def test_the_secret_alone_stands_on_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tokens", "new", "--agent", "*", "--ion", "*"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("ion1_")
    assert len(told.out.split()) == 1
    assert "not shown again" in told.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--agent", "x"], "bad-token-scope"),
        (["--ion", "x"], "bad-token-scope"),
        (["--role", "admin"], "bad-token-scope"),
        (["--role", "root", "--agent", "*", "--ion", "*"], "bad-token-scope"),
        (["--agent", "", "--ion", "x"], "bad-token-scope"),
        (["--agent", "*", "--node", "no_ion"], "bad-token-scope"),
        (["--agent", "*", "--ion", "x", "--until", "2020-01-01"], "bad-token-scope"),
        (["--agent", "*", "--ion", "x", "--until", "tomorrow"], "bad-time"),
    ],
)
def test_a_token_that_would_allow_nothing_is_not_issued(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: str
) -> None:
    status, told = asked(capsys, "tokens", "new", *arguments)
    assert (status, told["error"]["code"]) == (2, code)  # type: ignore[index]
    store = open_store(Home.find().store_url)
    assert store.find(TokenIssued) == []
    store.close()


def test_an_unknown_token_is_not_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    status, told = asked(capsys, "tokens", "revoke", "nonsense", "--reason", "x")
    assert (status, told["error"]["code"]) == (2, "unknown-token")  # type: ignore[index]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "governance.internal"])  # noqa: S104 - that is the point
def test_a_server_without_tls_listens_on_this_machine_only(capsys: pytest.CaptureFixture[str], host: str) -> None:
    assert run(["server", "--host", host]) == 2
    assert "[insecure-url]" in capsys.readouterr().err


def test_where_one_reports_to_a_server_no_store_is_opened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ION_STORE_URL", "https://governance.internal")
    for command in (["models"], ["tokens", "list"], ["audit", "verify"]):
        status, told = asked(capsys, *command)
        assert (status, told["error"]["code"]) == (2, "store-elsewhere")  # type: ignore[index]


def test_the_doctor_looks_at_the_server_that_is_reported_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ION_STORE_URL", "http://127.0.0.1:1")
    found = asked(capsys, "doctor")[1]
    assert "needs a token" in json.dumps(found)
    monkeypatch.setenv("ION_AGENT_TOKEN", "ion1_x")
    assert "127.0.0.1:1 does not answer" in json.dumps(asked(capsys, "doctor")[1])
