"""Attacks on evidence bundles: whatever is changed, the verification fails and names the file."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from ion.audit.proving import newest_checkpoint, prove
from ion.canonical import canonical_bytes, digest_bytes
from ion.clock import now_us
from ion.evidence import EvidenceReference, Unverified, load_public, load_signer
from ion.evidence.approvals import sign_approval, verify_approval
from ion.evidence.check_results import CheckStatement, sign_checks
from ion.evidence.envelope import sign, unverified_payload
from ion.evidence.in_toto import PAYLOAD_TYPE
from ion.evidence.keys import create_key
from ion.evidence.provenance import ProvenanceStatement, sign_provenance
from ion.evidence.statements import DecisionStatement, PromotionStatement, sign_statement
from ion.evidence.trust import TRUST_TYPE, TrustDocument, load_trust, sign_trust, verify_trust
from ion.evidence.trust_document import Requirement
from ion.evidence.trust_root import TrustRoot
from ion.interop.bundle import layout
from ion.interop.bundle.folder import read_folder
from ion.testing import SERVING
from tests.store.bundle_scene import approved_by_people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ion.evidence.trust import Trust
    from ion.interop.bundle import Verification
    from tests.store.bundle_scene import Scene

DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = approved_by_people(tmp_path_factory.mktemp("scene"))
    yield made
    made.deployment.close()


@pytest.fixture(scope="module")
def sound(scene: Scene) -> Path:
    folder = scene.export("sound")
    assert scene.verify(folder).ok
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, Path]]:
    """Another deployment's bundle, of other people and another model."""
    made = approved_by_people(tmp_path_factory.mktemp("other"), weight=1.2)
    yield made, made.export("other")
    made.deployment.close()


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "bundle")


def check(scene: Scene, folder: Path, **options: object) -> Verification:
    return scene.verify(folder, standards=False, **options)


def wrong(checked: Verification) -> set[str]:
    assert not checked.ok
    return {problem.file for step in checked.steps for problem in step.problems}


