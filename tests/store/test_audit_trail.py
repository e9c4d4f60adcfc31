"""The audit trail: who did what on which evidence, and a forged line that shows as one."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ion.audit.attested import Attestor
from ion.audit.trail import Step, trail
from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.decision import load_policy_set
from ion.decision.publication import publish
from ion.decision.trust_noted import note_trust
from ion.errors import IonError
from ion.evidence import load_signer, load_trust
from ion.evidence.approvals import ApprovalStatement, sign_approval
from ion.evidence.key_folder import file_uri, make_key
from ion.evidence.trust_changes import with_person, with_requirement, with_revocation, without_person
from ion.evidence.trust_signing import TrustPlace
from ion.facts import ApprovalGiven, DecisionMade, Fact, ModelRevoked, NodeHalted, Promoted, RolledBack
from ion.graph.definition import Definition, define
from ion.testing import DEFINITION, SERVING, TRAINER, Deployment, make_history
from tests.store.test_policy_trial import bench_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ion.evidence import Signer
    from ion.evidence.trust import TrustDocument
    from ion.testing import History

DAY_US = 86_400_000_000


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """Trained, approved, promoted, served, a bad one rejected."""
    made = make_history(tmp_path / "home")
    yield made
    made.deployment.close()


@pytest.fixture
def either(tmp_path: Path, store_url: str) -> Iterator[History]:
    """The same on SQLite and on PostgreSQL."""
    made = make_history(tmp_path / "home", store_url)
    yield made
    made.deployment.close()


def steps(deployment: Deployment, **asked: object) -> list[Step]:
    return list(trail(deployment.store, deployment.home, **asked))  # type: ignore[arg-type]


def change(deployment: Deployment, changed: Callable[[TrustDocument], TrustDocument]) -> None:
    root = load_signer(file_uri(deployment.home.keys / "root.pem"))
    note_trust(deployment.store, TrustPlace.of(deployment.home).sign(root, changed), by="root_holder")


def person(deployment: Deployment, name: str, folder: Path) -> Signer:
    """Let the trust document know a person, and return the person's signer."""
    key = make_key(folder / f"{name}.pem")
    added = partial(
        with_person, person=name, name=name.title(), roles=["approver"], aliases=[f"{name}@example.org"], key=key,
        at=now_us(),
    )  # fmt: skip
    change(deployment, added)
    return load_signer(file_uri(folder / f"{name}.pem"))


def approval(model: str, who: str, signer: Signer) -> ApprovalGiven:
    now = now_us()
    said = ApprovalStatement(
        f"{who}-1", "patient_tests", "predictions", model, who, "approve", "fits", now, now + DAY_US
    )
    envelope = sign_approval(said, signer)
    return ApprovalGiven(
        approval=said.id, node=SERVING, model=model, person=who, verdict="approve", reason="fits", issued=now,
        until=said.until, key=signer.public.key_id, envelope=envelope.decode(),
        envelope_digest=digest_bytes(envelope),
    )  # fmt: skip


def put(deployment: Deployment, fact: Fact) -> None:
    """Write a fact as someone with access to the store would."""
    with deployment.store.command() as command:
        command.record(fact)


def kinds(found: list[Step]) -> list[str]:
    return [step.kind for step in found]


# About a model ------------------------------------------------------------------------------------------


def test_a_models_trail_tells_its_whole_story_in_order(either: History) -> None:
    deployment = either.deployment
    deployment.promotions().halt(SERVING, reason="drift", by="dr_house")
    found = steps(deployment, model=either.trained.model)
    told = [kind for kind in kinds(found) if kind not in {"DatasetRecorded", "CheckEvaluated"}]
    assert told == [
        "NodeRunStarted", "ModelRecorded", "NodeRunEnded", "DecisionMade", "Promoted", "EpochOpened", "EpochClosed",
        "NodeHalted",
    ]  # fmt: skip
    assert [step.position for step in found] == sorted(step.position for step in found)
    decided = next(step for step in found if step.kind == "DecisionMade")
    (fact,) = [r.fact for r in deployment.store.find(DecisionMade, either.trained.model)]
    assert decided.evidence.items() >= fact.evidence.items()
    assert decided.evidence["policy set"] == fact.policy_digest
    assert decided.evidence["envelope"] == fact.envelope_digest
    assert (decided.actor.kind, decided.actor.key) == ("policy", deployment.signer.public.key_id)
    halted = found[-1]
    assert (halted.actor.kind, halted.actor.name, halted.node) == ("user", "dr_house", SERVING)
    signed = {step.kind for step in found if step.attested.verified}
    assert signed == {"DecisionMade", "Promoted", "NodeHalted"}
    assert not [step for step in found if step.attested.problem]


