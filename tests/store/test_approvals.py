"""What people say, from their signature to what serves: a real store, real keys, the real gate."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from ion.clock import now_us
from ion.decision import Governor, Policy, PolicySet
from ion.decision.listening import Listening
from ion.decision.trust_noted import note_trust
from ion.errors import IonError
from ion.evidence import load_signer
from ion.evidence.trust import load_trust
from ion.evidence.trust_changes import with_requirement, with_revocation, without_person
from ion.evidence.trust_signing import TrustPlace
from ion.facts import (
    AlertRaised,
    ApprovalGiven,
    DecisionMade,
    IonDefined,
    NodeHalted,
    Promoted,
    ReviewDrawn,
    RolledBack,
)
from ion.graph import Definition, define, explain
from ion.graph.pending import pending
from ion.serving import Admitted, Refused
from ion.testing import DEFINITION, SERVING, Deployment
from policies.people import people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ion.decision import Verdict
    from ion.evidence import Signer
    from ion.evidence.approvals import Word
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
    """Let the root sign a changed trust document; governance notes it on sight."""
    TrustPlace.of(deployment.home).sign(load_signer(f"file:{deployment.home.keys / 'root.pem'}"), change)
    note_trust(deployment.store, load_trust(deployment.home))


def at(monkeypatch: pytest.MonkeyPatch, time: int) -> None:
    """Set the wall clock by which governance counts people."""
    monkeypatch.setattr("ion.decision.reopening.now_us", lambda: time)


def submitted(deployment: Deployment, by: str = "carol", weight: float = 1.0) -> Trained:
    code = {"git": True, "dirty": False, "commit": "c0ffee" * 6, "source_digest": "sha256:" + "0" * 64, "author": by}
    return deployment.train(code=code, weight=weight)


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
    (waiting,) = pending(deployment.store, load_trust(deployment.home))
    assert waiting.until is not None
    at(monkeypatch, waiting.until - 1)
    assert deployment.govern(asking(within_days=1)) == []
    at(monkeypatch, waiting.until)
    assert [outcome.verdict for outcome in deployment.govern(asking(within_days=1))] == ["reject"]


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
    assert "ten minutes" in refused(deployment, anna, trained.model, issued=now + 70_000_000)
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


@pytest.mark.parametrize(("word", "verdict"), [("withdraw", "defer"), ("reject", "reject")])
def test_a_model_stops_serving_when_somebody_takes_the_word_back(
    deployment: Deployment, word: Word, verdict: str
) -> None:
    trained, anna, _ = served_by_two(deployment)
    assert deployment.govern(asking()) == []
    deployment.speak(anna, trained.model, word)
    assert [outcome.verdict for outcome in deployment.govern(asking())] == [verdict]
    assert deployment.store.current(SERVING).halted
    assert "anna" in deployment.store.find(NodeHalted)[0].fact.reason
    assert not isinstance(deployment.gate().admit(), Admitted)
    assert deployment.govern(asking()) == []
    assert [each.kind for each in pending(deployment.store, load_trust(deployment.home))] == ["approval"] * (
        verdict == "defer"
    )


def test_signed_again_a_withdrawn_model_serves_again(deployment: Deployment) -> None:
    trained, anna, _ = served_by_two(deployment)
    deployment.speak(anna, trained.model, "withdraw")
    deployment.govern(asking())
    deployment.speak(anna, trained.model)
    assert [(outcome.verdict, outcome.promoted) for outcome in deployment.govern(asking())] == [("approve", True)]
    admitted = deployment.gate().admit()
    assert isinstance(admitted, Admitted), admitted
    assert admitted.serial == 3  # promoted, halted, promoted


def test_a_rejection_taken_back_lets_the_others_decide_again(deployment: Deployment) -> None:
    trained, anna, ben = served_by_two(deployment)
    deployment.speak(anna, trained.model, "reject", reason="misses small tumours")
    deployment.govern(asking())
    deployment.speak(anna, trained.model, "withdraw")
    assert [outcome.verdict for outcome in deployment.govern(asking())] == ["defer"]
    carl = deployment.introduce("carl")
    deployment.speak(carl, trained.model)
    assert [outcome.promoted for outcome in deployment.govern(asking())] == [True]
    assert ben.public.key_id in {record.fact.key for record in deployment.store.find(ApprovalGiven)}


def test_a_person_who_is_removed_no_longer_stands_behind_a_model(deployment: Deployment) -> None:
    served_by_two(deployment)
    changed(deployment, lambda document: without_person(document, "ben"))
    assert not isinstance(deployment.gate().admit(), Admitted)  # the gate needs nobody to tell it
    assert [outcome.verdict for outcome in deployment.govern(asking())] == ["defer"]
    assert deployment.store.current(SERVING).halted


@pytest.mark.parametrize("since", [0, 1_000_000])
def test_a_revoked_key_takes_back_what_it_signed_from_then_on(deployment: Deployment, since: int) -> None:
    """Revoked from a time after the signature, the signature stays; from before, it never was one."""
    serves = since > 0
    _, _, ben = served_by_two(deployment)
    signed = deployment.store.find(ApprovalGiven)[-1].fact.issued
    changed(deployment, lambda document: with_revocation(document, ben.public.key_id, signed + since if since else 0))
    deployment.govern(asking())
    assert deployment.store.current(SERVING).halted is not serves
    assert isinstance(deployment.gate().admit(), Admitted) is serves


def test_a_node_that_falls_back_serves_the_last_model_people_still_stand_behind(deployment: Deployment) -> None:
    document = json.loads(json.dumps(DEFINITION))
    document["nodes"][2]["on_revocation"] = "fall_back"
    define(deployment.store, Definition.from_json(document))
    first, anna, ben = served_by_two(deployment)
    second = submitted(deployment, weight=2.0)
    deployment.govern(asking())
    for signer in (anna, ben):
        deployment.speak(signer, second.model)
    deployment.govern(asking())
    assert deployment.store.current(SERVING).model == second.model
    deployment.speak(anna, second.model, "reject", reason="an age group is missing")
    deployment.govern(asking())
    current = deployment.store.current(SERVING)
    assert (current.model, current.halted) == (first.model, False)
    assert len(deployment.store.find(RolledBack)) == 1


def test_an_approval_ends_and_no_clock_brings_it_back(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, ben = deployment.introduce("anna"), deployment.introduce("ben")
    trained, now = submitted(deployment), now_us()
    deployment.govern(asking())
    deployment.speak(anna, trained.model, until=now + DAY_US)
    deployment.govern(asking())
    for days in (400, -400, 0):  # ahead, and then back
        at(monkeypatch, now + days * DAY_US)
        issued = max(now, now + days * DAY_US)
        if days == 400:
            deployment.speak(ben, trained.model, issued=issued, until=issued + DAY_US)
            deployment.govern(asking())
        else:
            with pytest.raises(IonError, match="not taken"):
                deployment.speak(ben, trained.model, "withdraw", issued=now + days * DAY_US)
            assert deployment.govern(asking()) == []
        newest = deployment.store.find(DecisionMade)[-1].fact
        assert newest.verdict == "defer"
        assert "anna approved it until a time that is over" in str(newest.reasons)


def test_a_clock_set_back_does_not_let_a_backdated_signature_in(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = deployment.introduce("anna")
    trained, now = submitted(deployment), now_us()
    deployment.govern(asking())
    at(monkeypatch, now - DAY_US // 2)
    with pytest.raises(IonError, match="ten minutes"):
        deployment.speak(anna, trained.model, issued=now - DAY_US // 2)


def test_who_signs_for_longer_keeps_the_model_serving_for_longer(deployment: Deployment) -> None:
    trained, anna, ben = served_by_two(deployment)
    ends = deployment.store.find(DecisionMade)[-1].fact.expires
    for signer in (anna, ben):
        deployment.speak(signer, trained.model, until=ends + DAY_US)
    assert [outcome.promoted for outcome in deployment.govern(asking())] == [True]
    assert deployment.store.find(DecisionMade)[-1].fact.expires == ends + DAY_US
    assert deployment.govern(asking()) == []


def test_a_third_person_changes_nothing_that_was_decided(deployment: Deployment) -> None:
    trained, *_ = served_by_two(deployment)
    ends = deployment.store.find(DecisionMade)[-1].fact.expires
    deployment.speak(deployment.introduce("carl"), trained.model, until=ends - 1)
    assert deployment.govern(asking()) == []


def test_a_trust_document_that_changes_nothing_for_a_model_causes_no_decision(deployment: Deployment) -> None:
    anna = deployment.introduce("anna")
    trained = submitted(deployment)
    deployment.govern(asking())
    deployment.speak(anna, trained.model)
    deployment.govern(asking())
    deployment.introduce("ben")
    note_trust(deployment.store, load_trust(deployment.home))
    assert deployment.govern(asking()) == []
    changed(deployment, lambda document: without_person(document, "anna"))
    assert [outcome.verdict for outcome in deployment.govern(asking())] == ["defer"]
    assert "0 of 2" in str(deployment.store.find(DecisionMade)[-1].fact.reasons)


def test_a_word_that_comes_while_it_is_judged_is_heard(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two had approved when it was judged; before that is recorded, a third says no."""
    anna, ben, eve = (deployment.introduce(name) for name in ("anna", "ben", "eve"))
    trained = submitted(deployment)
    for signer in (anna, ben):
        deployment.speak(signer, trained.model)
    judge, judged = Governor._judge, []

    def slowly(self: Governor, *arguments: object) -> object:
        result = judge(self, *arguments)  # type: ignore[arg-type]
        judged.append(result.judgement.verdict)
        if len(judged) == 1:
            deployment.speak(eve, trained.model, "reject", reason="the labels are swapped")
        return result

    monkeypatch.setattr(Governor, "_judge", slowly)
    deployment.govern(asking())
    assert judged == ["approve", "reject"]
    assert verdicts(deployment) == ["reject"]
    assert deployment.store.find(Promoted) == []


