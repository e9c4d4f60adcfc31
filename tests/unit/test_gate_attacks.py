"""What somebody might try to get an unapproved model past the gate. The answer is never an admission."""

from __future__ import annotations

import base64
import json
import os
import pickle
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ion.evidence.hashed_reading as reading_module
import ion.serving.gate as gate_module
from ion.canonical import canonical_bytes
from ion.evidence import EvidenceReference, sign_statement
from ion.evidence.decisions import RequiredApprovals
from ion.evidence.files import write_atomic
from ion.evidence.grounds import PROVENANCE
from ion.evidence.trust import Person, Requirement
from ion.serving import Admitted, Gate, Halted, Refused, write_pointer
from ion.serving.loading import MAX_MODEL_BYTES
from ion.testing import attested
from tests.unit.test_gate_scene import (
    ANNA,
    BEN,
    CARL,
    DAY,
    DECISION,
    DIGEST,
    NODE,
    NOW,
    PEOPLE,
    ROOT,
    Scene,
    key,
    linear_model,
    signer_of,
)

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    from ion.evidence import DecisionStatement, PromotionStatement, Signer

FOREIGN, NEWER = signer_of(98), signer_of(97)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene.set_up(tmp_path)


def refused(gate: Gate, step: str, reason: str = "") -> None:
    answer = gate.admit()
    assert isinstance(answer, Refused), answer
    assert answer.step == step, answer
    assert reason in answer.reason, answer


def admitted(gate: Gate) -> Admitted:
    answer = gate.admit()
    assert isinstance(answer, Admitted), answer
    return answer


def halted(gate: Gate, cause: str, reason: str = "") -> None:
    answer = gate.admit()
    assert isinstance(answer, Halted), answer
    assert answer.cause == cause, answer
    assert reason in answer.reason, answer


# People ----------------------------------------------------------------------------------------------


def by_people(scene: Scene, *approvals: str, quorum: int = 2, **changes: object) -> DecisionStatement:
    """A decision that names these approvals; it has Carl as submitter."""
    asked = RequiredApprovals("approver", quorum, approvals)
    return scene.decision(approvals=(asked,), automatic=False, submitters=("carl",), **changes)


def test_two_people_are_two_people(scene: Scene) -> None:
    scene.point(scene.promotion(by_people(scene, scene.approval("anna", ANNA), scene.approval("ben", BEN))))
    assert admitted(scene.gate()).expires == NOW + 20 * DAY  # the approvals end before the decision


def withdrawn(scene: Scene) -> str:
    return scene.approval("ben", BEN, id="taken-back", word="withdraw", issued=NOW - 2_300_000)