def paths(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Bytes -----------------------------------------------------------------------------------------------


def flipped(scene: Scene, folder: Path, sample: Callable[[int], list[int]], bits: tuple[int, ...]) -> None:
    for path in paths(folder):
        data = (folder / path).read_bytes()
        for position in sample(len(data)):
            for bit in bits:
                changed = bytearray(data)
                changed[position] ^= 1 << bit
                (folder / path).write_bytes(changed)
                assert path in wrong(check(scene, folder)), (path, position, bit)
        (folder / path).write_bytes(data)
    assert check(scene, folder).ok


def test_a_flipped_bit_in_any_file_is_found_and_the_file_named(scene: Scene, folder: Path) -> None:
    chosen = random.Random(11)  # noqa: S311 - a sample, no secret
    flipped(scene, folder, lambda size: sorted({0, size - 1, *chosen.sample(range(size), min(size, 3))}), (0, 6))


@pytest.mark.torture
def test_every_byte_of_every_file_flipped_is_found_and_the_file_named(scene: Scene, folder: Path) -> None:
    flipped(scene, folder, lambda size: list(range(size)), (0,))


def test_bytes_added_or_cut_off_are_found_and_the_file_named(scene: Scene, folder: Path) -> None:
    for path in paths(folder):
        data = (folder / path).read_bytes()
        for changed in (data + b"\n", data + b" ", data[:-1], b"", data + data):
            (folder / path).write_bytes(changed)
            assert path in wrong(check(scene, folder)), (path, changed[-20:])
        (folder / path).write_bytes(data)


# Files -----------------------------------------------------------------------------------------------


def test_a_file_taken_away_is_missed(scene: Scene, folder: Path, sound: Path) -> None:
    optional = {layout.PROMOTION}  # with its fact it is a bundle of a model that nobody promoted
    for path in paths(folder):
        (folder / path).unlink()
        found = wrong(check(scene, folder))
        assert found, path
        assert path in found or path.startswith(layout.LEDGER) or path in optional, (path, found)
        shutil.copy(sound / path, folder / path)


def test_a_fact_taken_away_with_its_proof_is_missed(scene: Scene, folder: Path, sound: Path) -> None:
    for record in sorted(sound.glob("ledger/*.json")):
        proof = record.with_suffix(".tlog-proof")
        for path in (record, proof):
            (folder / path.relative_to(sound)).unlink()
        assert wrong(check(scene, folder)) >= {layout.LEDGER}
        for path in (record, proof):
            shutil.copy(path, folder / path.relative_to(sound))


@pytest.mark.parametrize(
    "path",
    [
        "notes.txt",
        ".hidden",
        "model/extra.bin",
        "model/inner/extra.bin",
        "approvals/readme",
        "approvals/" + "0" * 64 + ".dsse.json",
        "ledger/9999.json",
        "ledger/9999.tlog-proof",
        "ledger/01.json",
        "ledger/checkpoint.note.bak",
        "MODEL.SIG",
        "revocation.dsse.json",
    ],
)
def test_a_file_too_many_is_found(scene: Scene, folder: Path, path: str) -> None:
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_bytes(b"{}")
    assert path in wrong(check(scene, folder))


def test_another_fact_of_the_same_ledger_is_not_slipped_in(scene: Scene, folder: Path) -> None:
    deployment = scene.deployment
    size = int((folder / layout.CHECKPOINT).read_text().splitlines()[1])
    taken = {layout.record_position(path) for path in paths(folder)}
    under = newest_checkpoint(deployment.store, deployment.home, size)
    spare = next(position for position in range(1, size) if position not in taken)
    made = prove(deployment.store, str(spare), under)
    (folder / layout.record_path(spare)).write_bytes(made.raw)
    (folder / layout.proof_path(spare)).write_bytes(made.proof.to_bytes())
    assert wrong(check(scene, folder)) == {layout.record_path(spare)}


def test_two_files_that_change_places_are_found(scene: Scene, folder: Path) -> None:
    by_folder: dict[str, list[str]] = {}
    for path in paths(folder):
        by_folder.setdefault(path.rpartition("/")[0] + path.rpartition(".")[2], []).append(path)
    for group in by_folder.values():
        for first, second in pairwise(group):
            one, two = (folder / first).read_bytes(), (folder / second).read_bytes()
            (folder / first).write_bytes(two)
            (folder / second).write_bytes(one)
            assert wrong(check(scene, folder)) & {first, second}, (first, second)
            (folder / first).write_bytes(one)
            (folder / second).write_bytes(two)


def test_files_of_another_models_bundle_do_not_fit(scene: Scene, folder: Path, other: tuple[Scene, Path]) -> None:
    for path in sorted({*paths(folder)} & {*paths(other[1])}):
        data = (folder / path).read_bytes()
        shutil.copy(other[1] / path, folder / path)
        assert wrong(check(scene, folder)), path
        (folder / path).write_bytes(data)


def test_another_deployments_bundle_is_not_this_roots(scene: Scene, other: tuple[Scene, Path]) -> None:
    assert wrong(check(scene, other[1])) == {layout.ROOT}
    copied = other[1]
    assert other[0].verify(copied, standards=False).ok


# What is in the way ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["manifest.json", "model/model.json", "trust.json"])
def test_a_symbolic_link_is_no_file_though_it_leads_to_the_right_bytes(
    scene: Scene, folder: Path, sound: Path, path: str
) -> None:
    (folder / path).unlink()
    (folder / path).symlink_to(sound / path)
    assert path in wrong(check(scene, folder))


@pytest.mark.parametrize("name", ["model", "approvals", "ledger"])
def test_a_linked_folder_is_no_folder(scene: Scene, folder: Path, sound: Path, name: str) -> None:
    shutil.rmtree(folder / name)
    (folder / name).symlink_to(sound / name)
    assert name in wrong(check(scene, folder))


def test_a_pipe_and_an_empty_folder_are_refused_without_waiting(scene: Scene, folder: Path) -> None:
    (folder / "decision.dsse.json").unlink()
    os.mkfifo(folder / "decision.dsse.json")
    (folder / "empty").mkdir()
    assert wrong(check(scene, folder)) >= {"decision.dsse.json", "empty"}


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/passwd", "a/../../outside", "./model.json", "model.json/", "a\\b"]
)
def test_a_path_that_leads_out_of_the_model_is_refused(scene: Scene, folder: Path, path: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][0]["path"] = path
    (folder / "manifest.json").write_bytes(canonical_bytes(manifest))
    assert "manifest.json" in wrong(check(scene, folder))