def test_another_model_is_not_in_it(history: History) -> None:
    found = steps(history.deployment, model=history.bad.model)
    assert {step.kind for step in found} >= {"ModelRecorded", "DecisionMade", "CheckEvaluated"}
    assert "Promoted" not in kinds(found)
    runs = {step.subject for step in found if step.kind == "NodeRunStarted"}
    assert runs == {history.bad.run}


def test_a_halt_of_a_later_model_is_not_this_ones(history: History) -> None:
    deployment = history.deployment
    deployment.train(weight=2.0)
    deployment.govern()
    deployment.promotions().halt(SERVING, reason="drift", by="dr_house")
    assert "NodeHalted" not in kinds(steps(deployment, model=history.trained.model))


def test_the_set_that_was_published_when_it_decided_belongs_to_it(history: History) -> None:
    deployment = history.deployment
    policies = load_policy_set("policies.catalog:clinical_low_risk")
    bench = bench_of(deployment)
    publish(bench, policies, deployment.signer, version="test", by="dr_house")
    publish(bench, replace(policies, valid_days=1), deployment.signer, version="test", by="dr_house")
    (step,) = [s for s in steps(deployment, model=history.trained.model) if s.kind == "PolicySetPublished"]
    assert step.evidence["digest"] == policies.digest("test")
    assert step.attested.verified
    assert (step.actor.kind, step.actor.name) == ("user", "dr_house")


def test_a_revocation_and_the_way_back_are_in_it_and_a_falsified_one_shows(history: History) -> None:
    deployment, first = history.deployment, history.trained
    definition = json.loads(json.dumps(dict(DEFINITION)))
    definition["nodes"][-1]["on_revocation"] = "fall_back"
    define(deployment.store, Definition.from_json(definition))
    second = deployment.train(weight=2.0)
    deployment.govern()
    deployment.promotions().revoke(SERVING, second.model, reason="biased", by="dr_house")
    withdrawn = [step for step in steps(deployment, model=second.model) if step.kind == "ModelRevoked"]
    returned = [step for step in steps(deployment, model=first.model) if step.kind == "RolledBack"]
    for (step,) in (withdrawn, returned):
        assert step.attested.verified, step.attested.problem
        assert "biased" in step.action
    true = deployment.store.find(ModelRevoked)[0].fact
    put(deployment, replace(true, serial=90, cause="another"))
    true_back = deployment.store.find(RolledBack)[0].fact
    put(deployment, replace(true_back, serial=91, cause="yet another"))
    found = [step for step in steps(deployment, node=SERVING) if step.kind in {"ModelRevoked", "RolledBack"}]
    assert [step.attested.verified for step in found] == [True, True, False, False]
    attestor = Attestor(deployment.store, deployment.home)
    assert attestor.of(true_back).verified
    for decision in (history.rejected.decision, "none"):
        assert attestor.of(replace(true_back, decision=decision)).problem


# By a person ----------------------------------------------------------------------------------------------


def test_a_person_is_found_by_signature_by_name_and_by_what_the_root_said(either: History, tmp_path: Path) -> None:
    deployment = either.deployment
    signer = person(deployment, "anna", tmp_path)
    put(deployment, approval(either.trained.model, "anna", signer))
    with deployment.client.node_run(TRAINER, kind="training", code={"author": "Anna@Example.org"}):
        pass
    deployment.client.ship()
    deployment.promotions().halt(SERVING, reason="drift", by="anna")
    change(deployment, partial(with_requirement, node=SERVING, role="approver", quorum=1))
    for name in ("anna", "anna@example.org", "ANNA"):
        found = steps(deployment, person=name)
        assert kinds(found) == ["TrustChanged", "ApprovalGiven", "NodeRunStarted", "NodeRunEnded", "NodeHalted"]
    trusted, given, *_ = found
    assert (trusted.actor.kind, trusted.actor.name, trusted.attested.verified) == ("user", "root_holder", True)
    assert (given.actor.kind, given.actor.name, given.actor.key) == ("person", "anna", signer.public.key_id)
    assert given.attested.verified
    assert steps(deployment, person="ben") == []


