"""A published policy set: its reference stands for exactly this content, by governance's signature.

Format: docs/spec/policy-set.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.canonical import digest_json
from ion.errors import IonError
from ion.evidence.envelope import Unverified, sign, verify
from ion.evidence.parsing import MAX_INTEGER, Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.evidence.keys import Signer
    from ion.evidence.trust_root import TrustRoot

PUBLICATION_TYPE = "application/vnd.dagster-ion.policy-set+json"
FORMAT = "ion-policy-set/1"
_CODE = "bad-publication"


@dataclass(frozen=True, slots=True)
class PublicationStatement:
    """What was published.

    Args:
        reference: ``module:name`` of the policy set.
        content: what its digest is taken of: names, parameters, sources.
        by: who published it, as the operating system says.
        published: when, in microseconds UTC.
    """

    reference: str
    content: Mapping[str, object]
    by: str
    published: int

    @property
    def digest(self) -> str:
        """The policy set's digest."""
        return digest_json(dict(self.content))

    def to_payload(self) -> dict[str, object]:
        """Return the signed JSON values."""
        return {
            "by": self.by,
            "content": dict(self.content),
            "digest": self.digest,
            "format": FORMAT,
            "published": self.published,
            "reference": self.reference,
        }

    @classmethod
    def from_payload(cls, payload: dict[str, object]) -> PublicationStatement:
        """Parse exactly what `to_payload` makes.

        Raises:
            IonError: ``bad-publication``.
        """
        fields = Fields.of(payload, "publication", _CODE)
        fields.literal("format", FORMAT)
        statement = cls(
            reference=fields.text("reference"),
            content=fields.inner("content").whole(),
            by=fields.text("by"),
            published=fields.integer("published"),
        )
        fields.literal("digest", statement.digest)
        fields.done()
        return statement


def sign_publication(statement: PublicationStatement, signer: Signer) -> bytes:
    """Return the statement's DSSE envelope.

    Raises:
        IonError: ``bad-envelope`` when it would be larger than 1 MiB, ``bad-publication`` without a name or time.
    """
    if not (statement.reference and statement.by and 0 <= statement.published <= MAX_INTEGER):
        raise IonError(_CODE, "a publication without reference, publisher or time")
    return sign(statement.to_payload(), PUBLICATION_TYPE, signer)


def verify_publication(envelope: bytes, trust: TrustRoot) -> PublicationStatement | Unverified:
    """Return what a decision key signed that counted at the time, else why there is nothing."""
    answer = verify(envelope, trust, PUBLICATION_TYPE)
    if isinstance(answer, Unverified):
        return answer
    try:
        statement = PublicationStatement.from_payload(answer.payload)
    except IonError as error:
        return Unverified(error.message)
    if not trust.covers(answer.key_id, statement.published):
        return Unverified("the key that signed it did not count at the time")
    return statement