def test_oversize_files_are_refused_and_not_read_whole(scene: Scene, folder: Path) -> None:
    huge = 1 << 40
    for path in ("manifest.json", "model/model.json", "decision.dsse.json", "ledger/checkpoint.note", "root.pub.pem"):
        data = (folder / path).read_bytes()
        with (folder / path).open("r+b") as file:
            file.truncate(huge)  # sparse: it takes no room
        assert path in wrong(check(scene, folder))
        (folder / path).write_bytes(data)
    for record in list(folder.glob("ledger/*.json"))[:1]:
        with record.open("r+b") as file:
            file.truncate(huge)
        assert str(record.relative_to(folder)) in wrong(check(scene, folder))


def test_too_many_files_end_the_reading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ion.interop.bundle.folder.MAX_FILES", 20)
    problems = read_folder(folder).problems
    assert [message for _, message in problems if "more than 20" in message]


def test_a_name_that_is_no_text_can_be_told(scene: Scene, folder: Path) -> None:
    with open(os.path.join(os.fsencode(folder), b"\xff\xfe"), "wb"):  # noqa: PTH118, PTH123 - a name of bytes
        pass
    told = json.dumps(check(scene, folder).as_dict(), ensure_ascii=False)
    assert told.encode("utf-8")


# Statements ------------------------------------------------------------------------------------------


def decision_of(folder: Path) -> DecisionStatement:
    envelope = (folder / layout.DECISION).read_bytes()
    return DecisionStatement.from_payload(unverified_payload(envelope, PAYLOAD_TYPE))


def test_approvals_of_another_model_by_the_same_people_do_not_count(tmp_path: Path) -> None:
    made = approved_by_people(tmp_path / "first")
    first = made.export("bundle")
    deployment = made.deployment
    second = approved_by_people(tmp_path / "second", weight=1.3)
    theirs = second.export("bundle")
    names = [path for path in paths(first) if path.startswith(layout.APPROVALS)]
    for name, path in zip(names, [p for p in paths(theirs) if p.startswith(layout.APPROVALS)], strict=True):
        (first / name).write_bytes((theirs / path).read_bytes())
    assert wrong(check(made, first)) >= set(names)
    deployment.close()
    second.deployment.close()


def test_an_approval_replayed_on_another_model_is_refused(scene: Scene, folder: Path) -> None:
    """The very people sign another model; their envelopes are copied in under their own names."""
    trust = load_trust(scene.deployment.home)
    path = next(path for path in paths(folder) if path.startswith(layout.APPROVALS))
    given = verify_approval((folder / path).read_bytes(), trust)
    assert not isinstance(given, Unverified)
    keys = scene.deployment.home.root.parent / f"{scene.deployment.home.root.name}-people"
    signer = load_signer(f"file:{next(keys.glob(given.statement.person + '-*.pem'))}")
    envelope = sign_approval(replace(given.statement, model="sha256:" + "0" * 64), signer)
    copied = layout.approval_path(digest_bytes(envelope))
    (folder / copied).write_bytes(envelope)
    assert copied in wrong(check(scene, folder))


def resigned(scene: Scene, folder: Path, **changes: object) -> None:
    """Change and sign the decision again with the true key: what a thief of that key could do."""
    statement = replace(decision_of(folder), **changes)  # type: ignore[arg-type]
    (folder / layout.DECISION).write_bytes(sign_statement(statement, scene.deployment.signer))


def test_a_thief_of_the_decision_key_still_lacks_the_people_and_the_ledger(scene: Scene, folder: Path) -> None:
    shutil.rmtree(folder / "approvals")
    (folder / layout.PROMOTION).unlink()
    for position in (24, 25, 30):
        kind = json.loads((folder / layout.record_path(position)).read_bytes())["kind"]
        assert kind in {"ApprovalGiven", "Promoted"}
        (folder / layout.record_path(position)).unlink()
        (folder / layout.proof_path(position)).unlink()
    evidence = tuple(item for item in decision_of(folder).evidence if not item.uri.startswith("ion:approval:"))
    resigned(scene, folder, approvals=(), automatic=True, evidence=evidence)
    assert layout.LEDGER in wrong(check(scene, folder))  # which knows another decision
    asking = newer(scene, lambda document: replace(document, requirements=(Requirement(SERVING, "approver", 2),)))
    assert layout.APPROVALS in wrong(check(scene, folder, trust=asking))


def test_a_decision_that_is_signed_but_not_in_the_ledger_is_refused(scene: Scene, folder: Path) -> None:
    resigned(scene, folder, expires=decision_of(folder).expires + DAY_US)
    (folder / layout.PROMOTION).unlink()
    assert layout.LEDGER in wrong(check(scene, folder))


