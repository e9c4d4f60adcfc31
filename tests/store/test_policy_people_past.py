"""A draft that asks people, judged on what people had said by then and under the trust document of then."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.decision.trust_noted import note_trust
from ion.errors import IonError
from ion.evidence import create_key, load_signer, trust_file
from ion.evidence.approvals import ApprovalStatement, Word, sign_approval
from ion.evidence.key_folder import file_uri
from ion.evidence.rotation import rotate_own_service
from ion.evidence.trust_changes import with_person, without_person
from ion.evidence.trust_signing import TrustPlace
from ion.facts import ApprovalGiven, DecisionMade
from ion.testing import SERVING, Deployment
from policies.people import people
from tests.store.test_policy_trial import IN_FORCE, trials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ion.decision import Outcome, PolicySet
    from ion.evidence.trust import TrustDocument
    from ion.testing import Trained

DAY_US = 86_400_000_000
ASKING = replace(IN_FORCE, policies=(*IN_FORCE.policies, people(quorum=1)))
CODE = {"git": True, "dirty": False, "commit": "c0ffee" * 6, "source_digest": digest_bytes(b"s"), "author": "trainer"}


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """One person, Anna, may approve."""
    made = Deployment.make(tmp_path / "home")
    public = create_key(tmp_path / "anna.pem")
    known = partial(with_person, person="anna", name="Anna", roles=["approver"], key=public, at=now_us())
    change(made, known)
    yield made
    made.close()


def change(deployment: Deployment, changed: Callable[[TrustDocument], TrustDocument]) -> None:
    root = load_signer(file_uri(deployment.home.keys / "root.pem"))
    note_trust(deployment.store, TrustPlace.of(deployment.home).sign(root, changed))


def say(deployment: Deployment, model: str, word: Word, number: int = 1) -> None:
    signer = load_signer(file_uri(deployment.home.root.parent / "anna.pem"))
    now = now_us()
    said = ApprovalStatement(f"a{number}", "patient_tests", "predictions", model, "anna", word, "r", now, now + DAY_US)
    envelope = sign_approval(said, signer)
    fact = ApprovalGiven(
        approval=said.id, node=SERVING, model=model, person="anna", verdict=word, reason="r", issued=now,
        until=said.until, key=signer.public.key_id, envelope=envelope.decode(),
        envelope_digest=digest_bytes(envelope),
    )  # fmt: skip
    with deployment.store.command() as command:
        command.record(fact)


def decide(deployment: Deployment, trained: Trained, policies: PolicySet = ASKING) -> list[Outcome]:
    governor = replace(deployment.governor(lambda _: policies), trust=trust_file(deployment.home))
    return governor.consider(deployment.candidate(trained), again=True)


def test_an_approval_of_then_counts_though_it_was_withdrawn_and_the_person_removed_since(
    deployment: Deployment,
) -> None:
    trained = deployment.train(code=CODE)
    say(deployment, trained.model, "approve")
    assert [outcome.verdict for outcome in decide(deployment, trained)] == ["approve"]
    say(deployment, trained.model, "withdraw", 2)
    change(deployment, partial(without_person, person="anna"))
    (tried,) = trials(deployment, ASKING)
    assert (tried.verdict_then, tried.verdict_draft, tried.then, tried.draft) == ("approve", "approve", (), ())
    assert tried.unlike_then == ()


def test_an_approval_given_later_did_not_count_then(deployment: Deployment) -> None:
    trained = deployment.train(code=CODE)
    deployment.govern(lambda _: IN_FORCE)
    say(deployment, trained.model, "approve")
    (tried,) = trials(deployment, ASKING)
    assert (tried.verdict_then, tried.verdict_draft) == ("approve", "defer")
    assert [policy for policy, _, _ in tried.draft] == ["people"]


def test_a_governor_whose_key_was_replaced_meanwhile_decides_nothing(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation that took longer than the old key still counts must not sign with it."""
    trained = deployment.train(code=CODE)
    slow = replace(deployment.governor(lambda _: IN_FORCE), trust=trust_file(deployment.home))
    root = load_signer(file_uri(deployment.home.keys / "root.pem"))
    rotate_own_service(deployment.home, TrustPlace.of(deployment.home), root, "decision", days=None)
    later = now_us() + 120_000_000
    monkeypatch.setattr("ion.decision.governor.now_us", lambda: later)
    with pytest.raises(IonError) as error:
        slow.consider(deployment.candidate(trained))
    assert error.value.code == "decision-key-differs"
    assert deployment.store.find(DecisionMade) == []
    fresh = replace(slow, signer=load_signer(deployment.home.decision_key_uri))
    assert [outcome.verdict for outcome in fresh.consider(deployment.candidate(trained))] == ["approve"]