def test_people_are_not_asked_about_a_model_that_another_policy_rejects(deployment: Deployment) -> None:
    deployment.introduce("anna")

    def never(_: object) -> tuple[Verdict, str]:
        return "reject", "the recall is too low"

    policies = PolicySet("hopeless", (people(2), Policy("recall", {}, never)), 90, {}, "tests")
    submitted(deployment)
    deployment.govern(lambda _: policies)
    (decided,) = deployment.store.find(DecisionMade)
    assert decided.fact.verdict == "reject"
    assert [reason["message"] for reason in decided.fact.reasons] == [
        "nobody is asked about it",
        "the recall is too low",
    ]
    assert pending(deployment.store, load_trust(deployment.home)) == []


def test_a_set_of_no_policies_approves_nothing_also_with_the_people_the_trust_document_asks_for(
    deployment: Deployment,
) -> None:
    anna = deployment.introduce("anna")
    changed(deployment, lambda document: with_requirement(document, SERVING, "approver", 1))
    trained = submitted(deployment)
    deployment.speak(anna, trained.model)
    deployment.govern(lambda _: PolicySet("empty", (), 90, {}, "tests"))
    assert verdicts(deployment) == ["reject"]


def test_an_approver_can_stop_a_model_that_nobody_had_to_approve(deployment: Deployment) -> None:
    anna, rita = deployment.introduce("anna"), deployment.introduce("rita", role="auditor")
    trained = submitted(deployment)
    (outcome,) = deployment.govern()
    assert outcome.promoted
    assert deployment.store.find(DecisionMade)[-1].fact.automatic
    deployment.speak(rita, trained.model, "reject", reason="not hers to say")
    assert deployment.govern() == []
    deployment.speak(anna, trained.model, "reject", reason="wrong unit in the feed")
    (outcome,) = deployment.govern()
    assert [reason.message for reason in outcome.reasons if reason.verdict == "reject"] == [
        "anna rejected it: wrong unit in the feed"
    ]
    decided = deployment.store.find(DecisionMade)[-1].fact
    assert (decided.verdict, decided.automatic) == ("reject", False)
    assert deployment.store.current(SERVING).halted
    deployment.speak(anna, trained.model, "withdraw")
    (outcome,) = deployment.govern()
    assert (outcome.verdict, outcome.promoted) == ("approve", True)