# At a node --------------------------------------------------------------------------------------------------


def test_a_nodes_trail_has_its_decisions_changes_and_what_it_asks_of_people(either: History) -> None:
    deployment = either.deployment
    change(deployment, partial(with_requirement, node=SERVING, role="approver", quorum=2))
    change(deployment, partial(with_requirement, node="other/node", role="approver", quorum=2))
    found = steps(deployment, node=SERVING)
    assert kinds(found).count("DecisionMade") == 2
    assert kinds(found).count("TrustChanged") == 1
    assert {"Promoted", "EpochOpened", "EpochClosed", "NodeRunStarted", "NodeRunEnded"} <= set(kinds(found))
    assert "ModelRecorded" in kinds(steps(deployment, node=TRAINER))
    with pytest.raises(IonError):
        steps(deployment, node="nowhere")


def test_several_questions_narrow_each_other_and_the_time(history: History, tmp_path: Path) -> None:
    deployment = history.deployment
    signer = person(deployment, "anna", tmp_path)
    put(deployment, approval(history.trained.model, "anna", signer))
    put(deployment, approval(history.bad.model, "anna", signer))
    (both,) = steps(deployment, person="anna", model=history.bad.model, node=SERVING)
    assert (both.kind, both.evidence["model"]) == ("ApprovalGiven", history.bad.model)
    found = steps(deployment, node=SERVING)
    late = [step for step in found if step.us >= both.us]
    assert steps(deployment, node=SERVING, since=both.us) == late
    assert steps(deployment, node=SERVING, until=both.us) == [step for step in found if step.us < both.us]
    assert steps(deployment) == []


# Falsified ------------------------------------------------------------------------------------------------


def problems(deployment: Deployment, model: str) -> dict[str, str]:
    return {step.kind: step.attested.problem for step in steps(deployment, model=model) if step.attested.problem}


def test_a_forged_approval_shows_as_unverified(history: History, tmp_path: Path) -> None:
    deployment, model = history.deployment, history.trained.model
    person(deployment, "anna", tmp_path)
    make_key(tmp_path / "forger.pem")
    forger = load_signer(file_uri(tmp_path / "forger.pem"))
    put(deployment, approval(model, "anna", forger))
    (given,) = [step for step in steps(deployment, model=model) if step.kind == "ApprovalGiven"]
    assert not given.attested.verified
    assert "no trusted key signed it" in given.attested.problem
    assert given.as_dict()["signature"] == {"verified": False, "problem": given.attested.problem}


def test_an_approval_in_another_persons_name_shows_as_unverified(history: History, tmp_path: Path) -> None:
    deployment, model = history.deployment, history.trained.model
    person(deployment, "anna", tmp_path)
    ben = person(deployment, "ben", tmp_path)
    put(deployment, approval(model, "anna", ben))
    assert "whose key did not sign it" in problems(deployment, model)["ApprovalGiven"]


@pytest.mark.parametrize(
    "changed",
    [{"person": "ben"}, {"verdict": "reject"}, {"reason": "other"}, {"node": "patient_tests/other"}, {"until": 2**52},
     {"issued": 1}, {"approval": "other"}, {"key": "sha256:0"}, {"envelope_digest": "sha256:0"}],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_each_field_of_an_approval_is_what_was_signed(
    history: History, tmp_path: Path, changed: dict[str, object]
) -> None:
    deployment, model = history.deployment, history.trained.model
    fact = approval(model, "anna", person(deployment, "anna", tmp_path))
    put(deployment, replace(fact, **changed))  # type: ignore[arg-type]
    assert "ApprovalGiven" in problems(deployment, model)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [(DecisionMade, {"expires": 2**52}), (Promoted, {"model": "sha256:" + "0" * 64}), (NodeHalted, {"node": TRAINER})],
)
def test_a_copy_of_a_signed_fact_with_another_content_shows_as_unverified(
    history: History, kind: type[Fact], changed: dict[str, object]
) -> None:
    deployment = history.deployment
    deployment.promotions().halt(SERVING, reason="drift", by="dr_house")
    true = deployment.store.find(kind)[0].fact
    unique = {"serial": 90, "cause": "another"} if hasattr(true, "serial") else {}
    put(deployment, replace(true, **changed, **unique))  # type: ignore[arg-type]
    node = str(changed.get("node", SERVING))
    found = [s for s in steps(deployment, node=node) if s.kind == kind.__name__]
    assert found[-1].attested.problem
    assert [step for step in found[:-1] if step.attested.problem] == []


