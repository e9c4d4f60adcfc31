"""`ion keys` and `ion trust`: what people type, what is kept where, what is refused."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ion.cli import run
from ion.evidence import load_public, load_signer, load_trust
from ion.evidence.key_folder import file_uri
from ion.facts import TrustChanged
from ion.home import Home
from ion.store import open_store
from ion.testing import SERVING, Deployment


@pytest.fixture
def home(isolated: Path) -> Home:
    """A deployment with a store, in the state root that commands find by themselves."""
    deployment = Deployment.make(isolated / ".ion")
    deployment.close()
    return deployment.home


@pytest.fixture
def keys(isolated: Path) -> Path:
    return isolated / ".config" / "ion" / "keys"


def ion(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """Run with --json and return the document."""
    capsys.readouterr()
    returned = run([*map(str, arguments), "--json"])
    printed = capsys.readouterr()
    assert returned == code, printed
    found = json.loads(printed.out)
    assert isinstance(found, dict)
    return found


def error(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    return str(ion(capsys, *arguments, code=2)["error"]["code"])


def text(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    capsys.readouterr()
    assert run([*map(str, arguments)]) == code
    return capsys.readouterr().out


def new(capsys: pytest.CaptureFixture[str], name: str) -> Path:
    return Path(ion(capsys, "keys", "new", name, "--no-passphrase")["public"])


def recorded(home: Home) -> list[TrustChanged]:
    store = open_store(home.store_url)
    try:
        return [record.fact for record in store.find(TrustChanged)]
    finally:
        store.close()


# Keys -------------------------------------------------------------------------------------------------


def test_a_new_key_is_private_under_a_passphrase_and_outside_the_deployment(
    capsys: pytest.CaptureFixture[str], home: Home, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert error(capsys, "keys", "new", "anna") == "key-passphrase"
    monkeypatch.setenv("ION_KEY_PASSPHRASE", "geheim")
    made = ion(capsys, "keys", "new", "anna")
    path = keys / "anna.pem"
    assert (made["private"], made["public"]) == (str(path), str(keys / "anna.pub.pem"))
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, keys)] == [0o600, 0o700]
    assert load_signer(file_uri(path)).public.key_id == made["key"] == load_public(keys / "anna.pub.pem").key_id
    monkeypatch.delenv("ION_KEY_PASSPHRASE")
    before = path.read_bytes()
    assert error(capsys, "keys", "new", "anna", "--no-passphrase") == "key-exists"
    assert path.read_bytes() == before
    assert error(capsys, "keys", "new", "decision") == "bad-key-name"
    inside = home.root / "keys" / "mine.pem"
    assert error(capsys, "keys", "new", "mine", "--no-passphrase", "-o", inside) == "key-place"
    assert not inside.exists()
    monkeypatch.setenv("ION_KEYS", str(home.root / "own"))
    assert error(capsys, "keys", "new", "mine", "--no-passphrase") == "key-place"


def at_a_terminal(answers: list[str], *arguments: str) -> tuple[int, str]:
    """Run the command as at a terminal, type an answer at each prompt, and return exit code and what was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "ion.cli", *arguments])  # noqa: S606
    shown = b""
    while True:
        try:
            data = os.read(terminal, 1024)
        except OSError:  # the other end was closed
            break
        shown += data
        if data.rstrip().endswith(b":") and answers:  # a line end after the prompt is no second prompt
            os.write(terminal, answers.pop(0).encode() + b"\n")
        if not data:
            break
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_at_a_terminal_a_passphrase_is_asked_for_twice_then_once_and_never_shown(home: Home, keys: Path) -> None:
    code, shown = at_a_terminal(["geheim", "geheim"], "keys", "new", "anna")
    assert code == 0, shown
    assert shown.count("Passphrase of anna") == 1
    assert "geheim" not in shown
    signer = load_signer(file_uri(keys / "anna.pem"), lambda _: "geheim")
    assert signer.public == load_public(keys / "anna.pub.pem")
    code, shown = at_a_terminal(["geheim"], "trust", "init", "--root-key", "anna")
    assert code == 0, shown
    assert "geheim" not in shown
    assert load_trust(home).signed_by == signer.public.key_id
    code, shown = at_a_terminal(["falsch"], "trust", "init", "--root-key", "anna")
    assert (code, "key-passphrase" in shown) == (2, True)