def test_a_drawn_approval_waits_until_somebody_in_the_role_has_looked(deployment: Deployment) -> None:
    anna = deployment.introduce("anna", aliases=("carol",))
    rita, ben = deployment.introduce("rita", role="auditor"), deployment.introduce("ben")
    trained = submitted(deployment, by="carol")
    policies = PolicySet("drawn", (Policy("fine", {}, lambda _: ("approve", "fine")),), 9, {}, "tests", 1.0)
    deployment.govern(lambda _: policies)
    assert len(deployment.store.find(ReviewDrawn)) == 1
    trust = load_trust(deployment.home)
    (waiting,) = pending(deployment.store, trust)
    assert (waiting.kind, waiting.asked[0]["may"]) == ("review", ["ben"])
    for signer in (rita, anna):  # not an approver; the submitter
        deployment.speak(signer, trained.model)
        assert len(pending(deployment.store, trust)) == 1
    deployment.speak(ben, trained.model)
    assert pending(deployment.store, trust) == []
    assert deployment.govern(lambda _: policies) == []  # what serves was approved already


def test_a_model_approved_for_one_node_still_waits_for_the_other(deployment: Deployment) -> None:
    document = json.loads(json.dumps(DEFINITION))
    document["nodes"].append({"name": "reports", "kind": "inference", "mode": "batch"})
    document["edges"].append({"from": "approval", "to": "reports", "message": "promotion"})
    define(deployment.store, Definition.from_json(document))
    anna, ben = deployment.introduce("anna"), deployment.introduce("ben")
    trained = submitted(deployment)
    deployment.govern(asking())
    assert len(deployment.store.find(IonDefined)) == 2

    def sign(node: str) -> list[tuple[str, str]]:
        for signer in (anna, ben):
            deployment.speak(signer, trained.model, node=node)
        return [(outcome.node, outcome.verdict) for outcome in deployment.govern(asking())]

    assert sign("predictions") == [("patient_tests/predictions", "approve")]
    assert [each.node for each in pending(deployment.store, load_trust(deployment.home))] == ["patient_tests/reports"]
    assert sign("reports") == [("patient_tests/reports", "approve")]
    assert pending(deployment.store, load_trust(deployment.home)) == []


