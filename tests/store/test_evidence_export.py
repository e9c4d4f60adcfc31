"""Evidence bundles: written from a real store, checked with our command and with other people's tools."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ion.audit.checkpoints import Checkpoints
from ion.cli import run
from ion.clock import now_us
from ion.decision import Policy, PolicySet
from ion.errors import IonError
from ion.facts import CheckpointSigned
from ion.interop.bundle import layout, verify_bundle
from ion.interop.bundle.exporting import export_bundle
from ion.testing import SERVING
from tests.store.bundle_scene import CODE, approved_by_people, approved_by_policies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.decision import Evidence, Verdict
    from tests.store.bundle_scene import Scene


@pytest.fixture
def scene(tmp_path: Path, store_url: str) -> Iterator[Scene]:
    made = approved_by_people(tmp_path, store_url)
    yield made
    made.deployment.close()


@pytest.fixture
def simple(tmp_path: Path) -> Iterator[Scene]:
    made = approved_by_policies(tmp_path)
    yield made
    made.deployment.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pae(envelope: dict[str, str]) -> bytes:
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    return f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload


def openssl_verifies(folder: Path, key: bytes, message: bytes, signature: bytes) -> bool:
    for name, data in (("key.pem", key), ("pae", message), ("sig", signature)):
        (folder / name).write_bytes(data)
    files = ("-inkey", "key.pem", "-in", "pae", "-sigfile", "sig")
    command = ("openssl", "pkeyutl", "-verify", "-pubin", "-rawin", *files)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode == 0 and "Signature Verified Successfully" in done.stdout


def test_the_evidence_on_a_model_is_written_and_holds(scene: Scene) -> None:
    folder = scene.export()
    checked = scene.verify(folder)
    assert checked.ok, checked.as_dict()
    assert checked.warnings == ()
    assert (checked.model, checked.node) == (scene.trained.model, SERVING)
    found = contents(folder)
    assert {*layout.REQUIRED, layout.CHECKS, layout.PROMOTION, "model/model.json"} <= set(found)
    assert len([path for path in found if path.startswith("approvals/")]) == 2
    kinds = sorted(json.loads(data)["kind"] for path, data in found.items() if layout.record_position(path))
    assert kinds == sorted(
        ["ApprovalGiven"] * 2
        + ["CheckEvaluated"] * 2
        + ["DatasetRecorded"] * 3
        + ["DecisionMade", "ModelRecorded", "NodeRunEnded", "NodeRunStarted", "Promoted"]
    )
    assert str(scene.deployment.home.root) not in str(found)


def test_the_same_state_gives_the_same_bytes_also_later(scene: Scene) -> None:
    first = contents(scene.export("first"))
    deployment = scene.deployment
    deployment.train(code=CODE, weight=0.9)  # the ledger goes on, and another checkpoint follows
    checkpoint(scene)
    deployment.promotions().publish(SERVING)
    assert len(deployment.store.find(CheckpointSigned)) == 2
    assert contents(scene.export("second")) == first
    again = export_bundle(deployment.store, deployment.home, scene.trained.model, scene.folder / "second")
    assert again.new is False


def checkpoint(scene: Scene) -> None:
    assert Checkpoints.open(scene.deployment.store, scene.deployment.home).make() is not None


def run_in(scene: Scene, *arguments: str) -> int:
    """Run a command in the deployment's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ION_HOME", str(scene.deployment.home.root))
        return run(arguments)


def test_something_else_in_the_folder_is_never_overwritten(simple: Scene) -> None:
    folder = simple.export()
    (folder / "notes.txt").write_text("mine")
    (simple.folder / "file").write_text("mine")
    (simple.folder / "empty").mkdir()
    (simple.folder / "link").symlink_to("nowhere")
    for name in ("bundle", "file", "empty", "link"):
        with pytest.raises(IonError) as caught:
            simple.export(name)
        assert caught.value.code == "bundle-exists"
    assert (folder / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in simple.folder.iterdir()) == ["bundle", "empty", "file", "home", "link"]