def test_a_key_goes_where_it_is_wanted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = ion(capsys, "keys", "new", "root2", "--no-passphrase", "-o", tmp_path / "usb" / "root.pem")
    assert made["public"] == str(tmp_path / "usb" / "root.pub.pem")
    assert ion(capsys, "keys", "list")["keys"] == []


def test_listed_keys_come_with_what_the_trust_document_says(
    capsys: pytest.CaptureFixture[str], home: Home, keys: Path
) -> None:
    assert home
    anna = new(capsys, "anna")
    assert ion(capsys, "keys", "list")["keys"][0]["state"] == "not in the trust document"
    until = ("--until", "2200-01-01")
    ion(capsys, "trust", "add", "aweber", "--name", "Anna", "--role", "approver", "--key", anna, *until)
    (listed,) = ion(capsys, "keys", "list")["keys"]
    assert (listed["person"], listed["roles"], listed["state"]) == (
        "aweber", ["approver"], "counts until 2200-01-01T00:00:00Z",
    )  # fmt: skip
    ion(capsys, "keys", "revoke", "anna", "--reason", "lost")
    assert "revoked" in ion(capsys, "keys", "list")["keys"][0]["state"]
    assert "aweber (approver), revoked" in text(capsys, "keys", "list")
    (keys / "anna.pub.pem").write_bytes(b"nonsense")
    assert "holds no public key" in ion(capsys, "keys", "list")["keys"][0]["state"]


def test_without_a_deployment_own_keys_are_listed_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    new(capsys, "anna")
    assert ion(capsys, "keys", "list")["keys"][0]["state"] == "no trust document here"
    assert ion(capsys, "keys", "list")["trust"] is None


def test_rotating_and_revoking_are_recorded_with_their_reason(
    capsys: pytest.CaptureFixture[str], home: Home, keys: Path
) -> None:
    before = load_signer(home.decision_key_uri).public
    rotated = ion(capsys, "keys", "rotate", "decision")
    assert load_signer(home.decision_key_uri).public.key_id == rotated["key"] != before.key_id
    anna = new(capsys, "anna")
    ion(capsys, "trust", "add", "anna", "--name", "Anna", "--key", anna)
    ion(capsys, "keys", "rotate", "anna", "--no-passphrase")
    assert (keys / "old").is_dir()
    revoked = ion(capsys, "keys", "revoke", before.key_id[7:20], "--reason", "stolen", "--since", "2020-01-01")
    assert (revoked["owner"], revoked["key"]) == ("decision", before.key_id)
    facts = recorded(home)
    assert [fact.version for fact in facts] == [2, 3, 4, 5]
    assert facts[-1].reason == "stolen"
    assert all(fact.by for fact in facts)
    assert not load_trust(home).root("decision").covers(before.key_id, 1_600_000_000_000_000)
    assert error(capsys, "keys", "rotate", "nobody") == "key-missing"
    assert error(capsys, "keys", "revoke", "00000000", "--reason", "x") == "unknown-key"
    for never in ("soon", "2999-01-01", "0001-01-01"):
        assert error(capsys, "keys", "revoke", "anna", "--reason", "x", "--since", never) == "bad-time"


def test_what_the_old_decision_key_signed_is_admitted_after_a_rotation(
    capsys: pytest.CaptureFixture[str], isolated: Path
) -> None:
    deployment = Deployment.make(isolated / ".ion")
    trained = deployment.train()
    deployment.govern()
    old = deployment.signer.public.key_id
    ion(capsys, "keys", "rotate", "decision")
    deployment.signer = load_signer(deployment.home.decision_key_uri)
    assert deployment.signer.public.key_id != old
    trail = ion(capsys, "audit", "trail", "--model", trained.model)["trail"]
    signed = {line["kind"]: line["signature"] for line in trail if line["signature"]["verified"] is not None}
    assert set(signed) == {"DecisionMade", "Promoted"}
    assert all(each["verified"] for each in signed.values())
    ion(capsys, "keys", "revoke", old, "--reason", "stolen", "--since", "beginning")
    trail = ion(capsys, "audit", "trail", "--model", trained.model)["trail"]
    assert [line["signature"]["verified"] for line in trail if line["kind"] == "DecisionMade"] == [False]
    deployment.close()


