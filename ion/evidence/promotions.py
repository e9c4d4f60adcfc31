"""The signed promotion: what a node serves from now on, and never again. Format: docs/spec/promotion.md."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ion.canonical import digest_bytes, digest_json
from ion.evidence.in_toto import check, predicate_of, statement_form
from ion.evidence.parsing import MAX_INTEGER, is_digest
from ion.ids import checked_node
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

PROMOTION_TYPE = "urn:dagster-ion:promotion:v1"

Action = Literal["promote", "rollback", "halt", "revoke"]
LeaseEnd = Literal["keep", "stop"]
ACTIONS: tuple[Action, ...] = ("promote", "rollback", "halt", "revoke")
LEASE_ENDS: tuple[LeaseEnd, ...] = ("keep", "stop")


@dataclass(frozen=True, slots=True)
class PromotionStatement:
    """What a node serves from now on. Times are microseconds UTC.

    Args:
        ion: the ION.
        node: the serving node within it.
        action: ``promote`` and ``rollback`` name a model and its decision; ``halt`` names neither;
            ``revoke`` names the withdrawn model.
        model: model version, or None.
        decision: digest of the decision's envelope bytes, or None.
        serial: rises with every statement for the node.
        cause: id of the command (decision, rollback, halt, revocation) that caused it.
        issued: when it was signed; a renewal is issued later.
        lease_end: until when it holds without renewal. A halt or revocation holds without end.
        on_lease_end: go on serving the model, or stop.
        revoked: all models withdrawn from the node so far, sorted; they never serve there again.
    """

    ion: str
    node: str
    action: Action
    model: str | None
    decision: str | None
    serial: int
    cause: str
    issued: int
    lease_end: int
    on_lease_end: LeaseEnd
    revoked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse statements that contradict themselves, before they are signed."""
        checked_node(f"{self.ion}/{self.node}")
        check(self.action in ACTIONS, "unknown action")
        check(self.on_lease_end in LEASE_ENDS, "unknown on_lease_end")
        for digest in (self.model, self.decision, *self.revoked):
            check(digest is None or is_digest(digest), "a digest is not a sha256 digest")
        check(self.revoked == tuple(sorted(set(self.revoked))), "revoked models are not sorted and distinct")
        serves = self.action in {"promote", "rollback"}
        check(serves == (self.decision is not None), f"{self.action} and decision do not agree")
        check((self.action != "halt") == (self.model is not None), f"{self.action} and model do not agree")
        check((self.action == "revoke") == (self.model in self.revoked), f"{self.action} and revoked do not agree")
        check(bool(self.cause), "it has no cause")
        check(0 < self.serial <= MAX_INTEGER, "serials start at 1")
        check(0 <= self.issued < self.lease_end <= MAX_INTEGER, "its lease ends before it was issued")

    @property
    def address(self) -> str:
        """The node as ``ion/node``."""
        return f"{self.ion}/{self.node}"

    @property
    def identity(self) -> str:
        """Digest of all but ``issued``, ``lease_end`` and ``revoked``: what a renewal leaves as it is."""
        revoked = (self.model,) if self.action == "revoke" and self.model else ()
        return digest_json(replace(self, issued=0, lease_end=1, revoked=revoked).to_payload())

    def renewed(self, issued: int, lease_end: int, revoked: Iterable[str] = ()) -> PromotionStatement:
        """Return the same promotion with a later lease, and with ``revoked`` models beside those it names.

        Raises:
            IonError: ``bad-statement`` if it would not be issued later than this one, or serves a revoked model.
        """
        check(issued > self.issued, "a renewal is issued later than what it renews")
        withdrawn = tuple(sorted({*self.revoked, *revoked}))
        return replace(self, issued=issued, lease_end=lease_end, revoked=withdrawn)

    def to_payload(self) -> dict[str, object]:
        """Return the in-toto Statement as JSON values."""
        predicate: dict[str, object] = {
            "action": self.action,
            "cause": self.cause,
            "decision": self.decision,
            "ion": self.ion,
            "issued": self.issued,
            "leaseEnd": self.lease_end,
            "model": self.model,
            "node": self.node,
            "onLeaseEnd": self.on_lease_end,
            "revoked": list(self.revoked),
            "serial": self.serial,
        }
        # A Statement needs a subject with a digest; a halt is about the node itself.
        subject = self.model or digest_bytes(self.address.encode())
        return statement_form(self.address, subject, PROMOTION_TYPE, predicate)

    @classmethod
    def from_payload(cls, payload: dict[str, object]) -> PromotionStatement:
        """Parse exactly what `to_payload` makes.

        Raises:
            IonError: ``bad-statement``.
        """
        predicate = predicate_of(payload, PROMOTION_TYPE)
        statement = cls(
            ion=predicate.text("ion"),
            node=predicate.text("node"),
            action=predicate.choice("action", ACTIONS),
            model=predicate.optional_digest("model"),
            decision=predicate.optional_digest("decision"),
            serial=predicate.integer("serial"),
            cause=predicate.text("cause"),
            issued=predicate.integer("issued"),
            lease_end=predicate.integer("leaseEnd"),
            on_lease_end=predicate.choice("onLeaseEnd", LEASE_ENDS),
            revoked=predicate.texts("revoked"),
        )
        check(statement.to_payload() == payload, "it is not in the one form it is signed in")
        return statement
