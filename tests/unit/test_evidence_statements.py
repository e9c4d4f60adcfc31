from __future__ import annotations

import copy
import operator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.errors import IonError
from ion.evidence import DecisionStatement, EvidenceReference, PromotionStatement
from ion.evidence.decisions import RequiredApprovals
from ion.evidence.in_toto import from_rfc3339
from ion.evidence.parsing import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable

D1, D2, D3 = ("sha256:" + digit * 64 for digit in "123")
T = 1_800_000_000_000_001

DECISION = DecisionStatement(
    ion="patient_tests",
    node="predictions",
    model=D1,
    candidate_run="run-1",
    verdict="approve",
    reasons=("roc_auc 0.99 is at least 0.95",),
    policy_uri="ion:policy/clinical_low_risk",
    policy_digest=D2,
    evidence=(EvidenceReference("ion:evidence/metrics", D3),),
    decided=T,
    expires=T + 10,
    verifier_version="0.1.0",
    automatic=False,
    submitters=("carol",),
    approvals=(RequiredApprovals("approver", 2, (D3,)),),
    formats=("onnx",),
)
PROMOTION = PromotionStatement(
    ion="patient_tests",
    node="predictions",
    action="promote",
    model=D1,
    decision=D2,
    serial=3,
    cause="decision-1",
    issued=T,
    lease_end=T + 10,
    on_lease_end="keep",
    revoked=(D3,),
)


def test_the_decision_is_the_documented_summary() -> None:
    assert DECISION.to_payload() == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "patient_tests/predictions", "digest": {"sha256": "1" * 64}}],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {
            "verifier": {"id": "urn:dagster-ion:verifier/0.1.0"},
            "timeVerified": "2027-01-15T08:00:00.000001Z",
            "resourceUri": "ion:patient_tests/predictions",
            "policy": {"uri": "ion:policy/clinical_low_risk", "digest": {"sha256": "2" * 64}},
            "inputAttestations": [{"uri": "ion:evidence/metrics", "digest": {"sha256": "3" * 64}}],
            "verificationResult": "PASSED",
            "verifiedLevels": [],
            "urn:dagster-ion:decision:v1": {
                "approvals": [{"role": "approver", "quorum": 2, "envelopes": [{"sha256": "3" * 64}]}],
                "automatic": False,
                "candidateRun": "run-1",
                "expires": T + 10,
                "formats": ["onnx"],
                "ion": "patient_tests",
                "node": "predictions",
                "reasons": ["roc_auc 0.99 is at least 0.95"],
                "submitters": ["carol"],
                "verdict": "approve",
            },
        },
    }


def test_the_promotion_is_the_documented_statement() -> None:
    assert PROMOTION.to_payload() == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "patient_tests/predictions", "digest": {"sha256": "1" * 64}}],
        "predicateType": "urn:dagster-ion:promotion:v1",
        "predicate": {
            "action": "promote",
            "cause": "decision-1",
            "decision": D2,
            "ion": "patient_tests",
            "issued": T,
            "leaseEnd": T + 10,
            "model": D1,
            "node": "predictions",
            "onLeaseEnd": "keep",
            "revoked": [D3],
            "serial": 3,
        },
    }


@pytest.mark.parametrize("verdict", ["approve", "reject", "defer"])
def test_decisions_round_trip_and_only_approval_passes(verdict: str) -> None:
    decision = replace(DECISION, verdict=verdict)
    payload = decision.to_payload()
    assert DecisionStatement.from_payload(payload) == decision
    passed = payload["predicate"]["verificationResult"] == "PASSED"  # type: ignore[index]
    assert passed == (verdict == "approve")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"action": "rollback"},
        {"action": "halt", "model": None, "decision": None},
        {"action": "revoke", "model": D3, "decision": None},
        {"revoked": ()},
        {"revoked": (D2, D3)},
        {"on_lease_end": "stop"},
    ],
)
def test_promotions_round_trip(changes: dict[str, object]) -> None:
    promotion = replace(PROMOTION, **changes)  # type: ignore[arg-type]
    assert PromotionStatement.from_payload(promotion.to_payload()) == promotion


def test_a_renewal_keeps_the_identity_and_nothing_else_does() -> None:
    renewed = PROMOTION.renewed(T + 5, T + 20)
    assert renewed.identity == PROMOTION.identity
    changes = [{"serial": 4}, {"model": D2}, {"decision": D3}, {"cause": "x"}, {"on_lease_end": "stop"},
               {"node": "other"}, {"ion": "other"}, {"action": "rollback"}]  # fmt: skip
    identities = {replace(PROMOTION, **change).identity for change in changes}  # type: ignore[arg-type]
    assert len(identities - {PROMOTION.identity}) == len(changes)
    with pytest.raises(IonError):
        PROMOTION.renewed(T, T + 20)


