"""The commands that sign, prove, check and witness; `ion audit check` needs neither store nor state folder."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from ion.cli import run
from ion.evidence import create_key, load_signer, write_public
from ion.ledger import NoteKey
from tests.store.ledger_scene import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Say = Callable[..., dict[str, Any]]


@pytest.fixture
def ledger(isolated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A ledger of ten facts where commands find it; the working folder is another, with the log's public key in it."""
    made = Ledger.make(isolated / ".ion")
    made.tell(10)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    write_public(tmp_path / "work" / "log.pem", load_signer(made.home.ledger_key_uri).public)
    yield made
    made.close()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Run with --json; returns the one document."""

    def asked(*arguments: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert run([*arguments, "--json"]) == code
        found = json.loads(capsys.readouterr().out)
        assert isinstance(found, dict)
        return found

    return asked


def text(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert run(arguments) == code
    return capsys.readouterr().out


def elsewhere(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a machine that has nothing of the deployment."""
    ledger.close()
    shutil.rmtree(ledger.home.root)
    monkeypatch.setenv("ION_HOME", "/nowhere")


def test_a_checkpoint_is_printed_and_made_only_once(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], say: Say
) -> None:
    first = say("audit", "checkpoint")
    assert (first["size"], first["new"], first["origin"]) == (10, True, ledger.store.ledger.origin())
    assert NoteKey.parse(first["key"]).name == first["origin"]
    assert say("audit", "checkpoint")["new"] is False
    assert text(capsys, "audit", "checkpoint") == first["note"]


def test_an_empty_ledger_has_nothing_to_sign(isolated: Path, say: Say) -> None:
    Ledger.make(isolated / ".ion").close()
    assert say("audit", "checkpoint", code=2)["error"]["code"] == "no-checkpoint"


@pytest.mark.parametrize("by", ["pem", "vkey", "trust"])
def test_a_fact_is_proven_and_checked_on_another_machine(
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    say: Say,
    by: str,
) -> None:
    vkey = say("audit", "checkpoint")["key"]
    made = say("audit", "prove", "agent-1:4", "-o", "fact.json")
    assert made == {"position": 5, "output": "fact.json"}
    assert run(["audit", "prove", "5", "-o", "fact.tlog-proof", "--record", "record"]) == 0
    shutil.copytree(ledger.home.root / "trust", tmp_path / "work" / "trust")
    elsewhere(ledger, monkeypatch)
    known = {"pem": ("--key", "log.pem"), "vkey": ("--key", vkey), "trust": ("--trust", "trust/trust.json")}[by]
    expected = {"ok": True, "position": 5, "size": 10, "kind": "ParamRecorded", "agent": "agent-1", "id": "agent-1:4"}
    for proof in (("fact.json",), ("fact.tlog-proof", "--record", "record")):
        told = say("audit", "check", *proof, *known)
        assert {name: told[name] for name in expected} == expected
    with (tmp_path / "work" / "record").open("ab") as file:
        file.write(b" ")
    told = say("audit", "check", "fact.tlog-proof", "--record", "record", *known, code=1)
    assert (told["ok"], "not record 5" in told["reason"]) == (False, True)


def test_a_proof_needs_a_key_and_the_record(ledger: Ledger, say: Say) -> None:
    ledger.sign()
    assert run(["audit", "prove", "1", "-o", "p"]) == 0
    assert say("audit", "check", "p", code=2)["error"]["code"] == "no-log-key"
    assert say("audit", "check", "p", "--key", "log.pem", code=2)["error"]["code"] == "usage"
    assert say("audit", "check", "p", "--key", "log.pem", "--trust", "t", code=2)["error"]["code"] == "usage"
    assert say("audit", "check", "missing", "--key", "log.pem", code=2)["error"]["code"] == "no-file"
    assert say("audit", "check", "p", "--record", "p", "--key", "a+b", code=2)["error"]["code"] == "bad-note-key"
    assert say("audit", "prove", "12", code=2)["error"]["code"] == "unknown-fact"


def test_a_proof_under_another_key_does_not_hold(ledger: Ledger, tmp_path: Path, say: Say) -> None:
    ledger.sign()
    write_public(tmp_path / "work" / "other.pem", create_key(tmp_path / "other.pem"))
    assert run(["audit", "prove", "1", "-o", "p", "--record", "r"]) == 0
    assert say("audit", "check", "p", "--record", "r", "--key", "other.pem", code=1)["ok"] is False


