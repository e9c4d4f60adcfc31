"""The promotion sensor on a real instance: decides once, promotes once, shows once, whatever breaks in between."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from ion.dagster import reporting
from ion.dagster.governing import open_governor
from ion.decision import Promotions
from ion.evidence.artifacts import ArtifactStore
from ion.evidence.trust import trust_file
from ion.facts import DagsterReported, DecisionMade, MessageReceived, ModelRecorded, Promoted
from ion.serving import Admitted, Gate, Refused, pointer_path
from ion.testing import patients
from sensors import promotion
from sensors.deployment import deployment

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Scene

POINTER = "dagster/input_event_pointer/"


def admitted(scene: Scene, node: str = "ward/scores") -> object:
    trust = trust_file(scene.home)
    state = scene.home.root / "state-of-the-test.json"
    return Gate(pointer_path(scene.home.root, node), ArtifactStore(scene.home.artifacts), trust, node, state).admit()


def counts(scene: Scene) -> dict[str, int]:
    return {
        "decisions": len(scene.facts(DecisionMade)),
        "promotions": len(scene.facts(Promoted)),
        "approvals": len(scene.events("ward/approval")),
        "deployments": len(scene.events("ward/deployment")),
        "reported": len(scene.facts(DagsterReported)),
    }


ONCE = {"decisions": 1, "promotions": 1, "approvals": 1, "deployments": 1, "reported": 2}


def test_an_approved_candidate_is_promoted_and_shown_with_its_provenance(scene: Scene) -> None:
    scene.train(scene.ion())
    (decision,) = scene.decided(1)
    assert decision.verdict == "approve"
    (promoted,) = scene.facts(Promoted)
    assert (promoted.cause, promoted.model, promoted.serial) == (decision.decision, decision.model, 1)
    (model,) = scene.facts(ModelRecorded)
    assert len(scene.facts(MessageReceived, decision.decision)) == 1

    (trained,) = scene.events("ward/recommender")
    (approval,) = scene.events("ward/approval")
    (approval_tags,) = scene.tags("ward/approval")
    assert approval_tags["ion/decision"] == decision.decision
    assert approval_tags["ion/verdict"] == "approve"
    assert approval_tags[POINTER + "ward/recommender"] == str(trained.storage_id)
    (deployed_tags,) = scene.tags("ward/deployment")
    assert deployed_tags["ion/serial"] == "1"
    assert deployed_tags[POINTER + "ward/approval"] == str(approval.storage_id)

    shown = approval.asset_materialization
    assert shown is not None
    assert shown.metadata["model digest"].value == model.model
    reasons = str(shown.metadata["reasons"].value)
    assert reasons.count("✓") == len(decision.reasons) > 3
    assert "✗" not in reasons
    assert {(fact.asset, fact.storage_id) for fact in scene.facts(DagsterReported)} == {
        ("ward/approval", approval.storage_id),
        ("ward/deployment", scene.events("ward/deployment")[0].storage_id),
    }
    answer = admitted(scene)
    assert isinstance(answer, Admitted)
    assert (answer.model, answer.serial, answer.cause) == (model.model, 1, decision.decision)


def test_ticking_again_from_any_cursor_changes_nothing(scene: Scene) -> None:
    scene.train(scene.ion())
    scene.decided(1)
    assert counts(scene) == ONCE
    cursor = scene.tick(None).cursor
    scene.tick(cursor)
    scene.tick("0")
    assert counts(scene) == ONCE


def test_many_governors_at_the_same_moment_decide_once(scene: Scene) -> None:
    scene.train(scene.ion(policy="together"))
    (candidate,) = scene.store.candidates()
    outcomes: list[object] = []

    def consider() -> None:
        governor = open_governor(scene.home, scene.instance)
        outcomes.extend(governor.consider(candidate))
        governor.store.close()

    threads = [threading.Thread(target=consider) for _ in range(scene.policy_sets.AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 1
    scene.tick()
    assert counts(scene) == ONCE


SENSOR = """
import sys, time
from pathlib import Path
import dagster as dg
import sklearn.metrics
from ion.dagster.governing import open_governor
from ion.facts import Promoted
from ion.home import Home
from sensors.promotion import watch