def test_a_renewal_may_name_more_revoked_models_and_never_fewer() -> None:
    renewed = PROMOTION.renewed(T + 5, T + 20, [D2])
    assert renewed.revoked == (D2, D3)
    assert renewed.identity == PROMOTION.identity
    with pytest.raises(IonError, match="revoked"):
        PROMOTION.renewed(T + 5, T + 20, [D1])  # the model it would serve
    withdrawn = replace(PROMOTION, action="revoke", model=D3, decision=None)
    assert withdrawn.identity != replace(withdrawn, model=D2, revoked=(D2, D3)).identity
    assert withdrawn.identity == withdrawn.renewed(T + 5, T + 20, [D2]).identity


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        (DECISION, {"verdict": "maybe"}),
        (DECISION, {"model": "sha256:x"}),
        (DECISION, {"policy_digest": ""}),
        (DECISION, {"node": "Bad Node"}),
        (DECISION, {"expires": T}),
        (DECISION, {"evidence": ()}),
        (DECISION, {"candidate_run": ""}),
        (DECISION, {"policy_uri": ""}),
        (PROMOTION, {"action": "delete"}),
        (PROMOTION, {"decision": None}),
        (PROMOTION, {"model": None}),
        (PROMOTION, {"action": "halt"}),
        (PROMOTION, {"action": "revoke"}),
        (PROMOTION, {"revoked": (D3, D2)}),
        (PROMOTION, {"revoked": (D3, D3)}),
        (PROMOTION, {"revoked": ("sha256:x",)}),
        (PROMOTION, {"revoked": (D1,)}),
        (PROMOTION, {"action": "revoke", "decision": None}),
        (PROMOTION, {"serial": 0}),
        (PROMOTION, {"cause": ""}),
        (PROMOTION, {"lease_end": T}),
        (PROMOTION, {"lease_end": MAX_INTEGER + 1}),
        (PROMOTION, {"on_lease_end": "fall back"}),
    ],
)
def test_statements_that_contradict_themselves_cannot_be_made(
    statement: DecisionStatement | PromotionStatement, changes: dict[str, object]
) -> None:
    with pytest.raises(IonError) as error:
        replace(statement, **changes)  # type: ignore[arg-type]
    assert error.value.code in {"bad-statement", "bad-node"}


def _leaves(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    if isinstance(value, dict):
        return [path, *(leaf for key in value for leaf in _leaves(value[key], (*path, key)))]
    if isinstance(value, list):
        return [path, *(leaf for number, item in enumerate(value) for leaf in _leaves(item, (*path, number)))]
    return [path]


def _changed(payload: dict[str, object], path: tuple[object, ...], change: Callable[[Any, Any], None]) -> object:
    copied: object = copy.deepcopy(payload)
    holder = copied
    for key in path[:-1]:
        holder = holder[key]  # type: ignore[index]
    change(holder, path[-1])
    return copied


def _set(value: object, holder: dict[object, object], key: object) -> None:
    holder[key] = value


@pytest.mark.parametrize("statement", [DECISION, PROMOTION])
def test_a_field_that_is_missing_added_or_of_another_type_is_refused(
    statement: DecisionStatement | PromotionStatement,
) -> None:
    payload = statement.to_payload()
    ours = ("predicate", "urn:dagster-ion:decision:v1")
    lists = {(*ours, name, 0) for name in ("reasons", "submitters", "approvals", "formats")}  # of any length
    lists.add(("predicate", "revoked", 0))
    lists.add((*ours, "approvals", 0, "envelopes", 0))
    for path in _leaves(payload)[1:]:
        wrong: list[object] = [{}, 1.5, True]
        changes = [partial(_set, value) for value in wrong]
        if path not in lists:
            changes.append(operator.delitem)
        for change in changes:
            with pytest.raises(IonError) as error:
                type(statement).from_payload(_changed(payload, path, change))  # type: ignore[arg-type]
            assert error.value.code in {"bad-statement", "bad-node"}, path
    for path in ((), ("predicate",), ("subject", 0)):
        with pytest.raises(IonError):
            type(statement).from_payload(_changed(payload, (*path, "extra"), partial(_set, 1)))


def test_a_verdict_and_a_result_that_disagree_are_refused() -> None:
    payload = replace(DECISION, verdict="reject").to_payload()
    payload["predicate"]["verificationResult"] = "PASSED"  # type: ignore[index]
    with pytest.raises(IonError):
        DecisionStatement.from_payload(payload)


def test_statements_are_not_taken_for_each_other() -> None:
    with pytest.raises(IonError):
        DecisionStatement.from_payload(PROMOTION.to_payload())
    with pytest.raises(IonError):
        PromotionStatement.from_payload(DECISION.to_payload())


@given(st.integers(0, 253_402_300_799_999_999 // 40))
def test_times_keep_every_microsecond(us: int) -> None:
    from ion.clock import rfc3339

    assert from_rfc3339(rfc3339(us)) == us


@pytest.mark.parametrize(
    "text", ["", "2027-01-15T08:00:00Z", "2027-01-15T08:00:00.000001+00:00", "2027-13-15T08:00:00.000001Z",
             "2027-01-15T08:00:60.000001Z", "2027-01-15t08:00:00.000001z", "٢٠٢٧-01-15T08:00:00.000001Z"]
)  # fmt: skip
def test_other_spellings_of_a_time_are_refused(text: str) -> None:
    with pytest.raises(IonError):
        from_rfc3339(text)