def test_a_rejection_is_no_approval(scene: Scene, folder: Path) -> None:
    resigned(scene, folder, verdict="reject")
    assert wrong(check(scene, folder)) == {layout.DECISION}


def test_a_provenance_that_is_signed_but_not_the_one_decided_on_is_refused(scene: Scene, folder: Path) -> None:
    envelope = (folder / layout.PROVENANCE).read_bytes()
    said = ProvenanceStatement.from_payload(unverified_payload(envelope, PAYLOAD_TYPE))
    changed = replace(said, parameters={"config": {"other": 1}})
    (folder / layout.PROVENANCE).write_bytes(sign_provenance(changed, scene.deployment.signer))
    assert layout.PROVENANCE in wrong(check(scene, folder))


def test_check_results_that_are_signed_but_not_those_decided_on_are_refused(scene: Scene, folder: Path) -> None:
    said = CheckStatement.from_payload(unverified_payload((folder / layout.CHECKS).read_bytes(), PAYLOAD_TYPE))
    better = replace(said, checks=tuple(replace(each, results=()) for each in said.checks))
    envelope = sign_checks(better, scene.deployment.signer)
    (folder / layout.CHECKS).write_bytes(envelope)
    assert layout.CHECKS in wrong(check(scene, folder))
    named = EvidenceReference("ion:checks", digest_bytes(envelope))
    evidence = tuple(named if item.uri == named.uri else item for item in decision_of(folder).evidence)
    resigned(scene, folder, evidence=evidence)
    assert layout.CHECKS in wrong(check(scene, folder))  # the digest of each result is evidence of its own


def test_a_checkpoint_that_somebody_wrote_into_is_refused(scene: Scene, folder: Path) -> None:
    note = (folder / layout.CHECKPOINT).read_bytes()
    name = note.split(b"\n", 1)[0].decode()
    longer = note + f"\u2014 {name} {base64.b64encode(bytes(68)).decode()}\n".encode()
    (folder / layout.CHECKPOINT).write_bytes(longer)
    for proof in folder.glob("ledger/*.tlog-proof"):
        proof.write_bytes(proof.read_bytes().replace(note, longer))
    assert wrong(check(scene, folder)) == {layout.CHECKPOINT}


def test_a_promotion_of_another_decision_is_refused(scene: Scene, folder: Path) -> None:
    envelope = (folder / layout.PROMOTION).read_bytes()
    said = PromotionStatement.from_payload(unverified_payload(envelope, PAYLOAD_TYPE))
    for changed in (
        replace(said, decision="sha256:" + "0" * 64),
        replace(said, model="sha256:" + "0" * 64),
        replace(said, node="elsewhere"),
    ):
        (folder / layout.PROMOTION).write_bytes(sign_statement(changed, scene.deployment.signer))
        assert layout.PROMOTION in wrong(check(scene, folder))


def test_a_stranger_cannot_sign_anything_in_a_bundle(scene: Scene, folder: Path, tmp_path: Path) -> None:
    create_key(tmp_path / "stranger.pem")
    stranger = load_signer(f"file:{tmp_path / 'stranger.pem'}")
    for path in [path for path in paths(folder) if path.endswith(".dsse.json")]:
        data = (folder / path).read_bytes()
        (folder / path).write_bytes(sign(unverified_payload(data, PAYLOAD_TYPE), PAYLOAD_TYPE, stranger))
        assert path in wrong(check(scene, folder))
        (folder / path).write_bytes(data)


def test_a_trust_document_of_ones_own_is_worth_nothing_to_who_knows_the_root(
    scene: Scene, folder: Path, tmp_path: Path
) -> None:
    public = create_key(tmp_path / "root.pem")
    document = load_trust(scene.deployment.home).document
    (folder / layout.TRUST).write_bytes(sign_trust(document, load_signer(f"file:{tmp_path / 'root.pem'}")))
    assert layout.TRUST in wrong(check(scene, folder))
    (folder / layout.ROOT).write_bytes(public.to_pem())
    assert wrong(check(scene, folder)) == {layout.ROOT}
    vouching = check(scene, folder, root=None)
    assert vouching.ok
    assert vouching.warnings  # its parts agree, and that is all


# Time and trust --------------------------------------------------------------------------------------


