from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import ion.evidence.grounds as grounds_module
import ion.serving.gate as gate_module
import ion.serving.loading as loading_module
from ion.canonical import digest_bytes
from ion.errors import IonError
from ion.evidence import ArtifactStore, Entry, Manifest, sign_statement
from ion.serving import Admitted, Gate, Halted, Refused, write_pointer
from ion.serving.acceptance import Memory
from ion.serving.loading import check_format, load_model
from ion.serving.memory_file import MemoryFile, Recollection
from tests.unit.test_gate_scene import DAY, DECISION, DIGEST, NODE, NOW, Scene, key, linear_model, signer_of

if TYPE_CHECKING:
    from pathlib import Path


FOREIGN = signer_of(99)


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


def halted(gate: Gate, cause: str) -> Halted:
    answer = gate.admit()
    assert isinstance(answer, Halted), answer
    assert answer.cause == cause
    return answer


# The pointer ---------------------------------------------------------------------------------


def test_no_pointer_is_a_refusal(scene: Scene) -> None:
    refused(scene.gate(), "pointer", "not found")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"payload":', b"[" * 100_000, b"x" * (1 << 20) + b"x"]
)
def test_something_else_than_an_envelope_is_refused(scene: Scene, content: bytes) -> None:
    write_pointer(scene.pointer, content)
    refused(scene.gate(), "pointer")


def test_a_pipe_instead_of_a_pointer_is_refused_without_waiting(scene: Scene) -> None:
    scene.pointer.parent.mkdir(parents=True)
    os.mkfifo(scene.pointer)
    refused(scene.gate(), "pointer", "not a regular file")


def test_a_pointer_signed_with_a_foreign_key_is_refused(scene: Scene) -> None:
    scene.point(signer=FOREIGN)
    refused(scene.gate(), "pointer", "no trusted key")


def test_a_decision_is_no_pointer(scene: Scene) -> None:
    write_pointer(scene.pointer, sign_statement(scene.decision(), scene.signer))
    refused(scene.gate(), "pointer")


def test_the_pointer_of_another_node_is_refused(scene: Scene) -> None:
    scene.point(scene.promotion(node="elsewhere"))
    refused(scene.gate(), "node", "patient_tests/elsewhere")


def test_a_refusal_names_no_path_of_the_host(scene: Scene) -> None:
    scene.point(replace(scene.promotion(), decision=DIGEST))
    for gate in (scene.gate(), scene.gate(pointer=scene.home / "absent")):
        answer = gate.admit()
        assert isinstance(answer, Refused)
        assert str(scene.home) not in answer.reason
        assert "/" not in answer.reason


# Serials -------------------------------------------------------------------------------------


def test_a_lower_serial_is_refused_also_after_a_restart(scene: Scene) -> None:
    scene.point(scene.promotion(serial=5))
    gate = scene.gate()
    admitted(gate)
    scene.point(scene.promotion(serial=4))
    refused(gate, "promotion", "lower than 5")
    refused(scene.gate(), "promotion", "lower than 5")


def test_the_same_serial_with_other_content_is_refused(scene: Scene) -> None:
    scene.point(scene.promotion(serial=5))
    gate = scene.gate()
    admitted(gate)
    scene.point(scene.promotion(serial=5, cause="another", issued=NOW))
    refused(gate, "promotion", "other content")


def test_a_lease_renewal_is_admitted_with_the_same_scorer(scene: Scene) -> None:
    promotion = scene.point()
    gate = scene.gate()
    before = admitted(gate)
    scene.point(promotion.renewed(NOW, NOW + 2 * DAY))
    after = admitted(gate)
    assert after.lease_end == NOW + 2 * DAY
    assert after.pointer != before.pointer
    assert after.scorer is before.scorer
    scene.point(promotion)
    refused(gate, "promotion", "newer lease")
    refused(scene.gate(), "promotion", "newer lease")


