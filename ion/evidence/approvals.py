"""A person's signed word on one model for one node, until a date. Format: docs/spec/approval.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args

from ion.errors import IonError
from ion.evidence.envelope import Unverified, sign, verify
from ion.evidence.in_toto import PAYLOAD_TYPE, check, predicate_of, statement_form, subject_of
from ion.evidence.parsing import MAX_INTEGER, is_digest
from ion.ids import checked_node
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.evidence.keys import Signer
    from ion.evidence.trust import Trust

APPROVAL_TYPE = "urn:dagster-ion:approval:v1"
MAX_REASON = 2000
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")

Word = Literal["approve", "reject", "withdraw"]
WORDS: tuple[Word, ...] = get_args(Word)


@dataclass(frozen=True, slots=True)
class ApprovalStatement:
    """What a person says about a model for a node. Times are microseconds UTC.

    Args:
        id: unique, at most 64 letters, digits, ``.``, ``_`` and ``-``; the same statement sent twice is one.
        ion: the ION.
        node: the node within it where the model would serve.
        model: model version (manifest digest), the statement's subject.
        person: id in the trust document.
        word: ``approve``, ``reject``, or ``withdraw`` what the person said before.
        reason: why, at most 2,000 characters.
        issued: when it was signed.
        until: from when on it no longer counts.
    """

    id: str
    ion: str
    node: str
    model: str
    person: str
    word: Word
    reason: str
    issued: int
    until: int

    def __post_init__(self) -> None:
        """Refuse what could never count, before it is signed."""
        checked_node(f"{self.ion}/{self.node}")
        check(is_digest(self.model), "a digest is not a sha256 digest")
        check(self.word in WORDS, "unknown word")
        check(bool(_ID.match(self.id)), "its id is none: letters, digits, '.', '_' and '-', at most 64")
        check(bool(self.person and self.reason.strip()), "a name or the reason is empty")
        check(len(self.reason) <= MAX_REASON, f"the reason is longer than {MAX_REASON} characters")
        check(0 <= self.issued < self.until <= MAX_INTEGER, "it ends before it was issued")

    @property
    def address(self) -> str:
        """The node as ``ion/node``."""
        return f"{self.ion}/{self.node}"

    def to_payload(self) -> dict[str, object]:
        """Return the in-toto Statement as JSON values."""
        predicate: dict[str, object] = {
            "id": self.id,
            "ion": self.ion,
            "issued": self.issued,
            "node": self.node,
            "person": self.person,
            "reason": self.reason,
            "until": self.until,
            "word": self.word,
        }
        return statement_form(self.address, self.model, APPROVAL_TYPE, predicate)

    @classmethod
    def from_payload(cls, payload: dict[str, object]) -> ApprovalStatement:
        """Parse exactly what `to_payload` makes.

        Raises:
            IonError: ``bad-statement``.
        """
        predicate = predicate_of(payload, APPROVAL_TYPE)
        statement = cls(
            id=predicate.text("id"),
            ion=predicate.text("ion"),
            node=predicate.text("node"),
            model=subject_of(payload),
            person=predicate.text("person"),
            word=predicate.choice("word", WORDS),
            reason=predicate.text("reason"),
            issued=predicate.integer("issued"),
            until=predicate.integer("until"),
        )
        check(statement.to_payload() == payload, "it is not in the one form it is signed in")
        return statement


@dataclass(frozen=True, slots=True)
class Given:
    """A verified statement: who signed it is known; whether it counts is for `ion.evidence.quorum` to say."""

    statement: ApprovalStatement
    key_id: str
    digest: str


def sign_approval(statement: ApprovalStatement, signer: Signer) -> bytes:
    """Return the statement's DSSE envelope."""
    return sign(statement.to_payload(), PAYLOAD_TYPE, signer)


def verify_approval(envelope: bytes, trust: Trust) -> Given | Unverified:
    """Return what a known person signed with an own key that counted at the time, else why there is nothing."""
    try:
        answer = verify(envelope, trust.people_root(), PAYLOAD_TYPE)
        if isinstance(answer, Unverified):
            return answer
        statement = ApprovalStatement.from_payload(answer.payload)
        counted = trust.people_root().covers(answer.key_id, statement.issued)
    except IonError as error:
        return Unverified(error.message)
    person = trust.person_of(answer.key_id)
    if person is None or person.id != statement.person:
        return Unverified(f"it speaks for {statement.person}, whose key did not sign it")
    if not counted:
        return Unverified(f"the key of {person.id} was not valid when it signed")
    return Given(statement, answer.key_id, answer.digest)
