"""People sign in Dagster's launchpad: the signature counts, and the policy sensor decides again at once."""

from __future__ import annotations

import time
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from ion.clock import now_us
from ion.evidence import DecisionStatement, create_key, load_signer
from ion.evidence.approvals import ApprovalStatement, Word, sign_approval
from ion.evidence.envelope import unverified_payload
from ion.evidence.in_toto import PAYLOAD_TYPE
from ion.evidence.trust_changes import with_person
from ion.evidence.trust_signing import TrustPlace
from ion.facts import AlertRaised, ApprovalGiven, DecisionMade, NodeHalted, NodeRunStarted, Promoted
from ion.ids import new_id
from sensors.review import review

if TYPE_CHECKING:
    from pathlib import Path

    import dagster as dg
    from conftest import Scene

    from ion.evidence import Signer

NODE = "ward/scores"


def introduced(scene: Scene, folder: Path, person: str) -> Signer:
    public = create_key(folder / f"{person}.pem")
    TrustPlace.of(scene.home).sign(
        load_signer(f"file:{scene.home.keys / 'root.pem'}"),
        lambda document: with_person(
            document, person, name=person.title(), roles=("approver",), key=public, at=now_us() - 1_000_000
        ),
    )
    return load_signer(f"file:{folder / f'{person}.pem'}")


def signed(signer: Signer, person: str, model: str, word: Word = "approve") -> str:
    ion, _, node = NODE.partition("/")
    now = now_us()
    said = ApprovalStatement(new_id(), ion, node, model, person, word, "it was tried", now, now + 3_600_000_000)
    return b64encode(sign_approval(said, signer)).decode()


def given(scene: Scene, envelope: str) -> dg.ExecuteInProcessResult:
    config = {"ops": {"record_statement": {"config": {"envelope": envelope}}}}
    return review.execute_in_process(run_config=config, instance=scene.instance, raise_on_error=False)


def decided_on(scene: Scene, people: list[str]) -> DecisionMade:
    """Tick until a second or later decision rests on exactly these people's word; return it."""
    deadline = time.monotonic() + 15.0
    while time.monotonic() < deadline:
        scene.tick()
        decided = scene.facts(DecisionMade)
        newest = decided[-1]
        if len(decided) > 1 and newest.approvals[0]["people"] == people:
            scene.tick()  # by now Dagster shows it
            return newest
    raise AssertionError(newest)


def test_two_people_sign_in_the_launchpad_and_the_model_is_promoted(scene: Scene, tmp_path: Path) -> None:
    scene.train(scene.ion(policy="peopled"))
    (first,) = scene.decided(1)
    assert (first.verdict, first.automatic) == ("defer", False)
    assert scene.events("ward/approval") == []  # it was only put off
    (shown,) = scene.events("ward/approval", observed=True)
    assert shown.asset_observation is not None
    metadata = shown.asset_observation.metadata
    assert "0 of 2 approvals" in str(metadata["reasons"].value)
    assert metadata["approved by"].value == "nobody"
    assert metadata["waits for"].value == "2 in the role approver, signed by nobody yet"
    assert f"ion approve {first.model} --node {NODE}" in str(metadata["to sign"].value)

    anna, ben = (introduced(scene, tmp_path / "keys", person) for person in ("anna", "ben"))
    assert given(scene, signed(anna, "anna", first.model)).success
    assert decided_on(scene, ["anna"]).verdict == "defer"
    assert given(scene, signed(ben, "ben", first.model)).success
    assert decided_on(scene, ["anna", "ben"]).verdict == "approve"
    assert len(scene.facts(Promoted)) == 1
    (approval,) = scene.events("ward/approval")
    assert approval.asset_materialization is not None
    assert approval.asset_materialization.metadata["approved by"].value == "anna, ben"
    assert scene.served(scene.ion(policy="peopled")).success

    assert given(scene, signed(anna, "anna", first.model, "withdraw")).success
    assert decided_on(scene, ["ben"]).verdict == "defer"  # and so it waits again
    assert len(scene.facts(NodeHalted)) == 1
    assert not scene.served(scene.ion(policy="peopled")).success


def test_a_statement_that_nobody_known_signed_fails_the_run_and_is_told(scene: Scene, tmp_path: Path) -> None:
    scene.train(scene.ion(policy="peopled"))
    (first,) = scene.decided(1)
    introduced(scene, tmp_path / "keys", "anna")
    create_key(tmp_path / "keys" / "eve.pem")
    eve = load_signer(f"file:{tmp_path / 'keys' / 'eve.pem'}")
    assert not given(scene, signed(eve, "anna", first.model)).success
    assert not given(scene, "not base64!").success
    assert scene.facts(ApprovalGiven) == []
    assert [fact.alert for fact in scene.facts(AlertRaised)] == ["approval-refused"]


@pytest.mark.parametrize(
    ("tags", "environment", "named"),
    [
        ({"ion/submitter": "anna", "user": "ben"}, "carl", "anna"),
        ({"user": "Anna"}, "carl", "Anna"),
        ({}, "ANNA", "ANNA"),
    ],
)
def test_whoever_launched_the_training_does_not_approve_its_model(
    scene: Scene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tags: dict[str, str],
    environment: str,
    named: str,
) -> None:
    monkeypatch.setenv("ION_SUBMITTER", environment)
    ward = scene.ion(policy="peopled")
    ops = {"ward__patients": {"seed": 7}, "ward__recommender": {"weight": 1.0, "registered_as": ""}}
    assert scene.run(ward, "patients", "recommender", ops=ops, tags=tags).success  # type: ignore[arg-type]
    (first,) = scene.decided(1)
    assert named in DecisionStatement.from_payload(unverified_payload(first.envelope.encode(), PAYLOAD_TYPE)).submitters
    anna = introduced(scene, tmp_path / "keys", "anna")
    assert given(scene, signed(anna, "anna", first.model)).success
    decided_on(scene, [])
    assert "anna submitted the model" in str(scene.facts(DecisionMade)[-1].reasons)


def test_without_a_name_of_its_own_a_training_is_its_users(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ION_SUBMITTER", raising=False)
    monkeypatch.setattr("getpass.getuser", lambda: "the user of this process")
    scene.train(scene.ion())
    (started,) = [fact for fact in scene.facts(NodeRunStarted) if fact.node_kind == "training"]
    assert started.submitter == "the user of this process"