def test_a_refused_pointer_does_not_raise_the_serial(scene: Scene) -> None:
    scene.point()
    gate = scene.gate()
    admitted(gate)
    scene.point(scene.promotion(serial=9, decision=DIGEST))
    refused(gate, "decision")
    scene.point()
    assert admitted(gate).serial == 1


def test_a_rollback_is_admitted_with_a_higher_serial(scene: Scene) -> None:
    first = scene.point()
    gate = scene.gate()
    admitted(gate)
    scene.files = {"model.json": linear_model(0.5)}
    scene.point(scene.promotion(serial=2))
    assert admitted(gate).model != first.model
    scene.point(replace(first, action="rollback", serial=3, cause="rollback-1", issued=NOW))
    assert admitted(gate).model == first.model


def test_the_same_object_is_answered_while_nothing_changes(scene: Scene) -> None:
    scene.point()
    gate = scene.gate()
    assert admitted(gate) is admitted(gate)


def test_a_damaged_state_refuses_and_a_running_gate_remembers(scene: Scene) -> None:
    scene.point(scene.promotion(serial=5))
    gate = scene.gate()
    admitted(gate)
    scene.state.write_bytes(scene.state.read_bytes()[:-5])
    refused(gate, "trust", "damaged")
    refused(scene.gate(), "trust", "damaged")
    scene.state.unlink()
    scene.point(scene.promotion(serial=4))
    refused(gate, "promotion", "lower than 5")
    scene.point(scene.promotion(serial=5))
    admitted(gate)
    assert scene.state.exists()


def test_the_state_of_another_node_is_refused(scene: Scene) -> None:
    scene.point()
    admitted(scene.gate())
    refused(scene.gate(node="patient_tests/elsewhere"), "trust", "gate's state is of")


def test_two_gates_with_one_state_never_go_back(scene: Scene) -> None:
    one, two = scene.gate(), scene.gate(pointer=scene.home / "two.json")
    scene.point(scene.promotion(serial=7))
    old = scene.pointer.read_bytes()
    admitted(one)
    scene.point(scene.promotion(serial=8))
    admitted(one)
    write_pointer(scene.home / "two.json", old)
    refused(two, "promotion", "lower than 8")


def test_a_state_that_cannot_be_written_refuses(scene: Scene) -> None:
    scene.point()
    blocked = scene.home / "file"
    blocked.write_text("")
    assert isinstance(scene.gate(state=blocked / "gate.json").admit(), Refused)


# Leases, expiry, halts ------------------------------------------------------------------------


def test_an_ended_lease_does_not_start_a_model(scene: Scene) -> None:
    scene.point()
    scene.now = NOW + DAY
    refused(scene.gate(), "promotion", "the lease has ended")


def test_an_ended_lease_keeps_the_model_where_declared_also_after_a_restart(scene: Scene) -> None:
    scene.point(scene.promotion(on_lease_end="keep"))
    gate = scene.gate()
    admitted(gate)
    scene.now = NOW + DAY
    admitted(gate)
    admitted(scene.gate())


def test_an_ended_lease_stops_the_model_where_declared(scene: Scene) -> None:
    scene.point(scene.promotion(on_lease_end="stop"))
    gate = scene.gate()
    admitted(gate)
    scene.now = NOW + DAY - 1
    admitted(gate)
    scene.now = NOW + DAY
    halted(gate, "lease")
    scene.pointer.unlink()  # whoever hides the pointer does not prolong the lease
    halted(gate, "lease")
    halted(scene.gate(), "lease")
    scene.point(scene.promotion(on_lease_end="stop").renewed(NOW + DAY, NOW + 2 * DAY))
    admitted(gate)


def test_an_expired_decision_is_refused(scene: Scene) -> None:
    decision = scene.decision(expires=NOW + 1000)
    scene.point(scene.promotion(decision))
    scene.now = NOW + 999
    gate = scene.gate()
    admitted(gate)
    scene.now = NOW + 1000
    assert "the decision has expired" in halted(gate, "expiry").reason  # what serves, stops
    halted(gate, "expiry")
    refused(scene.gate(), "decision", "expired")


