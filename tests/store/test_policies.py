"""The policies of the reference project on real evidence: what is missing, stale, wrong or broken rejects."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ion.agent.code import code_state
from ion.decision import Policy, PolicySet, load_policy_set
from ion.errors import IonError
from ion.facts import DatasetRecorded, ModelRecorded
from ion.testing import CHECK, SERVING, Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.decision import Evidence, Outcome, Verdict


@pytest.fixture
def deployment(tmp_path: Path, store_url: str) -> Iterator[Deployment]:
    made = Deployment.make(tmp_path / "home", store_url)
    yield made
    made.close()


def rejection(outcomes: list[Outcome]) -> str:
    """Return why the only outcome rejected."""
    (outcome,) = outcomes
    assert (outcome.verdict, outcome.promoted) == ("reject", False)
    return "; ".join(reason.message for reason in outcome.reasons if reason.verdict == "reject")


def test_a_check_without_a_result_is_missing_evidence(deployment: Deployment) -> None:
    deployment.train(checks={"patients": True, "features": None})
    assert "patient_tests/features has no result for the version used" in rejection(deployment.govern())


@pytest.mark.parametrize("severity", ["WARN", "ERROR"])
def test_a_failed_check_rejects_whatever_its_severity(deployment: Deployment, severity: str) -> None:
    trained = deployment.train(checks={"patients": None, "features": True})
    with deployment.client.node_run("patient_tests/model", kind="training") as run:
        run.check(trained.patients.name, CHECK, trained.patients.digest, passed=False, severity=severity)
    assert f"patient_tests/patients failed ({severity})" in rejection(deployment.govern())


def test_a_result_for_another_version_of_the_data_is_missing_evidence(deployment: Deployment) -> None:
    other = deployment.train(seed=8, materialized=False)
    deployment.train(checks={"patients": None, "features": True})
    assert other.patients.digest
    assert "patient_tests/patients has no result for the version used" in rejection(deployment.govern())


def test_the_newest_result_counts(deployment: Deployment) -> None:
    trained = deployment.train(checks={"patients": False, "features": True})
    with deployment.client.node_run("patient_tests/model", kind="training") as run:
        run.check(trained.patients.name, CHECK, trained.patients.digest, passed=True, severity="ERROR")
    assert [outcome.verdict for outcome in deployment.govern()] == ["approve"]


@pytest.mark.parametrize("unchecked", ["first", "second"])
def test_every_version_that_was_used_needs_its_checks(deployment: Deployment, unchecked: str) -> None:
    """The features came from two versions of the patients; the checks of only one of them passed."""
    passed = {"first": True, "second": True, unchecked: None}
    second = deployment.train(seed=8, checks={"patients": passed["second"], "features": True}, materialized=False)
    trained = deployment.train(checks={"patients": passed["first"], "features": True})
    used = DatasetRecorded(
        run=trained.run, name=second.patients.name, role="input", digest=second.patients.digest, uri="", rows=240,
        schema=[], classification="pii", component="features",
    )  # fmt: skip
    deployment.client.emit(used)
    deployment.client.ship()
    assert "patient_tests/patients has no result for the version used" in rejection(deployment.govern())


@pytest.mark.parametrize(
    ("reported", "why"),
    [
        ({"roc_auc": 0.99999, "recall": 0.97}, "they differ"),
        ({}, "the candidate came without the metric roc_auc"),
        ({"roc_auc": "high"}, "the candidate came without the metric roc_auc"),
    ],
)
def test_reported_metrics_are_there_and_the_same_as_measured(
    deployment: Deployment, reported: dict[str, float], why: str
) -> None:
    deployment.train(reported=reported)
    assert why in rejection(deployment.govern())


def test_a_model_whose_bytes_changed_cannot_be_measured(deployment: Deployment) -> None:
    trained = deployment.train()
    manifest = deployment.artifacts.get_manifest(trained.model)
    path = deployment.artifacts.path(manifest.entries[0].sha256)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    assert "could not be measured" in rejection(deployment.govern())


def test_heldout_rows_that_are_gone_or_others_cannot_be_measured_on(deployment: Deployment) -> None:
    trained = deployment.train()
    deployment.artifacts.path(trained.heldout.uri.removeprefix("artifact:")).unlink()
    assert "could not be measured" in rejection(deployment.govern())


def test_heldout_rows_of_one_class_give_no_number_and_no_crash(deployment: Deployment) -> None:
    def undefined(*_: object) -> dict[str, float]:
        return {"roc_auc": float("nan"), "recall": 1.0}

    trained = deployment.train()
    governor = deployment.governor()
    from dataclasses import replace

    (outcome,) = replace(governor, measure=undefined).consider(deployment.candidate(trained))
    assert "roc_auc is not a finite number" in rejection([outcome])


def test_a_worse_model_than_the_current_one_is_rejected_on_the_same_rows(deployment: Deployment) -> None:
    deployment.train()
    deployment.govern()
    deployment.train(weight=-1.0)
    assert "more than 0.005 worse" in rejection(deployment.govern())


def test_a_current_model_that_cannot_be_measured_is_no_reason_to_approve(deployment: Deployment) -> None:
    trained = deployment.train()
    deployment.govern()
    manifest = deployment.artifacts.get_manifest(trained.model)
    deployment.artifacts.path(manifest.entries[0].sha256).unlink()
    deployment.train(weight=2.0)
    assert "the current model cannot be compared" in rejection(deployment.govern())


def git(project: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", project, *arguments], check=True, capture_output=True)


def test_source_committed_unchanged_later_is_approved_without_retraining(
    deployment: Deployment, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    (project / "gov_assets").mkdir(parents=True)
    (project / "gov_assets" / "model.py").write_text("rate = 1\n")
    git(project, "init", "-q")
    git(project, "commit", "-qm", "empty", "--allow-empty")
    trained = deployment.train(code=code_state(project, ("gov_assets",)))
    deployment.source = code_state(project, ("gov_assets",))
    assert "git commit" in rejection(deployment.govern())
    git(project, "add", "-A")
    git(project, "commit", "-qm", "the model")
    deployment.source = code_state(project, ("gov_assets",))
    (outcome,) = deployment.governor().consider(deployment.candidate(trained), again=True)
    assert (outcome.verdict, outcome.promoted) == ("approve", True)


def test_source_changed_since_and_then_committed_is_not_what_was_trained(
    deployment: Deployment, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    (project / "gov_assets").mkdir(parents=True)
    (project / "gov_assets" / "model.py").write_text("rate = 1\n")
    git(project, "init", "-q")
    trained = deployment.train(code=code_state(project, ("gov_assets",)))
    (project / "gov_assets" / "model.py").write_text("rate = 2\n")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "another model")
    deployment.source = code_state(project, ("gov_assets",))
    assert "git commit" in rejection(deployment.governor().consider(deployment.candidate(trained)))


@pytest.mark.parametrize(
    "code", [{}, {"git": True, "source_digest": "sha256:1"}, {"dirty": True, "source_digest": "x"}]
)
def test_source_that_is_not_known_to_be_committed_rejects(deployment: Deployment, code: dict[str, object]) -> None:
    deployment.train(code=code)
    assert rejection(deployment.govern())


def test_without_git_the_digest_stands_in_and_the_decision_says_so(deployment: Deployment) -> None:
    deployment.train(code={"git": False, "source_digest": "sha256:" + "1" * 64})
    (outcome,) = deployment.govern()
    assert outcome.verdict == "approve"
    assert any("no git here" in reason.message for reason in outcome.reasons)


def raising(_: Evidence) -> tuple[Verdict, str]:
    raise ValueError("broken \ud800")


def exiting(_: Evidence) -> tuple[Verdict, str]:
    raise SystemExit(0)


def unknown(_: Evidence) -> tuple[Verdict, str]:
    return ["approve"], "a list"  # type: ignore[return-value]


def garbled(_: Evidence) -> tuple[Verdict, str]:
    return "reject", "not text \ud800"


@pytest.mark.parametrize("judge", [raising, exiting, unknown, garbled], ids=lambda judge: judge.__name__)
def test_a_policy_that_misbehaves_has_not_approved(deployment: Deployment, judge: object) -> None:
    deployment.train()
    members = (Policy("ok", {}, lambda _: ("approve", "fine")), Policy("bad", {}, judge))  # type: ignore[arg-type]
    assert rejection(deployment.govern(lambda _: PolicySet("s", members, 1, {}, "tests")))
    assert deployment.store.current(SERVING).serial == 0


def test_an_empty_policy_set_denies(deployment: Deployment) -> None:
    deployment.train()
    (outcome,) = deployment.govern(lambda _: PolicySet("empty", (), 1, {}, "tests"))
    assert (outcome.verdict, outcome.promoted) == ("reject", False)


def test_the_policy_digest_covers_parameters_version_and_sources() -> None:
    from dataclasses import replace

    catalogued = load_policy_set("policies.catalog:clinical_low_risk")
    others = [
        replace(catalogued, valid_days=1),
        replace(catalogued, sources={**catalogued.sources, "metrics.py": "sha256:0"}),
        replace(catalogued, policies=catalogued.policies[:-1]),
        replace(catalogued, policies=[replace(catalogued.policies[0], parameters={}), *catalogued.policies[1:]]),
    ]
    digests = {one.digest("0.1.0") for one in (catalogued, *others)} | {catalogued.digest("0.2.0")}
    assert len(digests) == 6
    assert {"catalog.py", "checks.py", "metrics.py", "source.py"} <= set(catalogued.sources)
    assert catalogued.reference == "policies.catalog:clinical_low_risk"


@pytest.mark.parametrize("reference", ["policies.catalog:nothing", "no.such.module:x", "policies.catalog:hashlib"])
def test_an_unknown_policy_set_is_said(reference: str) -> None:
    with pytest.raises(IonError) as caught:
        load_policy_set(reference)
    assert caught.value.code == "unknown-policy-set"


def test_a_dataset_with_the_rows_of_another_keeps_its_own_name(deployment: Deployment) -> None:
    """An asset that passes its input through has its digest; the check declared on it must still be found."""
    from ion.decision.evidence import upstream_datasets

    digest = "sha256:" + "a" * 64
    with deployment.client.node_run("patient_tests/model", kind="training") as run:
        for name, role, component in [
            ("patient_tests/patients", "output", "patients"), ("patient_tests/patients", "input", "features"),
            ("patient_tests/features", "output", "features"), ("patient_tests/features", "input", "model"),
        ]:  # fmt: skip
            run.emit(
                DatasetRecorded(run=run.id, name=name, role=role, digest=digest, uri="", rows=1, schema=[],
                                classification="pii", component=component)
            )  # fmt: skip
    model = ModelRecorded(
        run=run.id, node="patient_tests/model", model="m", name="", format="", size=1, features=[], label="",
        input_schema=[], output_schema=[], metrics={}, datasets={"patient_tests/features": digest},
    )  # fmt: skip
    found = upstream_datasets(deployment.store, model)
    assert found == {"patient_tests/features": digest, "patient_tests/patients": digest}