# Trust ------------------------------------------------------------------------------------------------


def test_people_come_change_and_go_each_in_a_version_of_its_own(capsys: pytest.CaptureFixture[str], home: Home) -> None:
    anna, ben = new(capsys, "anna"), new(capsys, "ben")
    added = ion(
        capsys, "trust", "add", "anna", "--name", "Anna Weber", "--role", "approver", "--role", "submitter",
        "--key", anna, "--alias", "anna@example.org",
    )  # fmt: skip
    assert added["version"] == 2
    ion(capsys, "trust", "add", "ben", "--name", "Ben", "--role", "approver", "--key", ben)
    assert error(capsys, "trust", "add", "carl", "--name", "Carl", "--key", ben) == "key-taken"
    assert error(capsys, "trust", "add", "carl", "--name", "C", "--alias", "ANNA@example.org") == "bad-trust"
    ion(capsys, "trust", "require", SERVING, "--quorum", "2")
    shown = ion(capsys, "trust", "show")
    assert shown["verified"] is True
    assert [(p["id"], p["roles"]) for p in shown["people"]] == [
        ("anna", ["submitter", "approver"]),
        ("ben", ["approver"]),
    ]
    assert shown["requirements"] == [{"node": SERVING, "quorum": 2, "role": "approver"}]
    ion(capsys, "trust", "remove", "anna", "--reason", "left")
    ion(capsys, "trust", "require", SERVING, "--quorum", "0")
    document = load_trust(home).document
    assert (document.version, [person.id for person in document.people], document.requirements) == (6, ["ben"], ())
    assert [fact.version for fact in recorded(home)] == [2, 3, 4, 5, 6]
    assert recorded(home)[3].reason == "left"
    assert error(capsys, "trust", "remove", "anna") == "unknown-person"
    assert error(capsys, "trust", "require", "nowhere", "--quorum", "1") == "bad-node"
    told = text(capsys, "trust", "show")
    assert "ben: Ben, approver" in told


def test_a_root_that_is_not_here_changes_nothing_here(
    capsys: pytest.CaptureFixture[str], home: Home, tmp_path: Path
) -> None:
    offline = tmp_path / "root.pem"
    (home.keys / "root.pem").rename(offline)
    assert error(capsys, "trust", "require", SERVING, "--quorum", "1") == "root-key-missing"
    assert error(capsys, "keys", "rotate", "decision") == "root-key-missing"
    ion(capsys, "keys", "new", "thief", "--no-passphrase")
    assert error(capsys, "trust", "require", SERVING, "--quorum", "1", "--root-key", "thief") == "wrong-root"
    assert ion(capsys, "trust", "require", SERVING, "--quorum", "1", "--root-key", offline)["version"] == 2