def test_a_witness_elsewhere_follows_the_ledger_and_refuses_an_older_one(
    ledger: Ledger,
    tmp_path: Path,
    say: Say,
    capsys: pytest.CaptureFixture[str],
) -> None:
    create_key(tmp_path / "witness.pem")
    witness = ("audit", "witness", "--state", "witness.json")
    ledger.sign()
    assert run(["audit", "consistency", "0", "-o", "first"]) == 0
    assert say(*witness, "first", code=2)["error"]["code"] == "no-log-key"
    told = say(*witness, "first", "--key", "log.pem")
    assert (told["ok"], told["size"], told["seen"]) == (True, 10, None)
    ledger.tell(10)
    ledger.sign()
    assert run(["audit", "consistency", "10", "-o", "second"]) == 0
    sign = ("--sign", f"file:{tmp_path / 'witness.pem'}", "--name", "witness.example/w1", "-o", "cosigned.note")
    told = say(*witness, "second", *sign)
    assert (told["size"], told["seen"]) == (21, 10)
    refused = say(*witness, "first", code=1)
    assert refused["refused"]["kind"] == "rolled-back"
    assert "rolled-back" in text(capsys, *witness, "first", code=1)

    # Note and proof in two files; a proof from elsewhere; a forged head.
    (tmp_path / "work" / "note").write_bytes((ledger.home.checkpoints / "21.note").read_bytes())
    assert say(*witness, "note", "--consistency", "second")["seen"] == 21
    assert say(*witness, "note", "--consistency", "first", code=2)["error"]["code"] == "wrong-proof"
    (tmp_path / "work" / "forged").write_bytes((tmp_path / "work" / "note").read_bytes().replace(b"\n21\n", b"\n22\n"))
    assert say(*witness, "forged", code=1)["refused"]["kind"] == "unverified"

    # What the witness signed goes with the proof.
    assert run(["audit", "prove", "3", "--checkpoint", "cosigned.note", "-o", "p", "--record", "r"]) == 0
    check = ("audit", "check", "p", "--record", "r", "--key", "log.pem")
    assert isinstance(say(*check, "--witness", told["key"])["witnesses"][told["key"]], int)
    create_key(tmp_path / "other.pem")
    other = NoteKey.of("witness.example/w1", load_signer(f"file:{tmp_path / 'other.pem'}").public, 4)
    assert "not cosigned by witness.example/w1" in say(*check, "--witness", str(other), code=1)["reason"]


def test_a_witness_asks_the_store_itself(ledger: Ledger, tmp_path: Path, say: Say) -> None:
    witness = ("audit", "witness", "--state", str(tmp_path / "witness.json"))
    assert say(*witness, code=2)["error"]["code"] == "no-checkpoint"
    ledger.sign()
    assert say(*witness)["size"] == 10
    live, backup = sqlite3.connect(ledger.home.root / "store.db"), sqlite3.connect(tmp_path / "backup.db")
    with closing(live), closing(backup):
        live.backup(backup)
    ledger.tell(10)
    ledger.sign()
    assert say(*witness)["seen"] == 10
    ledger.close()
    for path in ledger.home.root.glob("store.db*"):
        path.unlink()
    shutil.copy(tmp_path / "backup.db", ledger.home.root / "store.db")
    assert say(*witness, code=1)["refused"]["kind"] == "rolled-back"


def test_the_audit_compares_with_notes_from_elsewhere_and_from_git(
    ledger: Ledger,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    say: Say,
) -> None:
    (tmp_path / "work" / "kept.note").write_bytes(ledger.sign().note.to_bytes())
    for command in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "x")):
        subprocess.run(["git", *command], check=True, cwd=tmp_path / "work")
    assert say("audit", "anchor", "--git", ".")["tag"] == "ion-checkpoint-10"
    assert "ion-checkpoint-10" in text(capsys, "audit", "anchor", "--git", ".")
    assert say("audit", "verify", "--against", "kept.note", "--git", ".")["checkpoints"] == 5
    ledger.rewrite(lambda rows: rows.__delitem__(slice(5, None)), relink=True)
    shutil.rmtree(ledger.home.checkpoints)
    for given in (("--against", "kept.note"), ("--git", ".")):
        found = say("audit", "verify", *given, code=1)
        assert ("truncated", 6) in [(problem["kind"], problem["position"]) for problem in found["problems"]]
    assert "truncated at 6" in text(capsys, "audit", "verify", "--against", "kept.note", code=1)
    assert say("audit", "verify", "--against", "missing", code=2)["error"]["code"] == "no-file"
    assert say("audit", "verify", "--git", str(tmp_path), code=2)["error"]["code"] == "git-failed"