with dg.DagsterInstance.get() as instance:
    governor = open_governor(Home.find(), instance)
    Path(sys.argv[1]).touch()
    while not Path(sys.argv[2]).exists():
        time.sleep(0.005)
    end = time.monotonic() + 30.0  # a machine with other work to do takes its time
    while not governor.store.find(Promoted) and time.monotonic() < end:
        watch(governor, instance, 0, 0.5)
    watch(governor, instance, 0, 1.0)
"""


def test_two_processes_promote_and_show_once(scene: Scene, tmp_path: Path) -> None:
    scene.train(scene.ion())
    open_governor(scene.home, scene.instance).store.close()  # makes the key: that race is not what is tested here
    start = tmp_path / "start"
    environment = {**os.environ, "DAGSTER_HOME": scene.instance.root_directory, "PYTHONPATH": os.pathsep.join(sys.path)}
    ready = [tmp_path / f"ready-{number}" for number in range(2)]
    running = [
        subprocess.Popen([sys.executable, "-c", SENSOR, str(path), str(start)], env=environment) for path in ready
    ]
    try:
        while not all(path.exists() for path in ready) and all(process.poll() is None for process in running):
            time.sleep(0.02)
        start.touch()
        assert [process.wait(timeout=60) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert counts(scene) == ONCE


@pytest.mark.parametrize("crash_at", ["approval", "deployment", "fact"])
def test_a_crash_between_commit_and_report_is_made_good_by_the_next_tick(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, crash_at: str
) -> None:
    scene.train(scene.ion())
    real = type(scene.instance).report_runless_asset_event
    crashed: list[str] = []

    def crash(name: str) -> None:
        if not crashed:
            crashed.append(name)
            raise ConnectionError("Dagster's storage went away")

    def report(instance: dg.DagsterInstance, event: dg.AssetMaterialization) -> None:
        if event.asset_key.path[-1] == crash_at:
            crash(crash_at)
        real(instance, event)

    class Crashing(DagsterReported):
        def __new__(cls, **values: object) -> DagsterReported:  # type: ignore[misc]
            crash("fact")
            return DagsterReported(**values)  # type: ignore[arg-type]

    monkeypatch.setattr(type(scene.instance), "report_runless_asset_event", report)
    if crash_at == "fact":
        monkeypatch.setattr(reporting, "DagsterReported", Crashing)
    with pytest.raises(ConnectionError):
        scene.decided(1)
    assert crashed == [crash_at]
    before = counts(scene)
    assert before["promotions"] == 1
    assert before["reported"] == 0
    assert before["approvals"] + before["deployments"] == ["approval", "deployment", "fact"].index(crash_at)
    scene.tick()
    assert counts(scene) == ONCE


def test_a_crash_between_commit_and_pointer_is_made_good_by_the_deployment_sensor(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.train(scene.ion())

    def crash(_promotions: Promotions, _node: str) -> bool:
        raise OSError("power cut")

    with monkeypatch.context() as broken:
        broken.setattr(Promotions, "publish", crash)
        scene.decided(1)
    assert isinstance(admitted(scene), Refused)
    said = deployment(dg.build_sensor_context(instance=scene.instance))
    assert isinstance(said, dg.SkipReason)
    assert said.skip_message == "published ward/scores serial 1"
    assert isinstance(admitted(scene), Admitted)
    again = deployment(dg.build_sensor_context(instance=scene.instance))
    assert isinstance(again, dg.SkipReason)
    assert "everything" in str(again.skip_message)


def test_a_candidate_without_a_materialization_waits_for_it(scene: Scene) -> None:
    scene.ion()
    client = scene.client()
    with client.node_run("ward/recommender", kind="training", code={"git": False, "source_digest": "sha256:00"}) as run:
        model = run.model("ward/recommender", scene.assets.fitted(run, patients(), 1.0, "ward"))
    client.close()
    for _ in range(4):
        cursor = scene.tick().cursor
    assert [candidate.verdict for candidate in scene.store.candidates()] == [""]
    other = dg.AssetMaterialization(["ward", "recommender"], tags={"ion/node_run": "another-run"})
    scene.instance.report_runless_asset_event(other)
    scene.tick(cursor)
    assert scene.facts(DecisionMade) == []
    own = dg.AssetMaterialization(["ward", "recommender"], tags={"ion/node_run": run.id})
    scene.instance.report_runless_asset_event(own)
    (decision,) = scene.decided(1)
    assert decision.model == model


def test_a_rejected_candidate_is_shown_with_reasons_and_the_serving_model_stays(scene: Scene) -> None:
    ion = scene.ion()
    scene.train(ion)
    (good,) = scene.decided(1)
    pointer = pointer_path(scene.home.root, "ward/scores").read_bytes()
    scene.train(ion, weight=-1.0)
    _, bad = scene.decided(2)
    assert bad.verdict == "reject"
    assert len(scene.facts(Promoted)) == 1
    assert scene.store.current("ward/scores").model == good.model
    assert pointer_path(scene.home.root, "ward/scores").read_bytes() == pointer
    assert len(scene.events("ward/approval")) == len(scene.events("ward/deployment")) == 1
    (observed,) = scene.events("ward/approval", observed=True)
    assert observed.asset_observation is not None
    reasons = str(observed.asset_observation.metadata["reasons"].value)
    assert "✗" in reasons
    assert "roc_auc" in reasons
    assert observed.asset_observation.metadata["approved by"].value == "nobody"
    (tags,) = scene.tags("ward/approval", observed=True)
    assert tags["ion/verdict"] == "reject"
    assert POINTER + "ward/recommender" in tags


def test_a_better_model_replaces_the_first_and_says_so(scene: Scene) -> None:
    ion = scene.ion()
    scene.train(ion, weight=1.0)
    (first,) = scene.decided(1)
    scene.train(ion, weight=2.0)
    _, second = scene.decided(2)
    assert [fact.serial for fact in scene.facts(Promoted)] == [1, 2]
    assert scene.store.current("ward/scores").model == second.model
    newest = scene.events("ward/deployment")[0].asset_materialization
    assert newest is not None
    assert newest.metadata["replaces"].value == first.model


def test_a_hung_policy_delays_no_other_ion_and_is_denied_in_the_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sklearn.metrics  # noqa: F401  loading it is not what is measured

    monkeypatch.setattr(promotion, "PATIENCE_SECONDS", 6.0)
    scene.train(scene.ion("slow", "hung"))
    began = time.monotonic()
    while not scene.policy_sets.hanging and time.monotonic() - began < 10:
        scene.tick()
    assert scene.policy_sets.hanging, "the slow policy was never asked"
    scene.train(scene.ion("ward"))
    began = time.monotonic()
    cursor = None
    while not scene.facts(DecisionMade, "ward/scores") and time.monotonic() - began < 30:
        cursor = scene.tick(cursor).cursor
    assert time.monotonic() - began < 5.0
    assert scene.facts(DecisionMade, "slow/scores") == []
    scene.decided(2, seconds=12.0)
    (denied,) = scene.facts(DecisionMade, "slow/scores")
    assert denied.verdict == "reject"
    assert [reason["policy"] for reason in denied.reasons] == ["deadline"]
    assert [fact.node for fact in scene.facts(Promoted)] == ["ward/scores"]
    assert len(scene.events("slow/approval", observed=True)) == 1


def test_a_policy_that_fails_rejects(scene: Scene) -> None:
    scene.train(scene.ion(policy="failing"))
    (decision,) = scene.decided(1)
    assert decision.verdict == "reject"
    (reason,) = decision.reasons
    assert reason["policy"] == "arsonist"
    assert "RuntimeError" in str(reason["message"])
    assert scene.facts(Promoted) == []
