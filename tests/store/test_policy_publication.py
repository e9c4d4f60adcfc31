"""A published policy set is what was published, or it decides nothing; what serves stays, and alarms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ion.canonical import digest_json
from ion.decision import PolicySet, load_policy_set
from ion.decision.publication import Published, publication_problem, publish, published_digest
from ion.evidence.envelope import Unverified
from ion.evidence.publications import PublicationStatement, verify_publication
from ion.facts import AlertRaised, DecisionMade, PolicySetPublished, ReviewDrawn
from ion.testing import SERVING, Deployment
from policies.fast_track import same_inputs_as_current
from policies.metrics import metric_at_least
from tests.store.test_policy_trial import bench_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.decision import Evidence, Outcome

REFERENCE = "policies.catalog:clinical_low_risk"
IN_FORCE = load_policy_set(REFERENCE)
CHANGED = replace(IN_FORCE, valid_days=91)
STRICTER = replace(IN_FORCE, policies=[metric_at_least("roc_auc", 0.9999), *IN_FORCE.policies[1:]])
VERSION = "test"  # of the deployment's governor


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


def published(deployment: Deployment, policies: PolicySet) -> Published:
    bench = bench_of(deployment)
    return publish(bench, policies, deployment.signer, version=VERSION, by="dr_house")


def alerts(deployment: Deployment) -> list[AlertRaised]:
    found = [record.fact for record in deployment.store.find(AlertRaised, SERVING)]
    return [fact for fact in found if fact.alert == "policy-differs"]


def test_a_published_set_decides_as_long_as_it_is_what_was_published(either: Deployment) -> None:
    done = published(either, IN_FORCE)
    assert (done.reference, done.digest, done.new) == (REFERENCE, IN_FORCE.digest(VERSION), True)
    either.train()
    (outcome,) = either.govern()
    assert outcome.verdict == "approve"
    either.train(weight=2.0)
    (refused,) = either.govern(lambda _: CHANGED)
    assert (refused.verdict, refused.promoted) == ("reject", False)
    (reason,) = refused.reasons
    assert reason.policy == "published"
    assert "publish it again" in reason.message
    assert either.store.current(SERVING).serial == 1


def test_published_again_it_decides(deployment: Deployment) -> None:
    published(deployment, IN_FORCE)
    trained = deployment.train()
    assert [outcome.verdict for outcome in deployment.govern(lambda _: CHANGED)] == ["reject"]
    assert published(deployment, CHANGED).new
    (outcome,) = deployment.governor(lambda _: CHANGED).consider(deployment.candidate(trained), again=True)
    assert (outcome.verdict, outcome.promoted) == ("approve", True)
    assert publication_problem(deployment.store, IN_FORCE, VERSION)


def test_a_set_that_was_never_published_decides(deployment: Deployment) -> None:
    assert published_digest(deployment.store, REFERENCE) == ""
    assert publication_problem(deployment.store, CHANGED, VERSION) == ""
    published(deployment, replace(IN_FORCE, name="another"))
    assert publication_problem(deployment.store, CHANGED, VERSION) == ""


def test_another_version_of_ion_or_an_edited_source_is_another_set(deployment: Deployment) -> None:
    published(deployment, IN_FORCE)
    assert publication_problem(deployment.store, IN_FORCE, "0.2.0")
    edited = replace(IN_FORCE, sources={**IN_FORCE.sources, "metrics.py": "sha256:" + "0" * 64})
    assert publication_problem(deployment.store, edited, VERSION)
    drawn = replace(IN_FORCE, automatic_review_share=0.5)
    assert publication_problem(deployment.store, drawn, VERSION)


def test_publishing_twice_records_once(deployment: Deployment) -> None:
    deployment.train()
    deployment.govern()
    first = published(deployment, STRICTER)
    again = published(deployment, STRICTER)
    assert (first.new, again.new) == (True, False)
    assert again.serving == first.serving
    assert len(deployment.store.find(PolicySetPublished)) == 1
    assert len(alerts(deployment)) == 1


def test_a_serving_model_it_would_not_approve_raises_an_alert_and_serves_on(either: Deployment) -> None:
    trained = either.train()
    (outcome,) = either.govern()
    done = published(either, STRICTER)
    (differing,) = done.differing
    assert (differing.node, differing.model, differing.decision) == (SERVING, trained.model, outcome.decision)
    (alert,) = alerts(either)
    assert "at least 0.9999" in alert.message
    assert trained.model[7:19] in alert.message
    assert alert.about == trained.model
    current = either.store.current(SERVING)
    assert (current.model, current.serial, current.halted) == (trained.model, 1, False)


def test_a_serving_model_it_approves_and_a_halted_node_raise_none(deployment: Deployment) -> None:
    deployment.train()
    deployment.govern()
    assert [each.verdict for each in published(deployment, CHANGED).serving] == ["approve"]
    deployment.promotions().halt(SERVING, reason="drift", by="dr_house")
    assert published(deployment, STRICTER).serving == ()
    assert alerts(deployment) == []


def test_a_model_that_serves_under_another_set_is_none_of_its_business(deployment: Deployment) -> None:
    deployment.train()
    deployment.govern()
    assert published(deployment, replace(STRICTER, name="another")).serving == ()


def test_what_was_published_is_signed(deployment: Deployment) -> None:
    published(deployment, IN_FORCE)
    (record,) = deployment.store.find(PolicySetPublished)
    fact = record.fact
    assert digest_json(dict(fact.content)) == fact.digest
    said = verify_publication(fact.envelope.encode(), deployment.trust)
    assert isinstance(said, PublicationStatement)
    assert (said.reference, said.digest, said.by) == (REFERENCE, fact.digest, "dr_house")
    flipped = fact.envelope.replace('"payload":"e', '"payload":"f', 1)
    assert isinstance(verify_publication(flipped.encode(), deployment.trust), Unverified)


# The fast track -----------------------------------------------------------------------------------------


def reviewed(deployment: Deployment) -> list[str]:
    return [record.fact.decision for record in deployment.store.find(ReviewDrawn)]


def fast_track(share: float) -> PolicySet:
    return replace(load_policy_set("policies.catalog:fast_track"), automatic_review_share=share)


def test_a_fast_track_approval_is_automatic_and_all_none_or_some_are_drawn(either: Deployment) -> None:
    drawn_all = [outcome.decision for _ in range(2) for outcome in train_and_govern(either, 1.0)]
    assert reviewed(either) == drawn_all
    train_and_govern(either, 0.0)
    assert reviewed(either) == drawn_all
    made = either.store.find(DecisionMade)
    assert [record.fact.verdict for record in made] == ["approve"] * 3
    assert all(record.fact.automatic for record in made)


def train_and_govern(deployment: Deployment, share: float) -> list[Outcome]:
    deployment.train(weight=1.0 + len(deployment.materializations))
    return deployment.govern(lambda _: fast_track(share))


def test_a_rejection_is_not_drawn(deployment: Deployment) -> None:
    deployment.train(weight=-1.0)
    (outcome,) = deployment.govern(lambda _: fast_track(1.0))
    assert outcome.verdict == "reject"
    assert reviewed(deployment) == []


def test_the_catalogues_fast_track_draws_a_tenth() -> None:
    assert load_policy_set("policies.catalog:fast_track").automatic_review_share == 0.1
    assert IN_FORCE.automatic_review_share == 0.0


def test_a_model_that_asks_for_other_inputs_is_no_small_change(deployment: Deployment) -> None:
    from tests.store.test_policy_trial import seeing, trials

    deployment.train()
    deployment.govern()
    deployment.train(weight=2.0)
    deployment.govern()
    seen: list[Evidence] = []
    trials(deployment, seeing(seen))
    evidence = seen[-1]
    assert evidence.current is not None
    judge = same_inputs_as_current().evaluate
    assert judge(evidence).verdict == "approve"
    current = evidence.current
    for candidate, why in (
        (replace(evidence.candidate, features=[*current.features, "postcode"]), "asks for 'postcode' anew"),
        (replace(evidence.candidate, features=list(current.features[1:])), "no longer asks for 'radius'"),
        (replace(evidence.candidate, label="other"), "predicts 'other'"),
    ):
        reason = judge(replace(evidence, candidate=candidate))
        assert reason.verdict == "reject"
        assert why in reason.message
    assert judge(replace(evidence, current=None)).verdict == "approve"
    unknown = replace(evidence, current=None, current_measured=replace(evidence.measured, problem="gone"))
    assert judge(unknown).verdict == "reject"