ATTEMPTS: dict[str, tuple[Callable[[Scene], list[str]], str]] = {
    "nobody": (lambda _: [], "0 of 2"),
    "one person": (lambda s: [s.approval("anna", ANNA)], "1 of 2"),
    "one person twice": (lambda s: [s.approval("anna", ANNA), s.approval("anna", ANNA, id="again")], "1 of 2"),
    "one person under two keys": (lambda s: [s.approval("anna", ANNA), s.approval("anna", NEWER, id="2")], "1 of 2"),
    "the submitter": (lambda s: [s.approval("anna", ANNA), s.approval("carl", CARL)], "carl submitted"),
    "another person's name": (lambda s: [s.approval("anna", ANNA), s.approval("ben", ANNA)], "1 of 2"),
    "an unknown key": (lambda s: [s.approval("anna", ANNA), s.approval("ben", FOREIGN)], "1 of 2"),
    "the key that decides": (lambda s: [s.approval("anna", ANNA), s.approval("ben", DECISION)], "1 of 2"),
    "another model": (lambda s: [s.approval("anna", ANNA), s.approval("ben", BEN, DIGEST)], "another model"),
    "another node": (lambda s: [s.approval("anna", ANNA), s.approval("ben", BEN, node="other")], "another model"),
    "another ion": (lambda s: [s.approval("anna", ANNA), s.approval("ben", BEN, ion="other")], "another model"),
    "an approval that was over": (
        lambda s: [s.approval("anna", ANNA), s.approval("ben", BEN, until=NOW - 2_100_000)],
        "a time that is over",
    ),
    "an approval from the future": (
        lambda s: [s.approval("anna", ANNA), s.approval("ben", BEN, issued=NOW + DAY)],
        "in the future",
    ),
    "a withdrawal": (
        lambda s: [s.approval("anna", ANNA), s.approval("ben", BEN), withdrawn(s)],
        "has withdrawn",
    ),
    "a rejection": (
        lambda s: [s.approval("anna", ANNA), s.approval("ben", BEN), s.approval("carl", CARL, word="reject")],
        "1 rejected",
    ),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("asked_by", ["decision", "root"])
def test_what_is_not_two_people_approving_is_refused(scene: Scene, attempt: str, asked_by: str) -> None:
    """Also when the decision, signed with a stolen key, asks for nobody: the root asks for this node."""
    made, reason = ATTEMPTS[attempt]
    anna = replace(PEOPLE[0], keys=(key(ANNA), key(NEWER)))
    asked = (Requirement(NODE, "approver", 2),) if asked_by == "root" else ()
    scene.trust_in(people=(anna, *PEOPLE[1:]), requirements=asked)
    decision = by_people(scene, *made(scene), quorum=2 if asked_by == "decision" else 1)
    scene.point(scene.promotion(decision))
    answer = scene.gate().admit()
    assert isinstance(answer, Refused), answer
    assert answer.step == "approvals"
    if not (asked_by == "root" and attempt == "nobody"):
        assert reason in answer.reason


def test_a_stolen_decision_key_does_not_serve_where_the_root_asks_for_people(scene: Scene) -> None:
    scene.trust_in(requirements=(Requirement(NODE, "approver", 1),))
    scene.point()
    refused(scene.gate(), "approvals", "0 of 1")
    scene.point(scene.promotion(by_people(scene, scene.approval("anna", ANNA), quorum=1)))
    admitted(scene.gate())


def test_a_role_nobody_knows_is_met_by_nobody(scene: Scene) -> None:
    asked = RequiredApprovals("emperor", 1, (scene.approval("anna", ANNA),))
    scene.point(scene.promotion(scene.decision(approvals=(asked,), automatic=False)))
    refused(scene.gate(), "approvals", "unknown role")


def test_a_submitter_under_an_alias_is_the_submitter(scene: Scene) -> None:
    digests = scene.approval("anna", ANNA), scene.approval("ben", BEN)
    scene.point(scene.promotion(replace(by_people(scene, *digests), submitters=("Anna@Ward.example",))))
    refused(scene.gate(), "approvals", "anna submitted")


def test_an_approval_that_is_gone_or_changed_counts_for_nothing(scene: Scene) -> None:
    digests = scene.approval("anna", ANNA), scene.approval("ben", BEN)
    scene.point(scene.promotion(by_people(scene, *digests)))
    path = scene.artifacts.path(digests[1])
    kept = path.read_bytes()
    path.unlink()
    refused(scene.gate(), "approvals", "no artifact")
    path.write_bytes(kept.replace(b'"', b"'", 1))
    refused(scene.gate(), "approvals", "other bytes")
    path.write_bytes(kept)
    admitted(scene.gate())


@pytest.mark.parametrize(
    ("window", "reason"),
    [({"revoked": NOW - 2_500_000}, ""), ({"revoked": 0}, ""), ({"until": NOW - 2_500_000}, ""), ({"since": NOW}, "")],
)
def test_an_approval_by_a_key_that_did_not_count_then_counts_for_nothing(
    scene: Scene, window: dict[str, int], reason: str
) -> None:
    scene.point(scene.promotion(by_people(scene, scene.approval("anna", ANNA), scene.approval("ben", BEN))))
    scene.trust_in(people=(PEOPLE[0], replace(PEOPLE[1], keys=(key(BEN, **window),)), PEOPLE[2]))
    refused(scene.gate(), "approvals", "1 of 2" + reason)


def test_a_key_revoked_after_the_signature_leaves_it_valid(scene: Scene) -> None:
    scene.point(scene.promotion(by_people(scene, scene.approval("anna", ANNA), scene.approval("ben", BEN))))
    scene.trust_in(people=(PEOPLE[0], replace(PEOPLE[1], keys=(key(BEN, revoked=NOW - 1),)), PEOPLE[2]))
    admitted(scene.gate())


def test_approvals_that_end_stop_what_serves_and_nothing_revives_them(scene: Scene) -> None:
    ends = NOW + 5 * DAY
    decision = by_people(scene, scene.approval("anna", ANNA), scene.approval("ben", BEN, until=ends))
    scene.point(scene.promotion(decision, lease_end=NOW + 100 * DAY))
    gate = scene.gate()
    scene.now = ends - 1
    admitted(gate)
    scene.now = ends
    halted(gate, "expiry", "at approvals: too many approvals have ended")
    for scene.now in (NOW, NOW - 400 * DAY, NOW + 400 * DAY):
        halted(gate, "expiry")
        refused(scene.gate(), "approvals", "have ended")


def test_a_person_who_is_removed_from_the_trust_document_stops_what_serves(scene: Scene) -> None:
    scene.point(scene.promotion(by_people(scene, scene.approval("anna", ANNA), scene.approval("ben", BEN))))
    gate = scene.gate()
    admitted(gate)
    scene.trust_in(people=(PEOPLE[0], PEOPLE[2]), version=2)
    halted(gate, "trust", "1 of 2")
    halted(gate, "trust", "at approvals")
    refused(scene.gate(), "approvals")
    scene.trust_in(version=3)
    admitted(gate)  # the root takes it back


# The trust document ------------------------------------------------------------------------------------


def test_a_trust_document_that_no_root_signed_is_nobodys(scene: Scene) -> None:
    scene.point(signer=FOREIGN)
    scene.trust_in(key(FOREIGN), root=FOREIGN)
    refused(scene.gate(), "trust", "no trusted key")
    scene.trust.unlink()
    refused(scene.gate(), "trust", "cannot read")


def test_an_older_trust_document_is_refused_also_after_a_restart(scene: Scene) -> None:
    scene.point(signer=FOREIGN)
    scene.trust_in(key(DECISION), key(FOREIGN))  # version 1 trusted the thief
    stolen = scene.trust.read_bytes()
    scene.trust_in(version=2)
    scene.point()
    admitted(scene.gate())
    write_atomic(scene.trust, stolen)
    refused(scene.gate(), "trust", "went back from version 2 to 1")


def test_whoever_hides_the_trust_document_neither_stops_what_serves_nor_prolongs_it(scene: Scene) -> None:
    scene.trust_in(expires=NOW + 2 * DAY)
    scene.point(scene.promotion(lease_end=NOW + 100 * DAY))
    gate = scene.gate()
    admitted(gate)
    scene.trust.write_bytes(b"{}")
    refused(gate, "trust")
    scene.now = NOW + 2 * DAY
    halted(gate, "trust", "has expired")
    scene.now = NOW
    halted(gate, "trust", "has expired")


def test_an_expired_trust_document_is_refused_and_a_clock_set_back_does_not_revive_it(scene: Scene) -> None:
    scene.trust_in(expires=NOW + 2 * DAY)
    scene.point(scene.promotion(lease_end=NOW + 100 * DAY))
    scene.now = NOW + 2 * DAY
    refused(scene.gate(), "trust", "expired")
    scene.now = NOW
    refused(scene.gate(), "trust", "expired")
    scene.trust_in(version=2)
    admitted(scene.gate())


def test_a_decision_key_that_is_revoked_stops_what_it_let_serve(scene: Scene) -> None:
    scene.point()
    gate = scene.gate()
    admitted(gate)
    scene.trust_in(key(DECISION, revoked=NOW - 2_000_000), key(NEWER), version=2)
    halted(gate, "trust", "did not count at the time")


@pytest.mark.parametrize("window", [{"revoked": NOW}, {"until": NOW}])
def test_a_pointer_is_not_dated_back_with_a_key_that_counted_once(scene: Scene, window: dict[str, int]) -> None:
    """The thief's model: everything is signed as of a time at which the stolen key still counted."""
    scene.trust_in(key(DECISION, **window), key(NEWER))
    scene.point()
    refused(scene.gate(), "pointer", "does not count any more")
    scene.point(signer=NEWER)  # governance itself signs the same promotion again: the decision was made in time
    admitted(scene.gate())


def test_a_pointer_by_a_key_that_runs_out_later_is_refused_from_then_on(scene: Scene) -> None:
    scene.trust_in(key(DECISION, until=NOW + 1000), key(NEWER))
    scene.point()
    gate = scene.gate()
    admitted(gate)
    scene.now = NOW + 1000
    refused(gate, "pointer", "any more")  # what serves goes on: its decision was made in time
    scene.point(signer=NEWER)
    refused(gate, "promotion", "newer lease")
    scene.point(scene.promotion().renewed(NOW, NOW + 2 * DAY), signer=NEWER)
    admitted(gate)


def test_a_persons_key_signs_no_pointer(scene: Scene) -> None:
    scene.point(signer=ANNA)
    refused(scene.gate(), "pointer", "no trusted key")


def test_the_roots_key_signs_no_pointer(scene: Scene) -> None:
    scene.point(signer=ROOT)
    refused(scene.gate(), "pointer", "no trusted key")


def test_without_a_decision_key_nothing_is_admitted(scene: Scene) -> None:
    scene.point()
    scene.trust_in(services={"ledger": (key(DECISION),)})
    refused(scene.gate(), "pointer", "at least one public key")


# Envelopes -----------------------------------------------------------------------------------------------


def envelope_of(scene: Scene) -> dict[str, Any]:
    return json.loads(sign_statement(scene.promotion(), scene.signer))  # type: ignore[no-any-return]


def edits() -> dict[str, Callable[[dict[str, Any]], object]]:
    def payload(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
        def apply(envelope: dict[str, Any]) -> None:
            inner = json.loads(base64.b64decode(envelope["payload"]))
            change(inner)
            envelope["payload"] = base64.b64encode(canonical_bytes(inner)).decode()

        return apply

    return {
        "an algorithm of the payload's own": payload(lambda inner: inner.update(alg="none")),
        "an algorithm in the envelope": lambda envelope: envelope.update(alg="none"),
        "an algorithm in the signature": lambda envelope: envelope["signatures"][0].update(alg="none"),
        "a scheme in the signature": lambda envelope: envelope["signatures"][0].update(scheme="rsassa-pss-sha256"),
        "no signature": lambda envelope: envelope.update(signatures=[]),
        "an empty signature": lambda envelope: envelope["signatures"][0].update(sig=""),
        "a second signature": lambda envelope: envelope["signatures"].append(envelope["signatures"][0]),
        "another's key id": lambda envelope: envelope["signatures"][0].update(keyid=ANNA.public.key_id),
        "no key id": lambda envelope: envelope["signatures"][0].update(keyid=""),
        "another payload type": lambda envelope: envelope.update(payloadType="application/vnd.in-toto+JSON"),
        "a later lease": payload(lambda inner: inner["predicate"].update(leaseEnd=NOW + 900 * DAY)),
        "a higher serial": payload(lambda inner: inner["predicate"].update(serial=99)),
    }


@pytest.mark.parametrize("edit", edits())
def test_an_envelope_that_chooses_how_it_is_checked_is_refused(scene: Scene, edit: str) -> None:
    envelope = envelope_of(scene)
    edits()[edit](envelope)
    write_pointer(scene.pointer, canonical_bytes(envelope))
    refused(scene.gate(), "pointer")


# Where a model came from -----------------------------------------------------------------------------------


def with_provenance(scene: Scene, *named: EvidenceReference) -> PromotionStatement:
    decision = scene.decision()
    others = tuple(item for item in decision.evidence if item.uri != PROVENANCE)
    return scene.promotion(replace(decision, evidence=(*others, *named)))


def provenance(scene: Scene, *, model: str = "", run: str = "0193-run", by: Signer = DECISION) -> EvidenceReference:
    model = model or scene.artifacts.put_model(scene.files).digest
    return attested(scene.artifacts, by, model=model, run=run, at=NOW - DAY)


def test_a_decision_names_one_provenance(scene: Scene) -> None:
    scene.point(with_provenance(scene))
    refused(scene.gate(), "provenance", "0 provenance statements")
    scene.point(with_provenance(scene, provenance(scene), provenance(scene, run="another")))
    refused(scene.gate(), "provenance", "2 provenance statements")


def test_provenance_of_something_else_or_by_somebody_else_is_refused(scene: Scene) -> None:
    scene.point(with_provenance(scene, provenance(scene, model=DIGEST)))
    refused(scene.gate(), "provenance", "of another model")
    scene.point(with_provenance(scene, provenance(scene, run="another")))
    refused(scene.gate(), "provenance", "another node run")
    scene.point(with_provenance(scene, provenance(scene, by=FOREIGN)))
    refused(scene.gate(), "provenance", "no trusted key")
    scene.point(with_provenance(scene, EvidenceReference(PROVENANCE, DIGEST)))
    refused(scene.gate(), "provenance", "no artifact")
    decision = scene.artifacts.put(sign_statement(scene.decision(), DECISION))
    scene.point(with_provenance(scene, EvidenceReference(PROVENANCE, decision)))
    refused(scene.gate(), "provenance")


# Bytes -----------------------------------------------------------------------------------------------------


def model_path(scene: Scene) -> Path:
    (entry,) = scene.artifacts.get_manifest(scene.artifacts.put_model(scene.files).digest).entries
    return scene.artifacts.path(entry.sha256)


def test_bytes_swapped_between_check_and_load_are_not_loaded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is replaced, and written over in place, as soon as it was hashed: what was hashed is what loads."""
    scene.point()
    path, original = model_path(scene), scene.files["model.json"]
    load = gate_module.load_model
    swapped: list[str] = []

    def swapping(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - passes on whatever it gets
        at = arguments[-1]

        def told(step: str) -> None:
            if step == "format":
                path.write_bytes(linear_model(0.5))
                write_atomic(path, linear_model(0.75))
                swapped.append(step)
            at(step)

        return load(*arguments[:-1], told, **named)

    monkeypatch.setattr(gate_module, "load_model", swapping)
    answer = admitted(scene.gate())
    assert swapped == ["format"]
    assert answer.files["model.json"] == original
    assert answer.scorer.score_row([1.0] * 30) == Scene.set_up(scene.home / "other").scorer().score_row([1.0] * 30)
    monkeypatch.undo()
    refused(scene.gate(), "artifact", "other bytes")


@pytest.mark.parametrize("size", [1000, 17 << 20])
def test_a_file_that_changes_while_it_is_read_is_not_what_was_signed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """After the first bytes were read the file gets other ones; large files are read in pieces."""
    scene.files = {"weights.bin": os.urandom(size)}
    scene.point()
    path = model_path(scene)
    open_file = reading_module.opened_beneath

    @contextmanager
    def opened(root: Path, asked: Path) -> Iterator[io.BufferedReader]:
        with open_file(root, asked) as file:
            if asked == path:
                file.peek(1)
                path.write_bytes(bytes(size))
            yield file

    monkeypatch.setattr(reading_module, "opened_beneath", opened)
    if size > 1 << 20:
        refused(scene.gate(), "artifact", "other bytes")
    else:  # all of it was read before
        refused(scene.gate(), "format", "unknown")


@pytest.mark.parametrize("link", ["file", "folder"])
def test_symbolic_links_among_the_artifacts_are_not_followed(scene: Scene, link: str) -> None:
    scene.point()
    path = model_path(scene)
    place = path if link == "file" else path.parent
    aside = scene.home / "elsewhere"
    place.rename(aside)
    place.symlink_to(aside)
    refused(scene.gate(), "artifact", "cannot read artifact")
    place.unlink()
    aside.rename(place)
    admitted(scene.gate())


@pytest.mark.parametrize("path", ["../model.json", "/model.json", "a/../model.json", "a//b", "model.json/", "C:model"])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(scene: Scene, path: str) -> None:
    file = scene.artifacts.put(linear_model())
    entry = {"path": path, "sha256": file, "size": len(linear_model())}
    model = scene.artifacts.put(canonical_bytes({"files": [entry], "format": "ion-manifest/1"}))
    scene.point(scene.promotion(scene.decision(model=model)))
    refused(scene.gate(), "manifest", "not allowed in a model")


def test_a_model_over_the_limit_is_refused_before_it_is_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"path": "model.json", "sha256": DIGEST, "size": MAX_MODEL_BYTES + 1}
    model = scene.artifacts.put(canonical_bytes({"files": [entry], "format": "ion-manifest/1"}))
    scene.point(scene.promotion(scene.decision(model=model)))
    monkeypatch.setattr(type(scene.artifacts), "get_files", lambda *_: pytest.fail("it was read"))
    refused(scene.gate(), "manifest", "larger than")


# Formats -----------------------------------------------------------------------------------------------------


class Evil:
    """Unpickling this would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.mark),)


