from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ion.clock import now_us
from ion.decision import PolicySet, Reason
from ion.decision.standing_behind import stand_down_unsupported
from ion.errors import IonError
from ion.evidence import load_signer
from ion.evidence.trust import load_trust
from ion.evidence.trust_changes import with_requirement, without_person
from ion.evidence.trust_signing import TrustPlace
from ion.facts import AlertRaised, ApprovalGiven, DecisionMade, NodeHalted, Promoted
from ion.graph import explain
from ion.graph.pending import pending
from ion.serving import Admitted, Refused
from ion.testing import SERVING, Deployment
from policies.people import people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ion.evidence import Signer
    from ion.evidence.trust_document import TrustDocument
    from ion.testing import Trained

DAY_US = 86_400_000_000


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment.make(tmp_path / "home")
    yield made
    made.close()


def asking(quorum: int = 2, within_days: int | None = None) -> Callable[[str], PolicySet]:
    policies = PolicySet("two_people", (people(quorum, within_days=within_days),), 90, {}, "tests")
    return lambda _: policies


def verdicts(deployment: Deployment) -> list[str]:
    return [record.fact.verdict for record in deployment.store.find(DecisionMade)]


def changed(deployment: Deployment, change: Callable[[TrustDocument], TrustDocument]) -> None:
    TrustPlace.of(deployment.home).sign(load_signer(f"file:{deployment.home.keys / 'root.pem'}"), change)


def submitted(deployment: Deployment, by: str = "carol") -> Trained:
    code = {"git": True, "dirty": False, "commit": "c0ffee" * 6, "source_digest": "sha256:" + "0" * 64, "author": by}
    return deployment.train(code=code)


def test_two_people_with_two_keys_let_a_model_serve(deployment: Deployment) -> None:
    anna, ben = deployment.introduce("anna"), deployment.introduce("ben")
    trained = submitted(deployment)
    deployment.govern(asking())
    assert verdicts(deployment) == ["defer"]
    (waiting,) = pending(deployment.store, load_trust(deployment.home))
    assert waiting.asked[0] == {"role": "approver", "quorum": 2, "approved": [], "may": ["anna", "ben"]}
    assert isinstance(deployment.gate().admit(), Refused)

    deployment.speak(anna, trained.model)
    deployment.govern(asking())
    assert verdicts(deployment) == ["defer", "defer"]
    assert deployment.store.find(Promoted) == []

    deployment.speak(ben, trained.model)
    deployment.govern(asking())
    assert verdicts(deployment) == ["defer", "defer", "approve"]
    assert pending(deployment.store, load_trust(deployment.home)) == []
    admitted = deployment.gate().admit()
    assert isinstance(admitted, Admitted), admitted
    assert admitted.model == trained.model

    deployment.govern(asking())
    assert len(deployment.store.find(Promoted)) == 1  # decided once


def test_a_deferred_model_is_not_decided_again_before_somebody_speaks(deployment: Deployment) -> None:
    deployment.introduce("anna")
    submitted(deployment)
    for _ in range(3):
        deployment.govern(asking())
    assert verdicts(deployment) == ["defer"]


def test_one_person_does_not_count_twice_also_with_two_keys(deployment: Deployment) -> None:
    first, second = deployment.introduce("anna"), deployment.introduce("anna")
    assert first.public != second.public
    trained = submitted(deployment)
    deployment.govern(asking())
    deployment.speak(first, trained.model)
    deployment.speak(second, trained.model)
    deployment.govern(asking())
    assert verdicts(deployment)[-1] == "defer"


@pytest.mark.parametrize("submitter", ["anna", "Anna@Hospital.example"])
def test_who_submitted_a_model_never_approves_it(deployment: Deployment, submitter: str) -> None:
    anna = deployment.introduce("anna", aliases=("anna@hospital.example",))
    ben = deployment.introduce("ben")
    trained = submitted(deployment, by=submitter)
    deployment.govern(asking())
    deployment.speak(anna, trained.model)
    deployment.speak(ben, trained.model)
    deployment.govern(asking())
    assert verdicts(deployment)[-1] == "defer"
    reason = deployment.store.find(DecisionMade)[-1].fact.reasons[0]["message"]
    assert "anna submitted the model" in str(reason)


def test_a_model_nobody_submitted_is_rejected(deployment: Deployment) -> None:
    deployment.introduce("anna")
    deployment.train()
    deployment.govern(asking())
    assert verdicts(deployment) == ["reject"]


def test_one_rejection_rejects(deployment: Deployment) -> None:
    anna, ben, eve = (deployment.introduce(name) for name in ("anna", "ben", "eve"))
    trained = submitted(deployment)
    deployment.govern(asking())
    for signer in (anna, ben):
        deployment.speak(signer, trained.model)
    deployment.speak(eve, trained.model, "reject", reason="misses small tumours")
    deployment.govern(asking())
    assert verdicts(deployment)[-1] == "reject"
    assert "misses small tumours" in str(deployment.store.find(DecisionMade)[-1].fact.reasons)