def test_a_clock_set_back_does_not_bring_a_lease_or_a_decision_back(scene: Scene) -> None:
    first = scene.promotion(scene.decision(expires=NOW + 1000), on_lease_end="stop")
    scene.point(first)
    gate = scene.gate()
    admitted(gate)
    scene.point(scene.promotion(serial=2, decision=DIGEST, issued=NOW + 5000))  # refused, but its time was seen
    halted(gate, "expiry")
    scene.now = NOW - DAY
    scene.point(first)
    refused(scene.gate(), "decision", "expired")


def test_a_halt_stops_outlives_restarts_and_cannot_be_replayed_away(scene: Scene) -> None:
    scene.point()
    before = scene.pointer.read_bytes()
    gate = scene.gate()
    admitted(gate)
    scene.halt(serial=2)
    assert halted(gate, "halt").serial == 2
    write_pointer(scene.pointer, before)
    assert "lower than 2" in halted(gate, "halt").reason
    halted(scene.gate(), "halt")
    scene.point(scene.promotion(serial=3))
    assert admitted(gate).serial == 3


def test_a_halt_holds_beyond_its_lease(scene: Scene) -> None:
    scene.halt(serial=1)
    scene.now = NOW + 100 * DAY
    halted(scene.gate(), "halt")


def test_a_revocation_stops(scene: Scene) -> None:
    scene.point()
    gate = scene.gate()
    admitted(gate)
    withdrawn = scene.promotion()
    scene.point(replace(withdrawn, action="revoke", decision=None, serial=2, revoked=(str(withdrawn.model),)))
    halted(gate, "revoke")


def test_a_stop_says_which_pointer_and_which_serial_it_obeys(scene: Scene) -> None:
    scene.point(scene.promotion(on_lease_end="stop"))
    gate = scene.gate()
    promoted = admitted(gate)
    scene.now = NOW + DAY
    over = halted(gate, "lease")
    assert (over.serial, over.pointer) == (1, promoted.pointer)
    scene.halt(serial=2)
    told = halted(gate, "halt")
    assert (told.serial, told.pointer) == (2, digest_bytes(scene.pointer.read_bytes()))
    scene.pointer.unlink()
    again = halted(gate, "halt")
    assert (again.serial, again.pointer) == (2, told.pointer)


def test_what_serves_is_stopped_by_what_is_known_of_its_model(scene: Scene) -> None:
    scene.point()
    gate = scene.gate()
    first = admitted(gate)
    assert gate.still(first) is None
    withdrawn = scene.promotion()
    scene.point(replace(withdrawn, action="revoke", decision=None, serial=2, revoked=(str(withdrawn.model),)))
    stopped = gate.still(first)
    assert stopped is not None
    assert (stopped.cause, stopped.serial) == ("revoke", 2)


@pytest.mark.parametrize("formats", [(), ("other/1",), ("pickle",)], ids=["none", "another", "not named"])
def test_a_format_that_is_not_allowed_or_not_named_has_its_code(formats: tuple[str, ...]) -> None:
    for name in ("ion-linear/1", "pickle"):
        with pytest.raises(IonError) as caught:
            check_format(name, formats, ())
        assert caught.value.code == "model-format"
    check_format("ion-linear/1", ("ion-linear/1",), ())
    check_format("pickle", ("pickle",), ("pickle",))


def test_a_model_is_as_large_as_is_allowed_and_no_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(tmp_path)
    model = store.put_model({"model.json": linear_model()}).digest
    monkeypatch.setattr("ion.serving.loading.MAX_MODEL_BYTES", len(linear_model()))
    assert load_model(store, model, ["ion-linear/1"], [], lambda _: None).format == "ion-linear/1"
    monkeypatch.setattr("ion.serving.loading.MAX_MODEL_BYTES", len(linear_model()) - 1)
    with pytest.raises(IonError) as caught:
        load_model(store, model, ["ion-linear/1"], [], lambda _: None)
    assert caught.value.code == "model-too-large"