def evil_models(mark: Path) -> dict[str, dict[str, bytes]]:
    code = pickle.dumps(Evil(mark))
    flavor = (
        "artifact_path: model\nflavors:\n  python_function:\n"
        f"    loader_module: evil\n    code: code\n    data: model.json\n# {mark}\n"
    )
    loader = f"import os\nos.mkdir({str(mark)!r})\ndef _load_pyfunc(path):\n    return None\n"
    return {
        "a pickle": {"model.pkl": code},
        "a pickle called JSON": {"model.json": code},
        "an old pickle called JSON": {"model.json": pickle.dumps(Evil(mark), protocol=0)},
        "a pickle beside the model": {"model.json": linear_model(), "extra.joblib": code},
        "cloudpickle": {"model/python_model.cloudpickle": code},
        "an MLflow folder with a loader of its own": {
            "MLmodel": flavor.encode(),
            "code/evil.py": loader.encode(),
            "model.json": linear_model(),
        },
    }


@pytest.mark.parametrize("model", evil_models(Path("x")))
@pytest.mark.parametrize("named", [(), ("pickle", "cloudpickle", "unknown", "mlflow")])
def test_a_model_that_is_code_is_refused_and_never_runs(scene: Scene, model: str, named: tuple[str, ...]) -> None:
    """Also where the policy set names the format and this host would load it: there is no loader."""
    mark = scene.home / "it ran"
    scene.files = evil_models(mark)[model]
    scene.point(scene.promotion(scene.decision(formats=named)))
    refused(scene.gate(), "format")
    refused(scene.gate(formats=frozenset({"pickle", "unknown", "ion-linear/1"})), "format")
    assert not mark.exists()