def test_a_document_is_changed_where_the_root_is_and_installed_where_it_counts(
    capsys: pytest.CaptureFixture[str], home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine with the root key has no store and no deployment; a file goes there and back."""
    ion(capsys, "keys", "new", "safe", "--no-passphrase", "-o", tmp_path / "usb" / "root.pem")
    ion(capsys, "trust", "init", "--root-key", tmp_path / "usb" / "root.pem", "--days", "30")
    (home.keys / "root.pem").unlink()
    usb = tmp_path / "usb" / "trust.json"
    usb.write_bytes(home.trust_document.read_bytes())
    with monkeypatch.context() as there:
        there.setenv("ION_HOME", str(tmp_path / "nothing here"))
        root = ("--trust", usb, "--root-key", tmp_path / "usb" / "root.pem")
        ion(capsys, "trust", "add", "anna", "--name", "Anna", "--role", "approver", *root)
        shown = ion(capsys, "trust", "show", "--trust", usb, "--root", tmp_path / "usb" / "root.pub.pem")
        assert (shown["verified"], shown["version"]) == (True, 3)
        assert not (tmp_path / "nothing here").exists()
    installed = ion(capsys, "trust", "install", usb, "--reason", "Anna is an approver")
    assert installed["version"] == 3
    assert [person.id for person in load_trust(home).document.people] == ["anna"]
    assert recorded(home)[-1].reason == "Anna is an approver"
    assert error(capsys, "trust", "install", usb) == "trust-older"
    assert error(capsys, "trust", "install", tmp_path / "absent.json") == "trust-missing"


def test_a_copy_that_is_changed_beside_the_deployment_is_not_in_force(
    capsys: pytest.CaptureFixture[str], home: Home, tmp_path: Path
) -> None:
    copied = tmp_path / "trust.json"
    copied.write_bytes(home.trust_document.read_bytes())
    (tmp_path / "root.pub.pem").write_bytes(home.root_public.read_bytes())
    ion(capsys, "trust", "require", SERVING, "--quorum", "2", "--trust", copied)
    assert load_trust(home).document.version == 1
    assert recorded(home) == []
    assert ion(capsys, "trust", "show", "--trust", copied)["version"] == 2


def test_a_first_document_can_be_made_before_the_deployment(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("root", "decision", "ledger"):
        ion(capsys, "keys", "new", f"{name}-key", "--no-passphrase", "-o", tmp_path / f"{name}.pem")
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "m.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "m.pem", "-pubout", "-out", tmp_path / "m.pub.pem"], check=True
    )
    document = tmp_path / "signed" / "trust.json"
    init = ("trust", "init", "--trust", document, "--root-key", tmp_path / "root.pem", "--days", "10")
    assert error(capsys, *init) == "usage"
    named = ("--decision-key", tmp_path / "decision.pub.pem", "--ledger-key", tmp_path / "ledger.pub.pem")
    assert error(capsys, *init, *named, "--model-key", tmp_path / "ledger.pub.pem") == "bad-key"
    assert ion(capsys, *init, *named, "--model-key", tmp_path / "m.pub.pem")["version"] == 1
    assert error(capsys, *init[:2], *named) == "usage"
    monkeypatch.setenv("ION_DECISION_KEY", file_uri(tmp_path / "decision.pem"))
    monkeypatch.setenv("ION_LEDGER_KEY", file_uri(tmp_path / "ledger.pem"))
    ion(capsys, "trust", "install", document, "--root", tmp_path / "root.pub.pem")
    trust = load_trust(Home.find())
    assert trust.root("decision").keys == (load_signer(Home.find().decision_key_uri).public,)
    assert trust.document.models[0].encode() == (tmp_path / "m.pub.pem").read_bytes()
    from ion.dagster.governing import decision_signer

    assert decision_signer(Home.find()).public == load_public(tmp_path / "decision.pub.pem")


def test_what_is_not_to_be_believed_is_shown_as_that_and_nothing_of_it(
    capsys: pytest.CaptureFixture[str], home: Home, tmp_path: Path
) -> None:
    ion(capsys, "trust", "add", "anna", "--name", "Anna")
    envelope = home.trust_document.read_bytes()
    home.trust_document.write_bytes(envelope.replace(b'"payload":"e', b'"payload":"f', 1))
    shown = ion(capsys, "trust", "show", code=1)
    assert set(shown) == {"verified", "reason"}
    assert shown["verified"] is False
    assert "not to be believed" in text(capsys, "trust", "show", code=1)
    home.trust_document.write_bytes(envelope)
    other = tmp_path / "other.pem"
    ion(capsys, "keys", "new", "other", "--no-passphrase", "-o", other)
    assert ion(capsys, "trust", "show", "--root", tmp_path / "other.pub.pem", code=1)["verified"] is False


def test_an_expired_document_is_shown_and_renewed_by_its_root_only(
    capsys: pytest.CaptureFixture[str], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = load_trust(home).document.expires + 1
    for module in ("ion.evidence.trust", "ion.evidence.trust_signing", "ion.cli.trust", "ion.cli.signing"):
        monkeypatch.setattr(f"{module}.now_us", lambda: later)
    shown = ion(capsys, "trust", "show", code=1)
    assert (shown["verified"], shown["reason"], shown["version"]) == (False, "it has expired", 1)
    assert error(capsys, "trust", "require", SERVING, "--quorum", "1") == "trust-expired"
    assert ion(capsys, "trust", "init", "--days", "5")["version"] == 2
    assert ion(capsys, "trust", "show")["verified"] is True


def test_nothing_is_shown_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert error(capsys, "trust", "show") == "trust-missing"