def newer(scene: Scene, change: Callable[[TrustDocument], TrustDocument]) -> Trust:
    """Return a trust document that the root signed after the bundle was made."""
    home = scene.deployment.home
    document = change(load_trust(home).document)
    payload = replace(document, version=document.version + 1).to_payload()
    envelope = sign(payload, TRUST_TYPE, load_signer(f"file:{home.keys / 'root.pem'}"))
    answer = verify_trust(envelope, TrustRoot((load_public(home.root_public),)), now_us())
    assert not isinstance(answer, Unverified)
    return answer


def test_valid_then_and_no_longer_now_are_told_apart(scene: Scene, sound: Path) -> None:
    decision = decision_of(sound)
    later = check(scene, sound, now=decision.expires)
    assert (later.valid_then, later.ok) == (True, False)
    assert wrong(later) == {layout.DECISION, layout.APPROVALS}  # it expires with the first approval
    expired = check(scene, sound, now=load_trust(scene.deployment.home).document.expires)
    assert wrong(expired) == {layout.TRUST}


@pytest.mark.parametrize("days", [-400, 400])
def test_a_clock_that_jumps_revives_nothing(scene: Scene, sound: Path, days: int) -> None:
    checked = check(scene, sound, now=decision_of(sound).decided + days * DAY_US)
    assert checked.valid_then
    assert not checked.ok


def without(person: str, **changes: object) -> Callable[[TrustDocument], TrustDocument]:
    def change(document: TrustDocument) -> TrustDocument:
        people = tuple(replace(each, **changes) if each.id == person else each for each in document.people)  # type: ignore[arg-type]
        return replace(document, people=people)

    return change


def test_a_newer_trust_document_takes_away_what_rested_on_a_revoked_key(scene: Scene, sound: Path) -> None:
    anna = next(person for person in load_trust(scene.deployment.home).document.people if person.id == "anna")
    revoked = tuple(replace(key, window=replace(key.window, revoked=0)) for key in anna.keys)
    checked = check(scene, sound, trust=newer(scene, without("anna", keys=revoked)))
    assert (checked.valid_then, checked.ok) == (True, False)
    assert all(path.startswith(layout.APPROVALS) for path in wrong(checked))


def test_a_person_who_lost_the_role_no_longer_counts(scene: Scene, sound: Path) -> None:
    checked = check(scene, sound, trust=newer(scene, without("anna", roles=("reader",))))
    assert (checked.valid_then, checked.ok) == (True, False)
    assert wrong(checked) == {layout.APPROVALS}


@pytest.mark.parametrize("service", ["decision", "ledger"])
def test_a_revoked_key_of_governance_ends_the_evidence(scene: Scene, sound: Path, service: str) -> None:
    def change(document: TrustDocument) -> TrustDocument:
        keys = tuple(replace(k, window=replace(k.window, revoked=0)) for k in document.services[service])  # type: ignore[index]
        return replace(document, services={**document.services, service: keys})

    checked = check(scene, sound, trust=newer(scene, change))
    assert (checked.valid_then, checked.ok) == (True, False)


def test_model_keys_that_are_no_longer_trusted_end_the_evidence(scene: Scene, sound: Path) -> None:
    checked = check(scene, sound, trust=newer(scene, lambda document: replace(document, models=())))
    assert wrong(checked) == {layout.SIGNATURE}


def test_a_newer_trust_document_that_changes_nothing_changes_nothing(scene: Scene, sound: Path) -> None:
    assert check(scene, sound, trust=newer(scene, lambda document: document)).ok


def test_what_people_took_back_before_the_export_is_shown(tmp_path: Path) -> None:
    made = approved_by_people(tmp_path)
    deployment = made.deployment
    key = next((tmp_path / "home-people").glob("anna-*.pem"))
    deployment.speak(load_signer(f"file:{key}"), made.trained.model, "withdraw")
    checked = check(made, made.export())
    assert (checked.valid_then, checked.ok) == (True, False)
    assert wrong(checked) == {layout.APPROVALS}
    deployment.close()


def test_the_standards_are_asked_too(scene: Scene, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ion.interop.bundle.verifying.signing_problem", lambda *_: "it says no")
    assert wrong(scene.verify(folder)) == {layout.SIGNATURE}
    monkeypatch.setattr("ion.interop.bundle.verifying.signing_problem", lambda *_: "")
    monkeypatch.setattr("ion.interop.bundle.verifying.schema_problem", lambda *_: "it says no")
    assert wrong(scene.verify(folder)) == {layout.MLBOM}