# The decision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["reject", "defer"])
def test_only_an_approval_admits(scene: Scene, verdict: str) -> None:
    scene.point(scene.promotion(scene.decision(verdict=verdict)))
    refused(scene.gate(), "decision", verdict)


def test_a_decision_about_another_model_is_refused(scene: Scene) -> None:
    scene.point(scene.promotion(scene.decision(model=DIGEST), model=scene.decision().model))
    refused(scene.gate(), "decision", "another model")


@pytest.mark.parametrize("place", [{"node": "elsewhere"}, {"ion": "other"}])
def test_a_decision_for_another_node_is_refused(scene: Scene, place: dict[str, str]) -> None:
    scene.point(scene.promotion(scene.decision(**place)))
    refused(scene.gate(), "decision", "the decision is for")


def test_a_decision_signed_with_a_foreign_key_is_refused(scene: Scene) -> None:
    decision = scene.artifacts.put(sign_statement(scene.decision(), FOREIGN))
    scene.point(scene.promotion(decision=decision))
    refused(scene.gate(), "decision", "no trusted key")
    scene.trust_in(key(DECISION), key(FOREIGN), version=2)
    admitted(scene.gate())


def test_a_promotion_is_no_decision(scene: Scene) -> None:
    envelope = scene.artifacts.put(sign_statement(scene.promotion(), scene.signer))
    scene.point(scene.promotion(decision=envelope))
    refused(scene.gate(), "decision")


# The model -------------------------------------------------------------------------------------


def test_a_missing_manifest_is_refused(scene: Scene) -> None:
    promotion = scene.point()
    scene.artifacts.path(str(promotion.model)).unlink()
    refused(scene.gate(), "manifest", "no artifact")


def test_a_manifest_of_other_bytes_is_refused(scene: Scene) -> None:
    model = scene.artifacts.put(b'{"files":[],"format":"ion-manifest/1"}')
    scene.point(scene.promotion(scene.decision(model=model)))
    refused(scene.gate(), "manifest")


def test_a_changed_model_file_is_refused(scene: Scene) -> None:
    promotion = scene.point()
    (entry,) = scene.artifacts.get_manifest(str(promotion.model)).entries
    scene.artifacts.path(entry.sha256).write_bytes(linear_model(0.5))
    refused(scene.gate(), "artifact")


@pytest.mark.parametrize("more", [1, -1])
def test_a_file_of_another_size_than_listed_is_refused(scene: Scene, more: int) -> None:
    data = scene.files["model.json"]
    digest = scene.artifacts.put(data)
    model = scene.artifacts.put(Manifest((Entry("model.json", len(data) + more, digest),)).to_bytes())
    scene.point(scene.promotion(scene.decision(model=model)))
    refused(scene.gate(), "artifact")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"model.pkl": b"cos\nsystem\n"}, "pickle"),
        ({"model.json": b"\x80\x04N."}, "pickle"),
        ({"model.json": linear_model(), "extra.bin": b"1"}, "unknown"),
        ({"weights.bin": b"1"}, "unknown"),
        ({"model.json": b'{"format":"ion-linear/2"}'}, "ion-linear/2"),
        ({"model.json": b'{"format":"ion-linear/1"}'}, "missing"),
        ({"model.json": b"not json"}, "not JSON"),
    ],
)
def test_other_formats_are_refused(scene: Scene, files: dict[str, bytes], reason: str) -> None:
    scene.files = files
    scene.point()
    refused(scene.gate(), "format", reason)


def test_a_format_must_be_allowed(scene: Scene) -> None:
    scene.point()
    refused(scene.gate(formats=frozenset()), "format", "not allowed")


