"""What a gate remembers, so that neither a restart nor a clock can talk it into going back."""

from __future__ import annotations

from dataclasses import asdict, field, replace
from typing import TYPE_CHECKING

from ion.canonical import checked_digest
from ion.errors import IonError
from ion.evidence.files import MIB
from ion.evidence.parsing import Fields, parse_canonical
from ion.evidence.promotions import ACTIONS, LEASE_ENDS
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ion.evidence.statements import Action, LeaseEnd, PromotionStatement

MAX_BYTES = 2 * MIB
GATE_STATE = "gate-state"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The promotion statement a gate accepted last. Times are microseconds UTC.

    Args:
        action: of the statement.
        model: the statement's model, None for a halt.
        serial: highest accepted.
        identity: digest of the statement without its lease.
        pointer: digest of the pointer's bytes.
        issued: of the newest lease accepted.
        lease_end: of the newest lease accepted.
        on_lease_end: as declared.
    """

    action: Action
    model: str | None
    serial: int
    identity: str
    pointer: str
    issued: int
    lease_end: int
    on_lease_end: LeaseEnd

    @classmethod
    def of(cls, statement: PromotionStatement, pointer: str) -> Acceptance:
        """Return what accepting ``statement`` from a pointer with this digest leaves to remember."""
        return cls(
            action=statement.action,
            model=statement.model,
            serial=statement.serial,
            identity=statement.identity,
            pointer=pointer,
            issued=statement.issued,
            lease_end=statement.lease_end,
            on_lease_end=statement.on_lease_end,
        )

    def conflict(self, newer: Acceptance) -> str | None:
        """Return why ``newer`` may not follow this, or None. A lease renewal and a repetition may."""
        if newer.serial > self.serial or newer.pointer == self.pointer:
            return None
        if newer.serial < self.serial:
            return f"serial {newer.serial} is lower than {self.serial}, which was accepted"
        if newer.identity != self.identity:
            return f"serial {newer.serial} was accepted with other content"
        if newer.issued <= self.issued:
            return f"serial {newer.serial} was accepted with a newer lease"
        return None

    @classmethod
    def parse(cls, value: object) -> Acceptance:
        """Parse the JSON form.

        Raises:
            IonError: ``gate-state``.
        """
        fields = Fields.of(value, "gate state", GATE_STATE)
        accepted = cls(
            action=fields.choice("action", ACTIONS),
            model=fields.optional_digest("model"),
            serial=fields.integer("serial"),
            identity=fields.digest("identity"),
            pointer=fields.digest("pointer"),
            issued=fields.integer("issued"),
            lease_end=fields.integer("lease_end"),
            on_lease_end=fields.choice("on_lease_end", LEASE_ENDS),
        )
        fields.done()
        return accepted


@dataclass(frozen=True, slots=True)
class Memory:
    """All that a gate remembers. It only grows.

    Args:
        node: ``ion/node``.
        latest: latest signed time seen (µs UTC), the floor under this host's clock.
        trust_version: of the newest trust document believed.
        revoked: models withdrawn from the node.
        ended: digest of a decision, lease or trust document whose end this gate has seen → that end (µs UTC),
            as long as it is after ``latest``: a clock set back does not revive it.
        accepted: the statement accepted last, if any ever was.
    """

    node: str
    latest: int = 0
    trust_version: int = 0
    revoked: frozenset[str] = frozenset()
    ended: Mapping[str, int] = field(default_factory=dict)
    accepted: Acceptance | None = None

    def seen(self, latest: int = 0, trust_version: int = 0, revoked: Iterable[str] = ()) -> Memory:
        """Return this with what was seen in verified statements."""
        if latest <= self.latest and trust_version <= self.trust_version and self.revoked.issuperset(revoked):
            return self
        latest = max(self.latest, latest)
        return replace(
            self,
            latest=latest,
            trust_version=max(self.trust_version, trust_version),
            revoked=self.revoked.union(revoked),
            ended={digest: end for digest, end in self.ended.items() if end > latest},
        )

    def over(self, digest: str, end: int, now: int) -> Memory:
        """Return this knowing that what ``digest`` names has ended, if its ``end`` has come."""
        if now < end or end <= self.latest or digest in self.ended:
            return self
        return replace(self, ended={**self.ended, digest: end})

    def is_over(self, digest: str, end: int, now: int) -> bool:
        """Say whether what ``digest`` names has ended ``now``, or was seen to have."""
        return now >= end or digest in self.ended

    def accepting(self, accepted: Acceptance) -> Memory:
        """Return this with another statement accepted.

        Raises:
            IonError: ``gate-state`` when what was accepted before forbids it.
        """
        conflict = self.accepted.conflict(accepted) if self.accepted else None
        if conflict:
            raise IonError(GATE_STATE, conflict)
        return replace(self, accepted=accepted)

    def merged(self, other: Memory) -> Memory:
        """Return what the two know together: of what they accepted, the newer.

        Raises:
            IonError: ``gate-state`` when they accepted different content under one serial.
        """
        known = [memory.accepted for memory in (self, other) if memory.accepted is not None]
        known.sort(key=lambda accepted: (accepted.serial, accepted.issued))
        both = replace(self, ended={**self.ended, **other.ended}, accepted=known[0] if known else None)
        for accepted in known[1:]:
            both = both.accepting(accepted)
        return both.seen(other.latest, other.trust_version, other.revoked)

    def to_json(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "accepted": None if self.accepted is None else asdict(self.accepted),
            "ended": dict(self.ended),
            "latest": self.latest,
            "node": self.node,
            "revoked": sorted(self.revoked),
            "trust_version": self.trust_version,
        }

    @classmethod
    def parse(cls, data: bytes) -> Memory:
        """Parse the bytes of a state file.

        Raises:
            IonError: ``gate-state`` or ``bad-json``.
        """
        fields = Fields.of(parse_canonical(data, MAX_BYTES, "gate state"), "gate state", GATE_STATE)
        ended = fields.inner("ended")
        accepted = fields.take("accepted")
        memory = cls(
            node=fields.text("node"),
            latest=fields.integer("latest"),
            trust_version=fields.integer("trust_version"),
            revoked=frozenset(checked_digest(text) for text in fields.texts("revoked")),
            ended={checked_digest(digest): ended.integer(digest) for digest in ended.values},
            accepted=None if accepted is None else Acceptance.parse(accepted),
        )
        fields.done()
        return memory
