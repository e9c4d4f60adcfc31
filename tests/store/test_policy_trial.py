"""A draft policy set on the past: the evidence of then, measured again, and what would have been decided otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ion.decision import Policy, PolicySet, load_policy_set
from ion.decision.past import Past
from ion.decision.trial import Bench, trust_then
from ion.facts import DecisionMade
from ion.graph import assignments
from ion.serving.measure import measure
from ion.testing import CHECK, SERVING, Deployment
from policies.metrics import metric_at_least

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.decision import Evidence, Verdict
    from ion.decision.trial import Tried

IN_FORCE = load_policy_set("policies.catalog:clinical_low_risk")


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment.make(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def either(tmp_path: Path, store_url: str) -> Iterator[Deployment]:
    """A deployment on SQLite and one on PostgreSQL."""
    made = Deployment.make(tmp_path / "home", store_url)
    yield made
    made.close()


def bench_of(deployment: Deployment) -> Bench:
    artifacts, trust = deployment.artifacts, trust_then(deployment.home)
    return Bench(deployment.store, artifacts, measure=measure, assignments=assignments, trust=trust)


def trials(deployment: Deployment, draft: PolicySet, *, since: int = 0, ion: str = "") -> list[Tried]:
    bench = bench_of(deployment)
    return list(bench.trials(draft, since=since, ion=ion))


def seeing(seen: list[Evidence]) -> PolicySet:
    """Return a set that approves everything and keeps the evidence it saw."""

    def judge(evidence: Evidence) -> tuple[Verdict, str]:
        seen.append(evidence)
        return "approve", "seen"

    return PolicySet("seeing", (Policy("seeing", {}, judge),), 1, {}, "tests")


def test_the_set_that_decided_decides_the_same_again(either: Deployment) -> None:
    """The first was compared with nothing, the third with the second, as they were then, whatever serves now."""
    either.train()
    either.govern()
    either.train(weight=2.0)
    either.govern()
    either.train(weight=-1.0)
    either.govern()
    either.train(code={"git": True, "dirty": True, "source_digest": "sha256:1", "commit": "a"})
    either.govern()
    tried = trials(either, IN_FORCE)
    assert [each.verdict_then for each in tried] == ["approve", "approve", "reject", "reject"]
    for each in tried:
        assert each.verdict_draft == each.verdict_then
        assert (each.then, each.draft, each.unlike_then) == ((), (), ())


def test_a_stricter_draft_differs_with_the_reasons_of_both(deployment: Deployment) -> None:
    trained = deployment.train()
    deployment.govern()
    draft = replace(IN_FORCE, policies=[metric_at_least("roc_auc", 0.9999), *IN_FORCE.policies[1:]])
    (tried,) = trials(deployment, draft)
    assert tried.differs
    assert (tried.model, tried.node, tried.verdict_then, tried.verdict_draft) == (
        trained.model, SERVING, "approve", "reject",
    )  # fmt: skip
    assert [policy for policy, _, _ in tried.then] == ["metric_at_least"]
    assert [(policy, verdict) for policy, verdict, _ in tried.draft] == [("metric_at_least", "reject")]
    assert "at least 0.9999" in tried.draft[0][2]


def test_a_looser_draft_would_have_let_the_bad_model_through(deployment: Deployment) -> None:
    deployment.train()
    deployment.govern()
    bad = deployment.train(weight=-1.0)
    deployment.govern()
    draft = replace(IN_FORCE, policies=[each for each in IN_FORCE.policies if each.name == "all_checks_passed"])
    assert [each.model for each in trials(deployment, draft) if each.differs] == [bad.model]


def test_evidence_is_of_then_not_of_today(either: Deployment) -> None:
    """A check that failed later, a model promoted later and a source committed later were not known."""
    either.source = {"git": True, "dirty": True, "commit": "then"}
    first = either.train()
    either.govern()
    either.train(weight=2.0)
    either.govern()
    with either.client.node_run("patient_tests/model", kind="training") as run:
        run.check(first.patients.name, CHECK, first.patients.digest, passed=False, severity="ERROR")
    either.client.ship()
    either.source = {"git": True, "dirty": False, "commit": "now"}
    seen: list[Evidence] = []
    tried = trials(either, seeing(seen))
    then, later = seen
    assert then.current is None
    assert later.current is not None
    assert later.current.model == first.model
    assert all(check.result is not None and check.result.passed for check in then.checks)
    assert (then.source_now, then.materialization) == ({"git": True, "dirty": True, "commit": "then"}, 1)
    assert [each.unlike_then for each in tried] == [(), ()]


def test_a_later_decision_on_the_same_candidate_counts(deployment: Deployment) -> None:
    trained = deployment.train(code={"git": True, "dirty": True, "source_digest": "sha256:1", "commit": "a"})
    deployment.govern()
    deployment.source = {"git": True, "dirty": False, "source_digest": "sha256:1", "commit": "b"}
    deployment.governor().consider(deployment.candidate(trained), again=True)
    (tried,) = trials(deployment, IN_FORCE)
    assert (tried.verdict_then, tried.verdict_draft, tried.unlike_then) == ("approve", "approve", ())


def test_what_cannot_be_brought_back_is_named(deployment: Deployment) -> None:
    trained = deployment.train()
    deployment.govern()
    deployment.artifacts.path(trained.heldout.uri.removeprefix("artifact:")).unlink()
    (tried,) = trials(deployment, IN_FORCE)
    assert (tried.verdict_then, tried.verdict_draft) == ("approve", "reject")
    assert tried.unlike_then == ("metrics",)


def test_a_decision_that_recorded_no_state_of_the_source_says_so(deployment: Deployment) -> None:
    deployment.source = {"git": True, "dirty": False, "commit": "then"}
    deployment.train()
    from ion.decision import governor

    original = governor.Governor._record_policy_run

    def record(*arguments: object) -> None:
        original(*arguments[:-1], {})  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(governor.Governor, "_record_policy_run", staticmethod(record))
        deployment.govern()
    (tried,) = trials(deployment, IN_FORCE)
    assert tried.unlike_then == ("code", "materialization")


def test_only_what_was_decided_since_and_in_the_ion(deployment: Deployment) -> None:
    deployment.train()
    deployment.govern()
    decided = deployment.store.find(DecisionMade)[0].us
    assert len(trials(deployment, IN_FORCE, since=decided)) == 1
    assert trials(deployment, IN_FORCE, since=decided + 1) == []
    assert len(trials(deployment, IN_FORCE, ion="patient_tests")) == 1
    assert trials(deployment, IN_FORCE, ion="patient") == []


def test_a_trial_changes_nothing(deployment: Deployment) -> None:
    deployment.train()
    deployment.govern()
    deployment.train(weight=-1.0)
    deployment.govern()
    before = deployment.store.head()
    trials(deployment, PolicySet("empty", (), 1, {}, "tests"))
    assert deployment.store.head() == before


def test_the_past_holds_no_fact_after_its_position(deployment: Deployment) -> None:
    deployment.train()
    deployment.govern()
    deployment.train(weight=2.0)
    deployment.govern()
    first, second = deployment.store.find(DecisionMade)
    assert Past(deployment.store, first.position).serving(SERVING) == ("", "")
    assert Past(deployment.store, second.position).serving(SERVING) == (first.fact.model, first.fact.run)
    assert Past(deployment.store, second.position + 9).serving(SERVING) == (second.fact.model, second.fact.run)
    past = Past(deployment.store, first.position)
    assert [record.position for record in past.find(DecisionMade)] == [first.position]
    assert past.latest(DecisionMade, SERVING) == first
    assert Past(deployment.store, first.position - 1).latest(DecisionMade) is None