def test_an_approval_shows_what_its_key_is_worth_now(history: History, tmp_path: Path) -> None:
    """Revoked from later on it stays valid; revoked from before, or its person removed, it does not."""
    deployment, model = history.deployment, history.trained.model
    signer = person(deployment, "anna", tmp_path)
    put(deployment, approval(model, "anna", signer))
    given = deployment.store.find(ApprovalGiven)[0].fact
    change(deployment, partial(with_revocation, key_id=signer.public.key_id, since=given.issued + 1))
    assert problems(deployment, model) == {}
    change(deployment, partial(with_revocation, key_id=signer.public.key_id, since=given.issued))
    assert "not valid when it signed" in problems(deployment, model)["ApprovalGiven"]
    change(deployment, partial(without_person, person="anna"))
    assert problems(deployment, model)["ApprovalGiven"]


def test_a_trust_document_under_another_root_shows_as_unverified(history: History, tmp_path: Path) -> None:
    deployment = history.deployment
    person(deployment, "anna", tmp_path)
    make_key(tmp_path / "thief.pem")
    copied = TrustPlace(tmp_path / "trust.json", tmp_path / "root.pub.pem")
    copied.document.write_bytes(deployment.home.trust_document.read_bytes())
    copied.root.write_bytes(deployment.home.root_public.read_bytes())
    copied.change_root(load_signer(file_uri(tmp_path / "thief.pem")), days=30)
    thief = load_signer(file_uri(tmp_path / "thief.pem"))
    forged = copied.sign(thief, partial(with_person, person="anna", roles=["admin"], at=now_us()))
    note_trust(deployment.store, forged, by="thief")
    found = [step for step in steps(deployment, person="anna") if step.kind == "TrustChanged"]
    assert [bool(step.attested.problem) for step in found] == [False, True]


def test_without_a_trust_document_nothing_signed_is_verified(history: History) -> None:
    deployment = history.deployment
    assert load_trust(deployment.home)
    deployment.home.trust_document.unlink()
    found = [step for step in steps(deployment, model=history.trained.model) if step.attested.signed]
    assert found
    assert all("trust" in step.attested.problem for step in found)


# The command ------------------------------------------------------------------------------------------------


def test_the_command_prints_text_json_and_csv(isolated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ion.cli import run

    history = make_history(isolated / ".ion")
    history.deployment.promotions().halt(SERVING, reason="=1+1", by="=cmd()")
    history.deployment.close()
    capsys.readouterr()
    model = history.trained.model.removeprefix("sha256:")[:12]
    assert run(["audit", "trail", "--model", model]) == 0
    text = capsys.readouterr().out
    assert "clinical_low_risk says approve to model" in text
    assert "halted by =cmd()" in text
    assert run(["audit", "trail", "--model", model, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == history.trained.model
    assert {line["kind"] for line in told["trail"]} >= {"ModelRecorded", "DecisionMade", "Promoted", "NodeHalted"}
    assert run(["audit", "trail", "--node", SERVING, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["kind"] for row in rows][-1] == "NodeHalted"
    assert rows[-1]["actor"] == "'=cmd()", "no spreadsheet takes it for a formula"
    assert rows[0]["signature"] == "verified"
    assert run(["audit", "trail", "--node", SERVING, "--to", "2001-01-01"]) == 0
    assert "Nothing is recorded" in capsys.readouterr().out
    for wrong in (["audit", "trail"], ["audit", "trail", "--node", SERVING, "--csv", "--json"]):
        assert run(wrong) == 2
    capsys.readouterr()
    assert run(["audit", "trail", "--node", SERVING, "--from", "yesterday", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bad-time"