def test_what_fails_on_the_way_leaves_nothing(simple: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ion.interop.bundle.exporting.write_new", full)
    with pytest.raises(IonError) as caught:
        simple.export("deep/inside")
    assert caught.value.code == "cannot-write"
    assert list((simple.folder / "deep").iterdir()) == []


# Other people's tools -----------------------------------------------------------------------------


def test_model_signing_verifies_the_model_and_no_other_by_its_own_command(scene: Scene, tmp_path: Path) -> None:
    folder = scene.export()
    trust = json.loads(base64.b64decode(json.loads((folder / "trust.json").read_bytes())["payload"]))
    (tmp_path / "model.pub.pem").write_text(trust["models"][0])

    def verified() -> subprocess.CompletedProcess[str]:
        options = ("--signature", str(folder / "model.sig"), "--public_key", str(tmp_path / "model.pub.pem"))
        command = (sys.executable, "-m", "model_signing", "verify", "key", str(folder / "model"), *options)
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert verified().returncode == 0, verified().stderr
    (folder / "model" / "model.json").write_bytes(b"{}")
    assert verified().returncode == 1


def test_openssl_verifies_every_signature_over_the_documented_bytes(scene: Scene, tmp_path: Path) -> None:
    folder = scene.export()
    trust = json.loads((folder / "trust.json").read_bytes())
    document = json.loads(base64.b64decode(trust["payload"]))
    listed = [*document["services"]["decision"], *(key for person in document["people"] for key in person["keys"])]
    pems = {}
    for key in listed:
        der = base64.b64decode(key["der"])
        done = subprocess.run(
            ["openssl", "pkey", "-pubin", "-inform", "DER"], input=der, capture_output=True, check=True
        )
        pems["sha256:" + hashlib.sha256(der).hexdigest()] = done.stdout
    envelopes = sorted(folder.rglob("*.dsse.json"))
    assert len(envelopes) == 6
    for path in envelopes:
        envelope = json.loads(path.read_bytes())
        (signature,) = envelope["signatures"]
        data = base64.b64decode(signature["sig"])
        assert openssl_verifies(tmp_path, pems[signature["keyid"]], pae(envelope), data), path
        assert not openssl_verifies(tmp_path, pems[signature["keyid"]], pae(envelope) + b" ", data)
    sig = base64.b64decode(trust["signatures"][0]["sig"])
    assert openssl_verifies(tmp_path, (folder / "root.pub.pem").read_bytes(), pae(trust), sig)


def test_in_totos_own_schemas_take_every_statement(scene: Scene) -> None:
    from google.protobuf.json_format import Parse
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    predicates = {"provenance.dsse.json": provenance_pb2.Provenance, "checks.dsse.json": test_result_pb2.TestResult}
    for path in sorted(scene.export().rglob("*.dsse.json")):
        payload = json.loads(base64.b64decode(json.loads(path.read_bytes())["payload"]))
        Statement.copy_from_pb(Parse(json.dumps(payload), statement_pb2.Statement())).validate()
        if path.name in predicates:
            ours = [name for name in payload["predicate"] if name.startswith("urn:dagster-ion:")]
            assert len(ours) == 1  # consumers pass over what they do not know: an extension
            payload["predicate"].pop(ours[0])
            Parse(json.dumps(payload["predicate"]), predicates.pop(path.name)())
    assert predicates == {}


def test_the_bill_of_materials_is_cyclonedx_with_a_model_card(scene: Scene) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    folder = scene.export()
    text = (folder / "mlbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"modelCard"', '"modelcard"')) is not None
    bom = json.loads(text)
    model = bom["metadata"]["component"]
    assert model["version"] == scene.trained.model
    assert model["hashes"] == [{"alg": "SHA-256", "content": scene.trained.model[7:]}]
    card = model["modelCard"]
    assert {each["ref"] for each in card["modelParameters"]["datasets"]} == {
        f"dataset:{name}@{version.digest}"
        for name, version in (
            ("patient_tests/patients", scene.trained.patients),
            ("patient_tests/features", scene.trained.features),
            ("heldout", scene.trained.heldout),
        )
    }
    metrics = {each["type"]: float(each["value"]) for each in card["quantitativeAnalysis"]["performanceMetrics"]}
    assert metrics["roc_auc"] > 0.9
    classes = {each["data"][0]["classification"] for each in bom["components"] if each["type"] == "data"}
    assert classes == {"pii"}
    documents = {each["url"]: each["hashes"][0]["content"] for each in model["externalReferences"]}
    assert set(documents) >= {"model.sig", "provenance.dsse.json", "checks.dsse.json", "decision.dsse.json"}
    for path, digest in documents.items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest


def test_the_proofs_are_those_that_audit_check_takes(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    folder = scene.export()
    for record in sorted(folder.glob("ledger/*.json")):
        proof = record.with_suffix(".tlog-proof")
        options = ("--record", str(record), "--trust", str(folder / "trust.json"), "--json")
        assert run(["audit", "check", str(proof), *options]) == 0, capsys.readouterr().out


# The command ----------------------------------------------------------------------------------------


def test_the_commands_export_and_verify(simple: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    folder = simple.folder / "out" / "evidence"
    assert run_in(simple, "evidence", "export", simple.trained.model[7:20], "-o", str(folder), "--json") == 0
    exported = json.loads(capsys.readouterr().out)
    assert (exported["folder"], exported["model"], exported["new"]) == (str(folder), simple.trained.model, True)
    assert exported["files"] == len(contents(folder))
    root = str(simple.deployment.home.root_public)
    assert run(["evidence", "verify", str(folder), "--root", root, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["valid_then"], told["valid_now"], told["warnings"]) == (True, True, True, [])
    assert {step["state"] for step in told["steps"]} == {"ok"}
    assert run(["evidence", "verify", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "vouches for itself" in printed
    assert "valid then, valid now" in printed
    (folder / "model" / "model.json").write_bytes(b"{}")
    assert run(["evidence", "verify", str(folder), "--root", root, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    wrong = {p["file"] for step in told["steps"] for p in step["problems"]}
    assert wrong == {"model/model.json"}
    assert run(["evidence", "verify", str(simple.folder / "nowhere"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "no-bundle"


def test_nothing_but_the_folder_and_the_key_is_needed(
    simple: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, root = simple.export(), tmp_path / "root.pub.pem"
    shutil.copy(simple.deployment.home.root_public, root)
    moved = tmp_path / "elsewhere" / "evidence"
    moved.parent.mkdir()
    shutil.copytree(folder, moved)
    shutil.rmtree(simple.deployment.home.root)
    monkeypatch.setenv("ION_HOME", str(tmp_path / "none"))
    monkeypatch.chdir(moved.parent)

    def no_network(*_: object) -> None:
        raise AssertionError("it went to the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    assert run(["evidence", "verify", str(moved), "--root", str(root), "--json"]) == 0, capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_without_a_root_key_the_evidence_vouches_for_itself_and_says_so(simple: Scene) -> None:
    checked = verify_bundle(simple.export(), standards=False)
    assert checked.ok
    assert len(checked.warnings) == 1


# What is not exported -------------------------------------------------------------------------------


def always(verdict: Verdict) -> PolicySet:
    def judge(_: Evidence) -> tuple[Verdict, str]:
        return verdict, "as asked"

    return PolicySet("fixed", (Policy("fixed", {}, judge),), 1, {}, "tests")


def test_a_model_that_was_not_approved_or_not_decided_has_no_bundle(simple: Scene) -> None:
    deployment = simple.deployment
    other = deployment.train(code=CODE, weight=0.5)
    with pytest.raises(IonError) as caught:
        export_bundle(deployment.store, deployment.home, other.model, simple.folder / "other")
    assert caught.value.code == "not-decided"
    deployment.govern(lambda _: always("reject"))
    with pytest.raises(IonError) as caught:
        export_bundle(deployment.store, deployment.home, other.model, simple.folder / "other")
    assert caught.value.code == "not-approved"
    with pytest.raises(IonError) as caught:
        simple.export("elsewhere", node="patient_tests/elsewhere")
    assert caught.value.code == "not-decided"


def test_a_later_rejection_ends_the_export(simple: Scene) -> None:
    simple.export("before")
    governor = simple.deployment.governor(lambda _: always("reject"))
    governor.consider(simple.deployment.candidate(simple.trained), again=True)
    with pytest.raises(IonError) as caught:
        simple.export("after")
    assert caught.value.code == "not-approved"


def test_a_newer_decision_has_evidence_of_its_own_and_the_older_one_still_holds(simple: Scene) -> None:
    before = simple.export("before")
    simple.deployment.governor().consider(simple.deployment.candidate(simple.trained), again=True)
    after = simple.export("after")
    old, new = (simple.verify(folder, standards=False) for folder in (before, after))
    assert old.ok
    assert new.ok
    assert old.decision != new.decision
    assert (before / layout.PROVENANCE).read_bytes() == (after / layout.PROVENANCE).read_bytes()


def test_without_the_ledgers_key_evidence_waits_for_a_checkpoint(simple: Scene) -> None:
    key = simple.deployment.home.keys / "ledger.pem"
    key.rename(key.with_suffix(".away"))
    with pytest.raises(IonError) as caught:
        simple.export()
    assert caught.value.code == "no-checkpoint"
    key.with_suffix(".away").rename(key)
    checkpoint(simple)
    key.unlink()
    assert simple.verify(simple.export(), standards=False).ok


def test_an_auditor_exports_without_any_private_key(simple: Scene) -> None:
    checkpoint(simple)
    for key in simple.deployment.home.keys.glob("*.pem"):
        key.unlink()
    assert simple.verify(simple.export(), standards=False).ok


def test_a_decision_that_names_no_signature_of_the_model_gets_one_where_the_key_is(tmp_path: Path) -> None:
    scene = approved_by_policies(tmp_path)
    deployment = scene.deployment
    key = deployment.home.keys / "model.pem"
    kept = key.read_bytes()
    key.unlink()
    trained = deployment.train(code=CODE, weight=1.1)
    deployment.govern()
    with pytest.raises(IonError) as caught:
        export_bundle(deployment.store, deployment.home, trained.model, tmp_path / "none")
    assert caught.value.code == "no-model-signature"
    key.write_bytes(kept)
    key.chmod(0o600)
    for name in ("one", "two"):
        export_bundle(deployment.store, deployment.home, trained.model, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert scene.verify(tmp_path / "one").ok
    deployment.close()


def test_lost_and_damaged_artifacts_are_not_handed_out(simple: Scene) -> None:
    artifacts = simple.deployment.artifacts
    manifest = artifacts.get_manifest(simple.trained.model)
    path = artifacts.path(manifest.entries[0].sha256)
    data = path.read_bytes()
    for damage, code in ((data[:-1] + b"!", "artifact-corrupt"), (None, "artifact-missing")):
        path.write_bytes(damage) if damage is not None else path.unlink()
        with pytest.raises(IonError) as caught:
            simple.export()
        assert caught.value.code == code
    assert not (simple.folder / "bundle").exists()


def test_a_store_that_was_edited_gives_no_bundle(simple: Scene) -> None:
    from sqlalchemy import create_engine, text

    checkpoint(simple)
    engine = create_engine(f"sqlite:///{simple.deployment.home.root / 'store.db'}")
    with engine.begin() as connection:
        row = connection.execute(text("SELECT position, raw FROM ion_fact WHERE kind = 'ModelRecorded'")).one()
        raw = bytes(row.raw).replace(b'"label":"malignant"', b'"label":"malignent"')
        assert raw != bytes(row.raw)
        connection.execute(
            text("UPDATE ion_fact SET raw = :raw WHERE position = :at"), {"raw": raw, "at": row.position}
        )
    with pytest.raises(IonError) as caught:
        simple.export()
    assert caught.value.code == "ledger-altered"


def test_a_revoked_model_is_shown_as_revoked(simple: Scene) -> None:
    simple.deployment.promotions().revoke(SERVING, simple.trained.model, reason="wrong unit", by="tester")
    checked = simple.verify(simple.export(), standards=False)
    assert (checked.ok, checked.valid_then) == (False, True)
    assert [problem.file for problem in checked.steps[-1].problems] == ["revocation.dsse.json"]


def test_a_bundle_is_of_the_time_it_was_made(simple: Scene) -> None:
    before = now_us()
    checked = simple.verify(simple.export(), standards=False)
    assert checked.decided < before < checked.expires