def test_a_policy_set_that_cannot_be_loaded_holds_up_no_other_decision(deployment: Deployment) -> None:
    anna, ben = deployment.introduce("anna"), deployment.introduce("ben")
    trained = submitted(deployment)
    deployment.govern(asking())
    deployment.speak(anna, trained.model)

    def gone(_: str) -> PolicySet:
        raise IonError("unknown-policy-set", "it is gone")

    listening = Listening()
    assert not listening.waits(deployment.governor(gone), deployment.candidate(trained))
    assert "it is gone" in listening.take_problems()[0]
    deployment.speak(ben, trained.model)
    assert listening.waits(deployment.governor(asking()), deployment.candidate(trained))


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


def test_why_names_the_people(deployment: Deployment) -> None:
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
    assert [each["reason"] for each in people_told] == ["it was tried"] * 2
    assert approval["role"] == "approver"


FORGERIES: dict[str, tuple[str, str, str, set[str]]] = {
    # what is changed in the database: kind of fact, text, other text, and what the answer then lacks
    "the person": ("ApprovalGiven", '"person":"ben"', '"person":"eve"', {"approval signature", "approvals"}),
    "the reason": ("ApprovalGiven", '"reason":"it was tried"', '"reason":"it was seen"', {"approvals"}),
    "its end": ("ApprovalGiven", '"until":1', '"until":2', {"approval signature"}),
    "how many were asked": ("DecisionMade", '"quorum":2', '"quorum":1', {"decision signature"}),
    "that people were asked": ("DecisionMade", '"automatic":false', '"automatic":true', {"decision signature"}),
    "who is said to have signed": (
        "DecisionMade",
        '"people":["anna","ben"]',
        '"people":["eve","ben"]',
        {"decision signature"},
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_approval_in_the_database_changes_the_answer(deployment: Deployment, forgery: str) -> None:
    kind, text, other, lacking = FORGERIES[forgery]
    served_by_two(deployment)
    prediction = deployment.serve(rows=2).predictions[0]
    before = {hole.what for hole in explain(deployment.store, prediction, deployment.home).gaps}
    with sqlite3.connect(deployment.home.root / "store.db") as database:
        rows = database.execute("SELECT position, raw FROM ion_fact WHERE kind = ? ORDER BY position", (kind,))
        position, raw = [(position, bytes(raw)) for position, raw in rows if text.encode() in bytes(raw)][-1]
        forged = raw.replace(text.encode(), other.encode())
        assert forged != raw
        database.execute("UPDATE ion_fact SET raw = ? WHERE position = ?", (forged, position))
    after = {hole.what for hole in explain(deployment.store, prediction, deployment.home).gaps}
    assert after - before >= lacking


def test_a_decision_that_names_too_few_approvals_is_told_as_such(deployment: Deployment) -> None:
    served_by_two(deployment)
    prediction = deployment.serve(rows=2).predictions[0]
    changed(deployment, lambda document: without_person(document, "ben"))
    answer = explain(deployment.store, prediction, deployment.home)
    assert {hole.what for hole in answer.gaps} >= {"approval signature", "approvals"}
    assert "1 of 2" in str(answer.approvals[0]["problem"])


def test_an_approval_changed_in_the_database_is_seen_by_the_audit_and_one_of_who_left_is_not(
    deployment: Deployment,
) -> None:
    from ion.audit import verify
    from ion.decision.trust_noted import note_trust

    served_by_two(deployment)
    note_trust(deployment.store, load_trust(deployment.home))
    trained = submitted(deployment, by="dora")
    eve = deployment.introduce("eve")
    note_trust(deployment.store, load_trust(deployment.home))
    deployment.speak(eve, trained.model)
    changed(deployment, lambda document: without_person(document, "eve"))
    note_trust(deployment.store, load_trust(deployment.home))
    assert [
        problem for problem in verify(deployment.store, deployment.home).problems if problem.kind == "signature"
    ] == []
    (record,) = [r for r in deployment.store.find(ApprovalGiven) if r.fact.person == "eve"]
    raw = deployment.store.record_at(record.position).raw.replace(b"it was tried", b"it was lied!")
    with sqlite3.connect(deployment.home.root / "store.db") as database:
        database.execute("UPDATE ion_fact SET raw = ? WHERE position = ?", (raw, record.position))
    kinds = {problem.kind for problem in verify(deployment.store, deployment.home).problems}
    assert {"signature", "edited"} <= kinds
