"""Governance attests where a candidate came from and what its data was checked for, once and in one form."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ion.audit import verify
from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.decision.attesting import MAX_PARAMETERS, provenance_of
from ion.decision.evidence import candidate_facts, gather
from ion.evidence import TrustRoot, create_key, load_signer
from ion.evidence.check_results import CheckStatement, verify_checks
from ion.evidence.provenance import ProvenanceStatement, verify_provenance
from ion.evidence.trust_changes import with_service_key
from ion.evidence.trust_signing import TrustPlace
from ion.facts import DecisionMade
from ion.testing import CHECK, ION, TRAINER, Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.testing import Trained

LOCK = "sha256:" + "5" * 64
CODE = {"git": True, "dirty": False, "commit": "c0ffee00" * 5, "source_digest": digest_bytes(b"source"), "lock": LOCK}


@pytest.fixture
def deployment(tmp_path: Path, store_url: str) -> Iterator[Deployment]:
    made = Deployment.make(tmp_path / "home", store_url)
    yield made
    made.close()


def decisions(deployment: Deployment, trained: Trained) -> list[DecisionMade]:
    return [recorded.fact for recorded in deployment.store.find(DecisionMade, trained.run)]


def provenance(deployment: Deployment, decision: DecisionMade) -> ProvenanceStatement:
    envelope = deployment.artifacts.get(str(decision.evidence["provenance"]))
    statement = verify_provenance(envelope, deployment.trust)
    assert isinstance(statement, ProvenanceStatement), statement
    return statement


def checks(deployment: Deployment, decision: DecisionMade) -> CheckStatement:
    statement = verify_checks(deployment.artifacts.get(str(decision.evidence["checks"])), deployment.trust)
    assert isinstance(statement, CheckStatement), statement
    return statement


def judge_again(deployment: Deployment, trained: Trained) -> None:
    assert deployment.governor().consider(deployment.candidate(trained), again=True)


def test_a_decision_names_the_provenance_of_its_candidate(deployment: Deployment) -> None:
    trained = deployment.train(code={**CODE, "remote": "https://example.org/a.git"})
    deployment.govern()
    (decision,) = decisions(deployment, trained)
    statement = provenance(deployment, decision)
    assert (statement.node, statement.model, statement.run) == (TRAINER, trained.model, trained.run)
    assert statement.started <= statement.finished <= statement.attested
    assert statement.parameters == {"parameters": {"model": {"weight": 1.0}}}
    found = {each.name: (each.algorithm, each.digest) for each in statement.dependencies}
    assert found == {
        "heldout": ("ionDatasetV1", trained.heldout.digest[7:]),
        f"{ION}/features": ("ionDatasetV1", trained.features.digest[7:]),
        f"{ION}/patients": ("ionDatasetV1", trained.patients.digest[7:]),
        "source": ("gitCommit", "c0ffee00" * 5),
        "source files": ("ionSourceV1", digest_bytes(b"source")[7:]),
        "requirements/main.txt": ("sha256", LOCK[7:]),
    }
    uris = {each.name: each.uri for each in statement.dependencies}
    assert uris["source"] == "git+https://example.org/a.git@" + "c0ffee00" * 5
    assert uris[f"{ION}/features"] == trained.features.uri
    assert str(deployment.home.root) not in str(statement)


def test_a_decision_names_the_results_of_the_required_checks(deployment: Deployment) -> None:
    trained = deployment.train(checks={"patients": True, "features": None})
    deployment.govern()
    (decision,) = decisions(deployment, trained)
    statement = checks(deployment, decision)
    assert (statement.model, statement.run, statement.result) == (trained.model, trained.run, "FAILED")
    by_asset = {each.asset: each for each in statement.checks}
    patients, features = by_asset[f"{ION}/patients"], by_asset[f"{ION}/features"]
    assert (patients.dataset, patients.passed) == (trained.patients.digest, True)
    assert (features.dataset, features.passed) == (trained.features.digest, None)
    assert patients.evidence == decision.evidence[f"check:{ION}/patients:{CHECK}"]
    assert f"check:{ION}/features:{CHECK}" not in decision.evidence


def test_judging_twice_gives_one_digest(deployment: Deployment) -> None:
    trained = deployment.train()
    deployment.govern()
    judge_again(deployment, trained)
    first, second = decisions(deployment, trained)
    assert first.decision != second.decision
    for name in ("provenance", "checks"):
        assert first.evidence[name] == second.evidence[name]


def test_a_new_check_result_gives_new_check_results_and_the_same_provenance(deployment: Deployment) -> None:
    trained = deployment.train(checks={"patients": True, "features": None})
    deployment.govern()
    with deployment.client.node_run(TRAINER, kind="training") as run:
        run.check(f"{ION}/features", CHECK, trained.features.digest, passed=True, severity="ERROR", results=[])
    deployment.client.ship()
    judge_again(deployment, trained)
    first, second = decisions(deployment, trained)
    assert first.evidence["provenance"] == second.evidence["provenance"]
    assert [checks(deployment, each).result for each in (first, second)] == ["FAILED", "PASSED"]


def test_a_new_decision_key_attests_anew_and_what_the_old_one_attested_still_counts(
    deployment: Deployment, tmp_path: Path
) -> None:
    trained = deployment.train()
    deployment.govern()
    public = create_key(tmp_path / "next.pem")
    root = load_signer(f"file:{deployment.home.keys / 'root.pem'}")
    TrustPlace.of(deployment.home).sign(root, lambda old: with_service_key(old, "decision", public, now_us()))
    deployment.signer = load_signer(f"file:{tmp_path / 'next.pem'}")
    judge_again(deployment, trained)
    first, second = decisions(deployment, trained)
    assert first.evidence["provenance"] != second.evidence["provenance"]
    assert provenance(deployment, first).attested < provenance(deployment, second).attested
    envelope = deployment.artifacts.get(str(second.evidence["provenance"]))
    assert isinstance(verify_provenance(envelope, TrustRoot((public,))), ProvenanceStatement)


def test_lost_and_damaged_attestations_are_made_again(deployment: Deployment) -> None:
    trained = deployment.train()
    deployment.govern()
    (first,) = decisions(deployment, trained)
    deployment.artifacts.path(str(first.evidence["provenance"])).unlink()
    deployment.artifacts.path(str(first.evidence["checks"])).write_bytes(b"{}")
    judge_again(deployment, trained)
    second = decisions(deployment, trained)[-1]
    assert provenance(deployment, second).model == trained.model
    assert checks(deployment, second).result == "PASSED"


@pytest.mark.parametrize("name", ["provenance", "checks", "model-signature"])
def test_the_audit_misses_what_was_attested(deployment: Deployment, name: str) -> None:
    trained = deployment.train()
    deployment.govern()
    assert verify(deployment.store, deployment.home).ok
    (decision,) = decisions(deployment, trained)
    digest = str(decision.evidence[name])
    deployment.artifacts.path(digest).unlink()
    (problem,) = verify(deployment.store, deployment.home).problems
    assert digest in problem.message


def test_only_an_approved_model_is_signed(deployment: Deployment) -> None:
    approved, rejected = deployment.train(), deployment.train(weight=-1)
    deployment.govern()
    assert "model-signature" in decisions(deployment, approved)[0].evidence
    assert decisions(deployment, rejected)[0].verdict == "reject"
    assert "model-signature" not in decisions(deployment, rejected)[0].evidence


def test_parameters_too_large_to_sign_are_named_by_digest(deployment: Deployment) -> None:
    trained = deployment.train()
    facts = candidate_facts(deployment.store, deployment.candidate(trained))
    assert facts is not None
    large = replace(facts[1], config={"text": "x" * (MAX_PARAMETERS + 1)})
    evidence = gather(
        deployment.store,
        deployment.artifacts,
        deployment.governor().measure,
        (facts[0], large),
        current_model=("", ""),
        required=(),
        materialization=1,
        source_now={},
    )
    config = provenance_of(deployment.store, evidence, "test", 1).parameters["config"]
    assert isinstance(config, dict)
    assert set(config) == {"omitted"}


def test_without_required_checks_no_results_are_attested(deployment: Deployment) -> None:
    trained = deployment.train()
    governor = deployment.governor()
    bare = replace(governor, assignments=lambda node: [replace(a, required=()) for a in governor.assignments(node)])
    bare.consider(deployment.candidate(trained))
    (decision,) = decisions(deployment, trained)
    assert "checks" not in decision.evidence
    assert "provenance" in decision.evidence
