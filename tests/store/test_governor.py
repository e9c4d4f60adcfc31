"""Who is decided, what is promoted, and that it happens once: real store, keys, artifacts and policies."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ion.clock import now_us
from ion.decision import Governor, Policy, PolicySet, load_policy_set
from ion.decision import promotion as promotion_module
from ion.decision.promotion import LEASE_US
from ion.errors import IonError
from ion.evidence import DecisionStatement, PromotionStatement, verify_decision, verify_promotion
from ion.facts import DecisionMade, MessageReceived, MessageSent, NodeHalted, Promoted
from ion.serving import Admitted, Gate, Halted, pointer_path
from ion.testing import POLICY, SERVING, Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.decision import Evidence, Verdict


@pytest.fixture
def deployment(tmp_path: Path, store_url: str) -> Iterator[Deployment]:
    made = Deployment.make(tmp_path / "home", store_url)
    yield made
    made.close()


def pointer(deployment: Deployment) -> PromotionStatement:
    path = pointer_path(deployment.home.root, SERVING)
    statement = verify_promotion(path.read_bytes(), deployment.trust)
    assert isinstance(statement, PromotionStatement)
    return statement


def gate(deployment: Deployment) -> Gate:
    return deployment.gate()


def always(verdict: Verdict) -> PolicySet:
    def judge(_: Evidence) -> tuple[Verdict, str]:
        return verdict, "as asked"

    return PolicySet("fixed", (Policy("fixed", {}, judge),), 1, {}, "tests")


def test_an_approved_candidate_is_promoted_to_its_pointer_and_the_gate_admits_it(deployment: Deployment) -> None:
    trained = deployment.train()
    (outcome,) = deployment.govern()
    assert (outcome.verdict, outcome.promoted, outcome.policy_node) == ("approve", True, POLICY)
    (decision,) = deployment.store.find(DecisionMade, trained.model)
    statement = verify_decision(decision.fact.envelope.encode(), deployment.trust)
    assert isinstance(statement, DecisionStatement)
    assert (statement.model, statement.candidate_run, statement.node) == (trained.model, trained.run, "predictions")
    assert {item.uri for item in statement.evidence} >= {
        "ion:model", "ion:code", "ion:metrics", "ion:materialization", "ion:dataset:heldout",
        "ion:dataset:patient_tests/patients", "ion:check:patient_tests/patients:expectations",
    }  # fmt: skip
    admitted = gate(deployment).admit()
    assert isinstance(admitted, Admitted)
    assert (admitted.model, admitted.serial) == (trained.model, 1)
    messages = {r.fact.message for r in deployment.store.find(MessageSent, trained.run)}
    assert {r.fact.message for r in deployment.store.find(MessageReceived, outcome.decision)} == messages
    assert deployment.govern() == []


@pytest.mark.parametrize("status", ["failed", "stopped", "halted"])
def test_a_run_that_did_not_succeed_has_no_candidate(deployment: Deployment, status: str) -> None:
    deployment.train(status=status)
    assert deployment.govern() == []
    assert deployment.store.find(DecisionMade) == []


def test_a_model_that_dagster_does_not_hold_is_not_decided_until_it_does(deployment: Deployment) -> None:
    trained = deployment.train(materialized=False)
    assert deployment.govern() == []
    deployment.materializations[trained.candidate] = 7
    assert [outcome.verdict for outcome in deployment.govern()] == ["approve"]


def test_a_rejected_candidate_leaves_what_serves(deployment: Deployment) -> None:
    good = deployment.train()
    deployment.govern()
    deployment.train(weight=-1.0)
    (outcome,) = deployment.govern()
    assert (outcome.verdict, outcome.promoted) == ("reject", False)
    assert deployment.store.current(SERVING).model == good.model
    assert pointer(deployment).serial == 1


@pytest.mark.parametrize("verdict", ["reject", "defer"])
def test_only_an_approval_promotes(deployment: Deployment, verdict: Verdict) -> None:
    deployment.train()
    (outcome,) = deployment.govern(lambda _: always(verdict))
    assert (outcome.verdict, outcome.promoted) == (verdict, False)
    assert deployment.store.current(SERVING).serial == 0
    assert not pointer_path(deployment.home.root, SERVING).exists()


def test_an_older_candidate_never_replaces_a_newer_one(deployment: Deployment) -> None:
    older, newer = deployment.train(), deployment.train(weight=2.0)
    governor = deployment.governor(lambda _: always("approve"))
    assert [o.promoted for o in governor.consider(deployment.candidate(newer))] == [True]
    assert [o.promoted for o in governor.consider(deployment.candidate(older))] == [False]
    assert [o.promoted for o in governor.consider(deployment.candidate(older), again=True)] == [False]
    assert deployment.store.current(SERVING).model == newer.model


def test_a_decided_candidate_is_decided_again_only_when_asked(deployment: Deployment) -> None:
    trained = deployment.train(code={"git": True, "dirty": True, "source_digest": "sha256:1", "commit": "a"})
    assert [o.verdict for o in deployment.govern()] == ["reject"]
    governor = deployment.governor()
    assert governor.consider(deployment.candidate(trained)) == []
    deployment.source = {"git": True, "dirty": False, "source_digest": "sha256:1", "commit": "b"}
    (outcome,) = deployment.governor().consider(deployment.candidate(trained), again=True)
    assert (outcome.verdict, outcome.promoted) == ("approve", True)
    assert deployment.candidate(trained).verdict == "approve"


def test_a_verdict_is_judged_again_when_another_model_was_promoted_meanwhile(deployment: Deployment) -> None:
    """Judged while nothing was serving, the worse model would replace the better one just promoted."""
    good, bad = deployment.train(weight=1.0), deployment.train(weight=-1.0)
    real, raced = load_policy_set("policies.catalog:clinical_low_risk"), []
    comparing = replace(real, policies=[p for p in real.policies if p.name == "not_worse_than_current"])

    def racing(_: str) -> PolicySet:
        if not raced:
            raced.append(1)
            deployment.governor(lambda _: always("approve")).consider(deployment.candidate(good))
        return comparing

    # The other governor acts between this one's look at what serves and its commit.
    original = Governor._judge
    judged = []

    def judge(self: Governor, *arguments: object) -> object:
        result = original(self, *arguments)  # type: ignore[arg-type]
        judged.append(result.judgement.verdict)
        if len(judged) == 1:
            racing("")
        return result

    slow = deployment.governor(lambda _: comparing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Governor, "_judge", judge)
        outcomes = slow.consider(deployment.candidate(bad))
    assert judged[0] == "approve"
    assert [o.verdict for o in outcomes] == ["reject"]
    assert deployment.store.current(SERVING).model == good.model


def test_a_crash_between_the_commit_and_the_pointer_only_delays_the_pointer(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.train()

    def crash(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(promotion_module.Promotions, "publish", crash)
        with pytest.raises(KeyboardInterrupt):
            deployment.govern()
    assert deployment.store.current(SERVING).serial == 1
    assert not pointer_path(deployment.home.root, SERVING).exists()
    assert deployment.govern() == []
    assert deployment.promotions().publish(SERVING) is True
    assert deployment.promotions().publish(SERVING) is False
    assert isinstance(gate(deployment).admit(), Admitted)
    assert len(deployment.store.find(Promoted)) == 1


def test_publishing_restores_the_pointer_and_the_decision_that_went_missing(deployment: Deployment) -> None:
    deployment.train()
    deployment.govern()
    decision = pointer(deployment).decision
    assert decision is not None
    deployment.artifacts.path(decision).unlink()
    shutil.rmtree(pointer_path(deployment.home.root, SERVING).parent)
    assert deployment.promotions().publish(SERVING) is True
    assert isinstance(gate(deployment).admit(), Admitted)


def test_a_lease_is_renewed_after_half_its_time_and_stays_the_same_promotion(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.train()
    deployment.govern()
    before = pointer(deployment)
    later = now_us() + LEASE_US // 2 - 60_000_000
    monkeypatch.setattr(promotion_module, "now_us", lambda: later)
    assert deployment.promotions().publish(SERVING) is False
    later += 120_000_000
    assert deployment.promotions().publish(SERVING) is True
    after = pointer(deployment)
    assert (after.identity, after.lease_end) == (before.identity, later + LEASE_US)


def test_a_halt_stops_serving_until_the_next_promotion(deployment: Deployment) -> None:
    deployment.train()
    deployment.govern()
    assert deployment.promotions().halt(SERVING, reason="drift", by="dr_house") == 2
    assert isinstance(gate(deployment).admit(), Halted)
    (halted,) = deployment.store.find(NodeHalted, SERVING)
    assert (halted.fact.reason, halted.fact.by) == ("drift", "dr_house")
    assert deployment.store.current(SERVING).halted
    better = deployment.train(weight=2.0)
    assert [o.promoted for o in deployment.govern()] == [True]
    admitted = gate(deployment).admit()
    assert isinstance(admitted, Admitted)
    assert (admitted.model, admitted.serial) == (better.model, 3)
    assert not deployment.store.current(SERVING).halted


def test_a_node_that_never_served_cannot_be_halted(deployment: Deployment) -> None:
    with pytest.raises(IonError) as caught:
        deployment.promotions().halt(SERVING, reason="", by="")
    assert caught.value.code == "never-promoted"


def test_a_slow_publisher_does_not_put_an_older_serial_back(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.train()
    deployment.govern()
    shutil.rmtree(pointer_path(deployment.home.root, SERVING).parent)
    slow, fast = deployment.promotions(), deployment.promotions()
    original, halted = promotion_module.Promotions._wanted, []

    def wanted(self: object, store: object, node: str) -> object:
        statement = original(self, store, node)  # type: ignore[arg-type]
        if self is slow and not halted:
            halted.append(fast.halt(SERVING, reason="meanwhile", by="somebody"))
        return statement

    monkeypatch.setattr(promotion_module.Promotions, "_wanted", wanted)
    slow.publish(SERVING)
    assert halted == [2]
    assert pointer(deployment).serial == 2