def test_a_format_that_could_be_code_must_be_named_by_the_policy_set(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a loader planted for it, the name in the signed decision is what decides."""
    scene.files = {"model.pkl": b"harmless"}
    scorer = Scene.set_up(scene.home / "other").scorer()
    monkeypatch.setattr("ion.serving.loading.load_scorer", lambda *_: scorer)
    allowed = frozenset({"pickle"})
    scene.point()
    refused(scene.gate(formats=allowed), "format", "does not name")
    scene.point(scene.promotion(scene.decision(formats=("pickle",)), serial=2))
    refused(scene.gate(), "format", "not allowed here")
    gate = scene.gate(formats=allowed)
    admitted(gate)
    scene.point(scene.promotion(serial=3))  # a later decision on the same bytes takes it back
    refused(gate, "format", "does not name")


# Pointers ------------------------------------------------------------------------------------------------------


def test_a_pointer_replaced_while_the_model_is_read_is_looked_at_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.point()
    load = gate_module.load_model

    def slow(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - passes on whatever it gets
        scene.halt(serial=2)
        return load(*arguments, **named)

    monkeypatch.setattr(gate_module, "load_model", slow)
    halted(scene.gate(), "halt")


def test_a_pointer_that_is_replaced_for_ever_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    promotion = scene.point()
    load, count = gate_module.load_model, iter(range(1, 100))

    def slow(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - passes on whatever it gets
        scene.point(promotion.renewed(NOW + next(count), NOW + DAY))
        return load(*arguments, **named)

    monkeypatch.setattr(gate_module, "load_model", slow)
    refused(scene.gate(), "promotion", "again and again")


def test_a_known_decision_under_another_model_is_refused(scene: Scene) -> None:
    first = scene.point()
    gate = scene.gate()
    admitted(gate)
    scene.files = {"model.json": linear_model(0.5)}
    other = scene.artifacts.put_model(scene.files).digest
    scene.point(replace(first, model=other, serial=2, cause="x"))
    refused(gate, "decision", "another model")


# Revocation ------------------------------------------------------------------------------------------------------


def revoked(scene: Scene, serial: int, *models: str) -> PromotionStatement:
    first = models[0]
    return scene.point(
        replace(
            scene.promotion(), action="revoke", model=first, decision=None, serial=serial, revoked=tuple(sorted(models))
        )
    )


def test_a_revoked_model_never_serves_again(scene: Scene) -> None:
    first = scene.point()
    gate = scene.gate()
    admitted(gate)
    revoked(scene, 2, str(first.model))
    halted(gate, "revoke")
    scene.point(replace(first, serial=3, cause="again"))
    halted(gate, "revoke", "refused at revocation")  # nothing was accepted since
    halted(scene.gate(), "revoke")
    scene.files = {"model.json": linear_model(0.5)}
    scene.point(scene.promotion(serial=4))
    admitted(gate)
    scene.point(replace(first, serial=5, cause="once more"))
    refused(gate, "revocation", "was revoked")
    refused(scene.gate(), "revocation", "was revoked")


def test_a_fall_back_whose_bytes_are_gone_stops_what_was_revoked(scene: Scene) -> None:
    """What is revoked must stop also when what should follow cannot be loaded."""
    first = scene.point()
    scene.files = {"model.json": linear_model(0.5)}
    second = scene.point(scene.promotion(serial=2))
    gate = scene.gate()
    admitted(gate)
    back = replace(first, action="rollback", serial=4, cause="back", revoked=(str(second.model),))
    scene.artifacts.path(str(first.model)).rename(scene.home / "aside")
    scene.point(back)
    halted(gate, "revoke", "refused at manifest")
    refused(scene.gate(), "manifest")
    (scene.home / "aside").rename(scene.artifacts.path(str(first.model)))
    assert admitted(gate).model == first.model
    scene.point(replace(second, serial=5, cause="x"))  # and a later pointer cannot un-revoke it
    refused(gate, "revocation")


def test_a_revocation_of_another_model_does_not_stop_what_serves(scene: Scene) -> None:
    first = scene.point()
    gate = scene.gate()
    admitted(gate)
    revoked(scene, 2, DIGEST)
    refused(gate, "promotion", "withdraws another model")
    scene.point(first.renewed(NOW, NOW + DAY, [DIGEST]))
    assert admitted(gate).serial == 1


@pytest.mark.parametrize(("declared", "end"), [("keep", "admitted"), ("stop", "halted")])
def test_a_pointer_frozen_after_a_revocation_holds_as_long_as_its_lease(scene: Scene, declared: str, end: str) -> None:
    """Whoever keeps the revocation from arriving gains what the node declares, and no fresh process."""
    scene.point(scene.promotion(on_lease_end=declared))
    gate = scene.gate()
    admitted(gate)
    scene.now = NOW + DAY
    (admitted(gate) if end == "admitted" else halted(gate, "lease"))
    refused(scene.gate(state=scene.home / "fresh.json"), "promotion", "the lease has ended")


def test_a_batch_under_way_ends_when_its_model_is_revoked_and_not_when_a_newer_one_comes(scene: Scene) -> None:
    first = scene.point()
    gate = scene.gate()
    batch = admitted(gate)
    assert gate.still(batch) is None
    scene.files = {"model.json": linear_model(0.5)}
    scene.point(scene.promotion(serial=2))
    assert gate.still(batch) is None
    scene.point(scene.promotion(serial=2).renewed(NOW, NOW + DAY, [str(first.model)]))
    ended = gate.still(batch)
    assert ended is not None
    assert (ended.cause, ended.serial) == ("revoke", 1)
    assert gate.still(admitted(gate)) is None
    scene.halt(3)
    assert gate.still(batch) is not None


# Clocks ------------------------------------------------------------------------------------------------------------


def test_no_jump_of_the_clock_revives_a_lease_or_a_decision(scene: Scene) -> None:
    scene.point(scene.promotion(on_lease_end="stop"))
    gate = scene.gate()
    admitted(gate)
    scene.now = NOW + 400 * DAY
    halted(gate, "expiry")
    for scene.now in (NOW - 400 * DAY, NOW, NOW + 1):
        halted(gate, "expiry")
        assert not isinstance(scene.gate().admit(), Admitted)
    scene.point(scene.promotion(scene.decision(reasons=("decided again",)), serial=2, cause="decision-2"))
    admitted(gate)  # governance decides again


def test_a_lease_that_was_seen_to_end_stays_ended_until_it_is_renewed(scene: Scene) -> None:
    promotion = scene.point(scene.promotion(on_lease_end="stop"))
    gate = scene.gate()
    admitted(gate)
    scene.now = NOW + 2 * DAY
    halted(gate, "lease")
    scene.now = NOW
    halted(gate, "lease")
    halted(scene.gate(), "lease")
    scene.point(promotion.renewed(NOW, NOW + DAY))
    admitted(gate)


def test_a_clock_behind_everything_signed_admits_what_was_signed_for_then(scene: Scene) -> None:
    scene.point()
    scene.now = NOW - 400 * DAY
    assert admitted(scene.gate()).serial == 1  # the floor is the pointer's own time


def test_people_may_be_added_while_a_model_serves(scene: Scene) -> None:
    scene.point()
    gate = scene.gate()
    before = admitted(gate)
    dora = Person("dora", "Dora", ("approver",), (), (key(signer_of(50)),))
    scene.trust_in(people=(*PEOPLE, dora), version=2)
    assert admitted(gate) is before