# Whatever goes wrong -----------------------------------------------------------------------------


class PlantedError(Exception):
    pass


def _raise(*_: object, **__: object) -> object:
    raise PlantedError("/a/path/of/this/host")


class Incomparable(str):
    __slots__ = ()
    __hash__ = str.__hash__

    def __ne__(self, other: object) -> bool:
        return bool(_raise())


def accepted(scene: Scene) -> object:
    """What the state file says was accepted last."""
    return MemoryFile(scene.state, NODE).read().accepted


Breakage = tuple[object, str, object]
BREAKAGES: dict[str, Breakage] = {
    "trust": (gate_module.Gate, "_believed", _raise),
    "pointer": (gate_module, "read_pointer", _raise),
    "approvals": (grounds_module, "_approved_until", _raise),
    "decision": (grounds_module, "verify_decision", _raise),
    "provenance": (grounds_module, "verify_provenance", _raise),
    "manifest": (ArtifactStore, "get_manifest", _raise),
    "artifact": (ArtifactStore, "get_files", _raise),
    "format": (loading_module, "load_scorer", _raise),
    "promotion": (Memory, "accepting", _raise),
    "revocation": (Recollection, "is_revoked", _raise),
    "accept": (MemoryFile, "update", _raise),
}


@pytest.mark.parametrize("step", [*BREAKAGES, "node"])
@pytest.mark.parametrize("before", ["nothing serves", "something serves"])
def test_an_exception_at_any_step_is_a_refusal_at_that_step(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, step: str, before: str
) -> None:
    gate = scene.gate()
    if before == "something serves":
        scene.point()
        admitted(gate)
        scene.files = {"model.json": linear_model(0.5)}
    known = accepted(scene)
    scene.point(scene.promotion(serial=2))
    with monkeypatch.context() as patch:
        if step == "node":
            patch.setattr(gate, "_node", Incomparable("patient_tests/predictions"))
        else:
            where, name, planted = BREAKAGES[step]
            patch.setattr(where, name, planted)
        answer = gate.admit()
    assert isinstance(answer, Refused | Halted), answer
    if isinstance(answer, Refused):
        assert answer.step == step
    else:  # what cannot be judged does not go on
        assert (before, step) == ("something serves", "revocation")
        assert "refused at revocation" in answer.reason
    assert "/a/path" not in answer.reason
    assert accepted(scene) == known
    assert admitted(gate).serial == 2  # whatever it was, it leaves nothing behind


def test_no_time_left_is_a_refusal(scene: Scene) -> None:
    scene.point()
    answer = scene.gate().admit(timeout=-1.0)
    assert isinstance(answer, Refused)
    assert answer.reason == "no time left"
    assert isinstance(scene.gate().admit(timeout=30.0), Admitted)


def test_slow_steps_run_into_the_deadline(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.point()
    read = ArtifactStore.get_manifest

    def slow(store: ArtifactStore, model: str) -> object:
        time.sleep(0.3)
        return read(store, model)

    monkeypatch.setattr(ArtifactStore, "get_manifest", slow)
    answer = scene.gate().admit(timeout=0.2)
    assert isinstance(answer, Refused)
    assert answer == Refused("artifact", "no time left")
    assert accepted(scene) is None


def test_threads_may_share_a_gate(scene: Scene) -> None:
    gate = scene.gate()
    answers: list[object] = []

    def poll() -> None:
        answers.extend(gate.admit() for _ in range(20))

    scene.point()
    threads = [threading.Thread(target=poll) for _ in range(4)]
    for thread in threads:
        thread.start()
    for serial in range(2, 12):
        scene.point(scene.promotion(serial=serial))
    for thread in threads:
        thread.join()
    assert len(answers) == 80
    assert all(isinstance(answer, Admitted) for answer in answers)
    assert admitted(gate).serial == 11
