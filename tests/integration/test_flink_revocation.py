"""A revocation reaches a running streaming job within two seconds: it falls back, or stops predicting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ion.agent import ship_all
from ion.clock import now_us
from ion.evidence import DecisionStatement, sign_statement
from ion.facts import AdmissionRefused, DecisionMade, EpochClosed, EpochOpened, ModelRecorded, NodeRunEnded, RolledBack
from ion.graph import Definition, define
from ion.ids import new_id
from ion.serving.promoting import open_promotions
from ion.testing import attested
from tests.integration.flink_scene import HOUR_US, NODE, Scene, linear_model, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.records import Recorded

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]

WITHIN_US = 2_000_000
POLICY = "patient_tests/approval"


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    node = {"name": "predictions", "kind": "inference", "mode": "streaming", "on_revocation": "fall_back"}
    define(made.store, Definition.from_json({"ion": "patient_tests", "nodes": [node], "edges": []}))
    yield made
    made.close()


def promote(scene: Scene, seed: int) -> str:
    """Record a candidate and an approving decision, and promote it as governance does; return the model."""
    model, run, now = scene.artifacts.put_model({"model.json": linear_model(seed)}).digest, new_id(), now_us()
    statement = DecisionStatement(
        ion="patient_tests",
        node="predictions",
        model=model,
        candidate_run=run,
        verdict="approve",
        reasons=("good",),
        policy_uri="policy:test",
        policy_digest=model,
        evidence=(attested(scene.artifacts, scene.signer, model=model, run=run, at=now),),
        decided=now,
        expires=now + HOUR_US,
        verifier_version="0",
    )
    envelope = sign_statement(statement, scene.signer)
    decision = DecisionMade(
        decision=new_id(), node=NODE, model=model, run=run, verdict="approve", reasons=[], policy_set="test",
        policy_digest=model, evidence={}, expires=statement.expires, envelope=envelope.decode(),
        envelope_digest=scene.artifacts.put(envelope),
    )  # fmt: skip
    promotions = open_promotions(scene.home, scene.store, scene.signer)
    with scene.store.command() as command:
        position = command.record(
            ModelRecorded(
                run=run, node="patient_tests/model", model=model, name="m", format="ion-linear/1", size=1, features=[],
                label="", input_schema=[], output_schema=[], metrics={}, datasets={},
            )
        )  # fmt: skip
        command.record(decision)
        assert promotions.promote(command, decision, position, POLICY, "keep")
    assert promotions.publish(NODE)
    return model


def opened(scene: Scene) -> list[Recorded[EpochOpened]]:
    ship_all(scene.home.spool, scene.store)
    return scene.store.find(EpochOpened)


def serves(scene: Scene, model: str) -> bool:
    return opened(scene)[-1].fact.models["champion"] == model


def test_a_revocation_reaches_the_job_within_two_seconds(scene: Scene) -> None:
    """Ten models are promoted and revoked, each time back to the first; then that one is revoked, too."""
    first = promote(scene, 0)
    scene.start()
    promotions = open_promotions(scene.home, scene.store, scene.signer)
    took: list[int] = []
    for seed in range(1, 11):
        model = promote(scene, seed)
        assert until(lambda model=model: serves(scene, model)), scene.log()  # type: ignore[misc]
        scene.feed(20)
        began = now_us()
        promotions.revoke(NODE, model, reason="a drill", by="test")
        assert until(lambda: serves(scene, first)), scene.log()
        took.append(opened(scene)[-1].us - began)
    backs = [record.fact for record in scene.store.find(RolledBack)]
    assert [back.model for back in backs] == [first] * 10
    assert [fact.cause for fact in scene.facts(EpochOpened)][2::2] == [back.cause for back in backs]
    assert max(took) <= WITHIN_US, took

    began = now_us()
    promotions.revoke(NODE, first, reason="a drill", by="test")
    assert until(lambda: not scene.deployment.status().running), scene.log()
    ship_all(scene.home.spool, scene.store)
    last = scene.store.find(EpochClosed)[-1]
    assert last.fact.epoch == opened(scene)[-1].fact.epoch
    assert last.fact.reason.startswith("halted: stopped by a signed statement")
    assert last.us - began <= WITHIN_US
    (refused,) = scene.facts(AdmissionRefused)
    assert refused.step == "revoke"
    (end,) = scene.facts(NodeRunEnded)
    assert end.status == "halted"

    # Not one prediction was made by a model after it was revoked and had been left.
    closed = {record.fact.epoch: record.us for record in scene.store.find(EpochClosed)}
    assert all(row.us <= closed[row.epoch] for row in scene.committed())
