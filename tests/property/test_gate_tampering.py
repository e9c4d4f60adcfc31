"""Every single-bit flip in what the gate reads is a refusal, and no bytes make it raise."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.evidence import Unverified, verify_decision, verify_promotion
from ion.evidence.decisions import RequiredApprovals
from ion.evidence.grounds import PROVENANCE
from ion.evidence.trust_root import TrustRoot
from ion.serving import Admitted, Halted, Refused
from tests.unit.test_gate_scene import ANNA, DAY, NOW, Scene

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory() as folder:
        yield Scene.set_up(Path(folder))


STEPS = ["trust", "pointer", "approvals", "decision", "provenance", "manifest", "artifact"]


def _paths(scene: Scene) -> dict[str, Path]:
    approval = scene.approval("anna", ANNA)
    asked = RequiredApprovals("approver", 1, (approval,))
    decision = scene.decision(approvals=(asked,), automatic=False)
    promotion = scene.point(scene.promotion(decision))
    (provenance,) = [item.digest for item in decision.evidence if item.uri == PROVENANCE]
    (entry,) = scene.artifacts.get_manifest(str(promotion.model)).entries
    return {
        "trust": scene.trust,
        "approvals": scene.artifacts.path(approval),
        "provenance": scene.artifacts.path(provenance),
        "pointer": scene.pointer,
        "decision": scene.artifacts.path(str(promotion.decision)),
        "manifest": scene.artifacts.path(str(promotion.model)),
        "artifact": scene.artifacts.path(entry.sha256),
    }


WHOLLY = {"pointer", "approvals"}


def _flips(data: bytes, *, wholly: bool = True) -> Iterator[bytes]:
    """Every bit, or one bit of every byte."""
    flipped = bytearray(data)
    for position in range(len(data)):
        for bit in range(8) if wholly else [position % 8]:
            flipped[position] ^= 1 << bit
            yield bytes(flipped)
            flipped[position] ^= 1 << bit


@pytest.mark.parametrize("step", STEPS)
def test_a_flipped_bit_is_refused_at_its_step(scene: Scene, step: str) -> None:
    path = _paths(scene)[step]
    good = path.read_bytes()
    gate = scene.gate(state=scene.home / f"{step}.json")
    try:
        for bad in _flips(good, wholly=step in WHOLLY):
            path.write_bytes(bad)
            answer = gate.admit()
            assert isinstance(answer, Refused), answer
            assert answer.step == step, answer
        path.write_bytes(good)
        assert isinstance(gate.admit(), Admitted)  # the flips were the only fault
    finally:
        path.write_bytes(good)


def test_every_single_bit_flip_breaks_a_signed_decision(scene: Scene) -> None:
    trust = TrustRoot((scene.signer.public,))
    envelope = _paths(scene)["decision"].read_bytes()
    assert not isinstance(verify_decision(envelope, trust), Unverified)
    for bad in _flips(envelope):
        assert isinstance(verify_decision(bad, trust), Unverified)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_damage_to_any_file_is_refused(scene: Scene, data: st.DataObject) -> None:
    step, path = data.draw(st.sampled_from(sorted(_paths(scene).items())))
    good = path.read_bytes()
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 40)))
    bad = good[:start] + data.draw(st.binary(max_size=40)) + good[end:]
    if bad == good:
        return
    try:
        path.write_bytes(bad)
        answer = scene.gate(state=scene.home / "damage.json").admit()
        assert isinstance(answer, Refused)
        assert answer.step == step
    finally:
        path.write_bytes(good)


@given(st.binary(max_size=2000) | st.text(max_size=500).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_verification_raise(scene: Scene, data: bytes) -> None:
    trust = TrustRoot((scene.signer.public,))
    assert isinstance(verify_promotion(data, trust), Unverified)
    assert isinstance(verify_decision(data, trust), Unverified)


@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["promote", "renew", "halt", "replay"])), max_size=12))
@settings(max_examples=40, deadline=None)
def test_whatever_is_pointed_at_the_serial_served_never_falls(steps: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene.set_up(Path(folder))
        gate, highest, seen, ended = scene.gate(), 0, [scene.promotion()], False
        for count, (serial, step) in enumerate(steps):
            if step == "halt":
                scene.halt(serial)
                answer = gate.admit()
                if serial > highest:
                    assert isinstance(answer, Halted)
                    highest, ended = serial, True
            else:
                if step == "replay":
                    promotion = seen[serial % len(seen)]
                elif step == "renew":
                    last = seen[-1]
                    promotion = replace(last, issued=last.issued + count + 1, lease_end=NOW + DAY + count)
                else:
                    promotion = scene.promotion(serial=serial, cause=f"decision-{serial}-{count}")
                scene.point(promotion)
                seen.append(promotion)
                answer = gate.admit()
                if isinstance(answer, Admitted):
                    assert answer.serial >= highest
                    assert not (ended and answer.serial == highest), "a halt was undone by its own serial"
                    highest, ended = answer.serial, False
                elif promotion.serial > highest:
                    pytest.fail(f"a fresh promotion was not admitted: {answer}")
            if count % 3 == 2:
                gate = scene.gate()  # a restart forgets nothing
