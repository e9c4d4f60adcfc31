"""Signing and checking the typed statements: decisions and promotions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.decisions import DecisionStatement, EvidenceReference, Verdict
from ion.evidence.envelope import Unverified, sign, verify
from ion.evidence.in_toto import PAYLOAD_TYPE
from ion.evidence.promotions import Action, LeaseEnd, PromotionStatement

if TYPE_CHECKING:
    from ion.evidence.keys import Signer
    from ion.evidence.trust_root import TrustRoot

__all__ = [
    "Action",
    "DecisionStatement",
    "EvidenceReference",
    "LeaseEnd",
    "PromotionStatement",
    "Verdict",
    "sign_statement",
    "verify_decision",
    "verify_promotion",
    "verify_promotion_by",
]

_NOT_THEN = "the key that signed it did not count at the time"


def sign_statement(statement: DecisionStatement | PromotionStatement, signer: Signer) -> bytes:
    """Return the statement's DSSE envelope; its digest is what other statements refer to.

    Raises:
        IonError: ``bad-envelope`` when it would be larger than 1 MiB.
    """
    return sign(statement.to_payload(), PAYLOAD_TYPE, signer)


def verify_decision(envelope: bytes, trust: TrustRoot) -> DecisionStatement | Unverified:
    """Return the decision a trusted key signed, else why there is none."""
    answer = verify(envelope, trust, PAYLOAD_TYPE)
    if isinstance(answer, Unverified):
        return answer
    try:
        statement = DecisionStatement.from_payload(answer.payload)
    except IonError as error:
        return Unverified(error.message)
    return statement if trust.covers(answer.key_id, statement.decided) else Unverified(_NOT_THEN)


def verify_promotion(envelope: bytes, trust: TrustRoot) -> PromotionStatement | Unverified:
    """Return the promotion a trusted key signed, else why there is none."""
    answer = verify_promotion_by(envelope, trust)
    return answer if isinstance(answer, Unverified) else answer[0]


def verify_promotion_by(envelope: bytes, trust: TrustRoot) -> tuple[PromotionStatement, str] | Unverified:
    """Return the promotion a trusted key signed and the id of that key, else why there is none.

    Whoever acts on a pointer asks whether the key counts now, too: who stole a key that was revoked or
    replaced since can give a statement an earlier date.
    """
    answer = verify(envelope, trust, PAYLOAD_TYPE)
    if isinstance(answer, Unverified):
        return answer
    try:
        statement = PromotionStatement.from_payload(answer.payload)
    except IonError as error:
        return Unverified(error.message)
    counted = trust.covers(answer.key_id, statement.issued)
    return (statement, answer.key_id) if counted else Unverified(_NOT_THEN)
