"""`explain` finds everything that had a part in a prediction, and notices whatever of it is missing or forged."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from ion.clock import Stamp
from ion.errors import IonError
from ion.facts import (
    AdmissionRefused,
    AlertRaised,
    CheckEvaluated,
    ComponentRan,
    DatasetRecorded,
    DecisionMade,
    EpochOpened,
    GapNoted,
    InputsCaptured,
    IonDefined,
    MessageReceived,
    MessageSent,
    MirrorUpdated,
    ModelRecorded,
    NodeRunEnded,
    NodeRunStarted,
    PredictionsCommitted,
    Promoted,
    RowsQuarantined,
)
from ion.graph import Explanation, explain
from ion.home import Home
from ion.ids import PredictionId, new_id
from ion.records import write_record
from ion.testing import POLICY, SERVING, TRAINER, History, trust_another
from tests.store.complete_history import artifact, complete_history, rewritten

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.facts import Fact

KEYS = [
    "prediction",
    "epoch",
    "models",
    "decisions",
    "approvals",
    "training",
    "datasets",
    "features",
    "code",
    "config",
    "environment",
    "dagster",
    "mlflow",
    "messages",
    "errors",
    "complete",
    "gaps",
]


@pytest.fixture
def history(tmp_path: Path) -> History:
    return complete_history(tmp_path / "home")


def asked(history: History) -> Explanation:
    deployment = history.deployment
    return explain(deployment.store, history.served.predictions[2], deployment.home)


def asked_of_another_store(history: History, tmp_path: Path, change: Callable[[Fact], Fact | None]) -> Explanation:
    store = rewritten(history, f"sqlite:///{tmp_path / 'other.db'}", change)
    try:
        return explain(store, history.served.predictions[2], history.deployment.home)
    finally:
        store.close()


def tell(history: History, *facts: Fact) -> None:
    for fact in facts:
        history.deployment.client.emit(fact)
    history.deployment.client.ship()


def test_the_answer_leads_from_the_prediction_to_everything(tmp_path: Path, store_url: str) -> None:
    history = complete_history(tmp_path / "home", store_url)
    answer = asked(history)
    told = answer.as_dict()
    assert list(told) == KEYS
    assert answer.gaps == ()
    assert told["complete"] is True
    assert told["prediction"] == str(history.served.predictions[2])
    assert told["epoch"]["node"] == SERVING
    assert told["epoch"]["committed"]["file"] == "part-0"
    assert [(m["role"], m["model"], m["run"]) for m in told["models"]] == [
        ("champion", history.trained.model, history.trained.run)
    ]
    assert told["models"][0]["bytes"] == "verified"
    (decision,) = told["decisions"]
    assert (decision["decision"], decision["admitted"], decision["signature"]) == (
        history.approved.decision,
        True,
        "verified",
    )
    assert decision["promotion"]["signature"] == "verified"
    (training,) = told["training"]
    assert (training["run"], training["status"]) == (history.trained.run, "succeeded")
    assert {c["component"] for c in training["components"]} == {"model", "patients", "features"}
    assert [trial["selected"] for trial in training["trials"]] == [True]
    trained = history.trained
    assert {d["name"]: d["digest"] for d in told["datasets"]} == {
        "heldout": trained.heldout.digest,
        "patient_tests/features": trained.features.digest,
        "patient_tests/patients": trained.patients.digest,
    }
    assert [d["checks"][0]["passed"] for d in told["datasets"] if d["name"] != "heldout"] == [True, True]
    assert told["features"]["names"] == ["radius", "texture", "area"]
    assert told["features"]["training_signatures"] == ["area", "radius", "texture"]
    assert set(told["code"]) == {history.trained.run, history.served.run}
    assert told["code"][history.trained.run]["commit"] == "c0ffee" * 6
    assert told["environment"][history.served.run]["system"] == "Linux"
    assert told["config"]["ion"]["name"] == "patient_tests"
    assert [(m["kind"], m["sender"], m["receiver"]) for m in told["messages"]] == [
        ("model", TRAINER, POLICY),
        ("promotion", POLICY, SERVING),
    ]
    assert all(m["received"] for m in told["messages"])
    assert told["errors"] == []


def test_the_approval_says_that_it_was_automatic(history: History) -> None:
    (approval,) = asked(history).approvals
    assert approval["kind"] == "automatic"
    assert approval["people"] == []
    assert approval["policy_set"] == "clinical_low_risk"
    assert str(approval["policy_digest"]).startswith("sha256:")


def of(kind: type[Fact], **fields: object) -> Callable[[Fact], bool]:
    """Return a test for facts of a kind whose fields have these values."""
    return lambda fact: isinstance(fact, kind) and all(getattr(fact, k) == v for k, v in fields.items())


REMOVED: dict[str, tuple[Callable[[Fact], bool], str]] = {
    "the epoch": (of(EpochOpened), "serving epoch"),
    "where it was committed": (of(PredictionsCommitted), "committed output"),
    "who made the model": (of(ModelRecorded), "model"),
    "how training started": (of(NodeRunStarted, node=TRAINER), "node run"),
    "how training ended": (of(NodeRunEnded), "node run"),
    "how serving started": (of(NodeRunStarted, node=SERVING), "node run"),
    "a component": (of(ComponentRan, component="features"), "component"),
    "every component": (of(ComponentRan), "components"),
    "who wrote a dataset": (of(DatasetRecorded, name="patient_tests/patients", role="output"), "dataset"),
    "what a dataset was made from": (of(DatasetRecorded, component="features", role="input"), "dataset"),
    "the held-out rows": (of(DatasetRecorded, role="heldout"), "dataset"),
    "a check": (of(CheckEvaluated, asset="patient_tests/patients"), "check"),
    "the decision": (of(DecisionMade, verdict="approve"), "decision"),
    "the promotion": (of(Promoted), "promotion"),
    "the candidate's message": (of(MessageSent, message_kind="model"), "message"),
    "the promotion's message": (of(MessageSent, message_kind="promotion"), "message"),
    "that the policy received": (of(MessageReceived, receiver=POLICY), "message"),
    "that serving received": (of(MessageReceived, receiver=SERVING), "message"),
    "the definition": (of(IonDefined), "definition"),
}


def test_a_store_built_anew_gives_the_same_answer(history: History, tmp_path: Path) -> None:
    same = asked_of_another_store(history, tmp_path, lambda fact: fact)
    assert same.complete
    assert same.datasets == asked(history).datasets


@pytest.mark.parametrize("missing", REMOVED)
def test_whatever_is_missing_is_a_named_hole(history: History, tmp_path: Path, missing: str) -> None:
    drop, what = REMOVED[missing]
    answer = asked_of_another_store(history, tmp_path, lambda fact: None if drop(fact) else fact)
    assert not answer.complete
    assert what in {hole.what for hole in answer.gaps}, answer.gaps
    assert answer.as_dict()["complete"] is False


def test_a_message_that_another_run_received_is_a_hole(history: History, tmp_path: Path) -> None:
    def change(fact: Fact) -> Fact:
        return replace(fact, run="another") if isinstance(fact, MessageReceived) else fact

    answer = asked_of_another_store(history, tmp_path, change)
    assert [hole.what for hole in answer.gaps] == ["message", "message"]
    assert [message["received"] for message in answer.messages] == [None, None]


def test_a_run_without_source_or_environment_is_a_hole(history: History, tmp_path: Path) -> None:
    def change(fact: Fact) -> Fact:
        return replace(fact, code={}, environment={}) if isinstance(fact, NodeRunStarted) else fact

    holes = {(hole.what, hole.about) for hole in asked_of_another_store(history, tmp_path, change).gaps}
    runs = (history.trained.run, history.served.run)
    assert holes == {(what, run) for what in ("code", "environment") for run in runs}


FORGED: dict[str, tuple[Callable[[Fact], Fact], str]] = {
    "the verdict's reasons": (
        lambda f: replace(f, reasons=[{"policy": "nobody", "message": "fine"}]) if isinstance(f, DecisionMade) else f,
        "decision signature",
    ),
    "what the decision looked at": (
        lambda f: (
            replace(f, evidence={**f.evidence, "more": "sha256:" + "0" * 64}) if isinstance(f, DecisionMade) else f
        ),
        "decision signature",
    ),
    "how long it holds": (
        lambda f: replace(f, expires=f.expires + 1) if isinstance(f, DecisionMade) else f,
        "decision signature",
    ),
    "the promotion's serial": (
        lambda f: replace(f, serial=f.serial + 1) if isinstance(f, Promoted) else f,
        "promotion signature",
    ),
    "a check's result": (
        lambda f: replace(f, results=[{"expectation": "none"}]) if isinstance(f, CheckEvaluated) else f,
        "check",
    ),
    "a dataset's digest": (
        lambda f: (
            replace(f, digest="sha256:" + "0" * 64)
            if isinstance(f, DatasetRecorded) and f.component == "features" and f.role == "input"
            else f
        ),
        "dataset",
    ),
    "the decision an epoch names": (
        lambda f: replace(f, decision_digest="sha256:" + "0" * 64) if isinstance(f, EpochOpened) else f,
        "decision",
    ),
    "the serial an epoch names": (
        lambda f: replace(f, serial=7) if isinstance(f, EpochOpened) else f,
        "promotion",
    ),
    "the run's end": (
        lambda f: replace(f, status="failed") if isinstance(f, NodeRunEnded) else f,
        "node run",
    ),
}


@pytest.mark.parametrize("forged", FORGED)
def test_whatever_is_forged_is_a_named_hole(history: History, tmp_path: Path, forged: str) -> None:
    change, what = FORGED[forged]
    answer = asked_of_another_store(history, tmp_path, change)
    assert what in {hole.what for hole in answer.gaps}, answer.gaps


def test_an_epoch_that_served_another_model_is_noticed(history: History, tmp_path: Path) -> None:
    def change(fact: Fact) -> Fact:
        return replace(fact, models={"champion": history.bad.model}) if isinstance(fact, EpochOpened) else fact

    answer = asked_of_another_store(history, tmp_path, change)
    assert "models" in {hole.what for hole in answer.gaps}


def test_changed_model_bytes_are_noticed(history: History) -> None:
    manifest = history.deployment.artifacts.get_manifest(history.trained.model)
    path = artifact(history, manifest.entries[0].sha256)
    path.write_bytes(path.read_bytes().replace(b"10", b"11", 1))
    answer = asked(history)
    assert [hole.what for hole in answer.gaps] == ["model bytes"]
    assert answer.models[0]["bytes"] != "verified"


def test_a_decision_by_another_key_is_noticed(history: History, tmp_path: Path) -> None:
    trust_another(history.deployment.home, Home(tmp_path / "another"))
    answer = asked(history)
    assert {hole.what for hole in answer.gaps} == {"decision signature", "promotion signature"}
    assert answer.decisions[0]["signature"] == "no trusted key signed it"


def test_without_a_trusted_key_nothing_is_believed(history: History) -> None:
    history.deployment.home.trust_document.unlink()
    assert not asked(history).complete


@pytest.mark.parametrize("about", ["epoch", "serving run", "training run", "model", "agent"])
def test_a_gap_about_anything_it_rests_on_is_told(history: History, about: str) -> None:
    scope = {
        "epoch": history.served.epoch,
        "serving run": history.served.run,
        "training run": history.trained.run,
        "model": history.trained.model,
        "agent": history.deployment.client.agent,
    }[about]
    tell(history, GapNoted(scope=scope, what="statistics", count=3, reason="the disk was full"))
    (hole,) = asked(history).gaps
    assert (hole.what, hole.about, hole.reason) == ("3 statistics", scope, "the disk was full")


def test_a_gap_about_something_else_is_not(history: History) -> None:
    tell(history, GapNoted(scope=history.bad.run, what="statistics", count=3, reason="elsewhere"))
    assert asked(history).complete


def test_a_prediction_known_only_by_its_gap_gets_an_answer(history: History) -> None:
    lost = PredictionId(history.served.epoch, 900)
    gap = GapNoted(scope=lost.epoch, what="predictions", count=10, reason="file lost", first=895, last=904)
    tell(history, gap)
    answer = explain(history.deployment.store, lost, history.deployment.home)
    assert {"committed output", "10 predictions"} <= {hole.what for hole in answer.gaps}


def test_an_unknown_prediction_is_an_error_with_a_way_on(history: History) -> None:
    store, home = history.deployment.store, history.deployment.home
    for unknown in (PredictionId(new_id(), 0), PredictionId(history.served.epoch, 5)):
        with pytest.raises(IonError) as raised:
            explain(store, unknown, home)
        assert raised.value.code == "unknown-prediction"
        assert "ion predictions" in raised.value.hint
    with pytest.raises(IonError, match="bad-prediction-id"):
        explain(store, "12", home)


def test_what_went_wrong_while_it_served_is_told(history: History) -> None:
    deployment = history.deployment
    served = deployment.serve(closed=False)
    tell(
        history,
        AdmissionRefused(run=served.run, node=SERVING, step="serial", reason="an old one", pointer_digest="x"),
        RowsQuarantined(
            run=served.run,
            node=SERVING,
            rows=3,
            reasons={"nan": 2, "short": 1},
            key="k",
            block="b",
            file="f",
            file_digest="d",
        ),
        AlertRaised(scope=served.epoch, alert="drift", message="inputs moved"),
    )
    answer = explain(deployment.store, served.predictions[0], deployment.home)
    assert {error["what"] for error in answer.errors} == {"admission-refused", "rows-quarantined", "drift"}
    assert any("2 nan, 1 short" in str(error["message"]) for error in answer.errors)
    earlier = asked(history)
    assert earlier.errors == [], "trouble of a later run is not trouble of this prediction"


def test_trouble_after_its_epoch_is_not_its_trouble(history: History) -> None:
    refused = AdmissionRefused(run=history.served.run, node=SERVING, step="lease", reason="late", pointer_digest="x")
    tell(history, refused)
    assert asked(history).errors == []


def test_a_failed_run_is_among_the_errors(history: History, tmp_path: Path) -> None:
    def change(fact: Fact) -> Fact:
        failed = isinstance(fact, NodeRunEnded) and fact.run == history.served.run
        return replace(fact, status="failed", error="killed") if failed else fact

    answer = asked_of_another_store(history, tmp_path, change)
    assert [(e["what"], e["about"], e["message"]) for e in answer.errors] == [
        ("run-failed", history.served.run, "killed")
    ]


def test_a_later_training_on_the_same_rows_is_not_part_of_it(history: History) -> None:
    answer = asked(history)
    assert history.bad.run not in str(answer.as_dict())


def test_every_decision_on_the_candidate_is_told_and_the_admitting_one_marked(history: History) -> None:
    deployment = history.deployment
    candidate = deployment.candidate(history.trained)
    deployment.governor().consider(candidate, again=True)
    decisions = asked(history).decisions
    assert [decision["admitted"] for decision in decisions] == [True, False]
    assert asked(history).complete


def test_an_epoch_opened_after_the_decision_expired_is_noticed(history: History) -> None:
    deployment = history.deployment
    opened = deployment.store.latest(EpochOpened, history.served.epoch)
    decided = deployment.store.latest(DecisionMade, history.approved.decision)
    assert opened
    assert decided
    late = replace(opened.fact, epoch=new_id())
    agent, stamp = "late-agent", Stamp(decided.fact.expires + 1)
    committed = PredictionsCommitted(
        epoch=late.epoch,
        run=late.run,
        first=0,
        last=0,
        rows=1,
        file="f",
        file_digest="d",
        sources=[],
        us_first=1,
        us_last=2,
    )
    deployment.store.append(
        [
            write_record(fact, fact_id=new_id(), agent=agent, seq=seq, stamp=stamp)
            for seq, fact in enumerate([late, committed])
        ]
    )
    answer = explain(deployment.store, PredictionId(late.epoch, 0), deployment.home)
    assert "it had expired when the epoch opened" in {hole.reason for hole in answer.gaps}


def test_a_captured_block_that_is_gone_is_noticed(history: History, tmp_path: Path) -> None:
    def change(fact: Fact) -> Fact:
        return replace(fact, block="sha256:" + "0" * 64) if isinstance(fact, InputsCaptured) else fact

    answer = asked_of_another_store(history, tmp_path, change)
    assert [hole.what for hole in answer.gaps] == ["captured inputs"]


def test_mlflow_and_its_mirror_are_told(history: History, tmp_path: Path) -> None:
    def change(fact: Fact) -> Fact:
        return replace(fact, links={"mlflow_run": "r1", "other": "x"}) if isinstance(fact, ModelRecorded) else fact

    assert asked_of_another_store(history, tmp_path, change).mlflow == {"mlflow_run": "r1", "mirrored": []}
    with history.deployment.store.command() as command:
        mirrored = MirrorUpdated(
            cause=history.approved.decision, registry="mlflow", name="patient_tests", version="1", alias="champion"
        )
        command.record(mirrored)
    assert asked(history).mlflow["mirrored"] == [asdict(mirrored)]