def test_time_alone_never_approves_and_rejects_at_the_end(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = deployment.introduce("anna")
    trained = submitted(deployment)
    deployment.govern(asking(within_days=1))
    deployment.speak(anna, trained.model, until=now_us() + 400 * DAY_US)
    deployment.govern(asking(within_days=1))
    assert verdicts(deployment) == ["defer", "defer"]
    later = now_us() + 2 * DAY_US
    for module in ("ion.decision.deferred", "ion.decision.evidence"):
        monkeypatch.setattr(f"{module}.now_us", lambda: later)
    deployment.govern(asking(within_days=1))
    assert verdicts(deployment)[-1] == "reject"


def refused(deployment: Deployment, signer: Signer, model: str, **changes: object) -> str:
    before = len(deployment.store.find(AlertRaised))
    with pytest.raises(IonError) as error:
        deployment.speak(signer, model, **changes)  # type: ignore[arg-type]
    assert error.value.code == "approval-refused"
    assert len(deployment.store.find(AlertRaised)) == before + 1  # every refusal is a fact
    assert deployment.store.find(ApprovalGiven) == []
    return error.value.message


def test_what_does_not_count_is_refused_and_told(deployment: Deployment) -> None:
    anna, reader = deployment.introduce("anna"), deployment.introduce("rita", role="reader")
    trained, now = submitted(deployment), now_us()
    other = "sha256:" + "1" * 64
    assert "none of the roles" in refused(deployment, reader, trained.model)
    assert "no candidate" in refused(deployment, anna, other)
    assert "no candidate for" in refused(deployment, anna, trained.model, node="model")
    assert "ten minutes" in refused(deployment, anna, trained.model, issued=now - 700_000_000)
    assert "ten minutes" in refused(deployment, anna, trained.model, issued=now + 700_000_000)
    assert "is over" in refused(deployment, anna, trained.model, issued=now - 2, until=now - 1)
    assert "did not sign it" in refused(deployment, anna, trained.model, person="rita")


def test_the_key_of_somebody_unknown_or_removed_is_refused(deployment: Deployment) -> None:
    anna, ben = deployment.introduce("anna"), deployment.introduce("ben")
    trained = submitted(deployment)
    changed(deployment, lambda document: without_person(document, "anna"))
    assert "no trusted key" in refused(deployment, anna, trained.model, person="anna")
    assert deployment.speak(ben, trained.model)


def test_the_same_statement_again_changes_nothing_and_another_under_its_id_is_refused(deployment: Deployment) -> None:
    anna = deployment.introduce("anna")
    trained = submitted(deployment)
    known = deployment.speak(anna, trained.model, id="one", issued=now_us(), until=now_us() + DAY_US)
    with pytest.raises(IonError, match="another statement has its id"):
        deployment.speak(anna, trained.model, id=known, reason="on second thoughts")
    assert len(deployment.store.find(ApprovalGiven)) == 1


def served_by_two(deployment: Deployment) -> tuple[Trained, Signer, Signer]:
    anna, ben = deployment.introduce("anna"), deployment.introduce("ben")
    trained = submitted(deployment)
    deployment.govern(asking())
    deployment.speak(anna, trained.model)
    deployment.speak(ben, trained.model)
    deployment.govern(asking())
    assert isinstance(deployment.gate().admit(), Admitted)
    return trained, anna, ben


@pytest.mark.parametrize("word", ["withdraw", "reject"])
def test_a_model_stops_serving_when_somebody_takes_the_word_back(deployment: Deployment, word: str) -> None:
    trained, anna, _ = served_by_two(deployment)
    assert stand_down_unsupported(deployment.store, deployment.promotions(), load_trust(deployment.home)) == []
    deployment.speak(anna, trained.model, word)  # type: ignore[arg-type]
    stood_down = stand_down_unsupported(deployment.store, deployment.promotions(), load_trust(deployment.home))
    assert stood_down == [SERVING]
    assert deployment.store.current(SERVING).halted
    assert "anna" in deployment.store.find(NodeHalted)[0].fact.reason
    assert not isinstance(deployment.gate().admit(), Admitted)


def test_a_person_who_is_removed_no_longer_stands_behind_a_model(deployment: Deployment) -> None:
    served_by_two(deployment)
    changed(deployment, lambda document: without_person(document, "ben"))
    assert not isinstance(deployment.gate().admit(), Admitted)  # the gate needs nobody to tell it
    assert stand_down_unsupported(deployment.store, deployment.promotions(), load_trust(deployment.home)) == [SERVING]


def test_what_the_trust_document_asks_is_asked_whatever_the_policy_set_says(deployment: Deployment) -> None:
    anna, ben = deployment.introduce("anna"), deployment.introduce("ben")
    changed(deployment, lambda document: with_requirement(document, SERVING, "approver", 2))
    trained = submitted(deployment)
    deployment.govern()
    assert verdicts(deployment) == ["defer"]
    for signer in (anna, ben):
        deployment.speak(signer, trained.model)
    deployment.govern()
    assert verdicts(deployment)[-1] == "approve"
    assert isinstance(deployment.gate().admit(), Admitted)


def test_why_names_the_people_and_a_forged_approval_changes_the_answer(deployment: Deployment) -> None:
    served_by_two(deployment)
    prediction = deployment.serve(rows=2).predictions[0]
    answer = explain(deployment.store, prediction, deployment.home)
    assert not {"approval", "approval signature", "approvals", "decision signature"} & {h.what for h in answer.gaps}
    (approval,) = answer.approvals
    people_told = approval["people"]
    assert isinstance(people_told, list)
    assert [(each["person"], each["name"], each["signature"]) for each in people_told] == [
        ("anna", "Anna", "verified"),
        ("ben", "Ben", "verified"),
    ]
    changed(deployment, lambda document: without_person(document, "ben"))
    forged = explain(deployment.store, prediction, deployment.home)
    assert {hole.what for hole in forged.gaps} >= {"approval signature", "approvals"}


def test_a_decision_is_automatic_only_without_people() -> None:
    policies = asking()("")
    assert policies.approvals
    assert not replace(policies, policies=()).approvals
    assert Reason("people", "defer", "").verdict == "defer"
