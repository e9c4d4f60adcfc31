"""Promotion and halt: what a node serves changes in the store first, then in its pointer file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ion.clock import now_us
from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.statements import PromotionStatement, sign_statement, verify_promotion
from ion.evidence.trust_root import TrustRoot
from ion.facts import DecisionMade, MessageSent, ModelRecorded, NodeHalted, Promoted
from ion.ids import new_id, observed_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.keys import Signer
    from ion.evidence.promotions import LeaseEnd
    from ion.store import Command, GovernanceStore

    _Readable = GovernanceStore | Command

LEASE_US = 24 * 3_600_000_000
"""How long a pointer holds without renewal."""


@dataclass(frozen=True, slots=True)
class PointerFiles:
    """Where pointers live: node → path, and how to write one atomically."""

    path: Callable[[str], Path]
    read: Callable[[Path], bytes]
    write: Callable[[Path, bytes], str]


class Promotions:
    """Changes what nodes serve, exactly once per cause, and keeps their pointers in line."""

    def __init__(
        self, store: GovernanceStore, artifacts: ArtifactStore, signer: Signer, pointers: PointerFiles
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._signer = signer
        self._pointers = pointers

    def promote(self, command: Command, decision: DecisionMade, position: int, sender: str, on_lease_end: str) -> bool:
        """Record the promotion that an approving decision causes; False when it must not.

        An older candidate (by its ``position``) never replaces a newer one by itself. ``sender``
        is the policy node, whose message the promotion is.
        """
        current = command.current(decision.node)
        if command.serial_of(decision.decision, decision.node) is not None:
            return False
        candidate = (current.model, current.run)
        made = [r for r in command.find(ModelRecorded, current.model) if (r.fact.model, r.fact.run) == candidate]
        if current.model and made and made[0].position > position:
            return False
        ion, _, node = decision.node.partition("/")
        now = now_us()
        statement = PromotionStatement(
            ion=ion,
            node=node,
            action="promote",
            model=decision.model,
            decision=decision.envelope_digest,
            serial=current.serial + 1,
            cause=decision.decision,
            issued=now,
            lease_end=now + LEASE_US,
            on_lease_end=cast("LeaseEnd", on_lease_end),  # the statement refuses another word
        )
        command.record(
            Promoted(
                cause=decision.decision,
                node=decision.node,
                model=decision.model,
                run=decision.run,
                decision=decision.decision,
                serial=statement.serial,
                previous=current.model,
                envelope=sign_statement(statement, self._signer).decode(),
            )
        )
        message = promotion_message(decision.decision, decision.node)
        command.record(
            MessageSent(
                message=message,
                run=decision.decision,
                sender=sender,
                receiver=decision.node,
                message_kind="promotion",
                subject=decision.model,
            )
        )
        return True

    def halt(self, node: str, *, reason: str, by: str) -> int:
        """Stop ``ion/node`` from serving until a later promotion; returns the serial.

        Raises:
            IonError: ``never-promoted`` when the node serves nothing.
        """
        with self._store.command() as command:
            current = command.current(node)
            if not current.serial:
                raise IonError("never-promoted", f"{node} has never served a model", "`ion models` lists the nodes")
            ion, _, name = node.partition("/")
            now = now_us()
            statement = PromotionStatement(
                ion=ion,
                node=name,
                action="halt",
                model=None,
                decision=None,
                serial=current.serial + 1,
                cause=new_id(),
                issued=now,
                lease_end=now + LEASE_US,
                on_lease_end="stop",
            )
            command.record(
                NodeHalted(
                    cause=statement.cause,
                    node=node,
                    serial=statement.serial,
                    reason=reason,
                    by=by,
                    envelope=sign_statement(statement, self._signer).decode(),
                )
            )
        self.publish(node)
        return statement.serial

    def publish(self, node: str) -> bool:
        """Bring the node's pointer in line with the store, renewing a lease past half its time.

        Idempotent; called after every change and by every tick, so a crash between the store's
        commit and the file only delays the file. Returns whether the file changed.
        """
        if self._wanted(self._store, node) is None:
            return False
        with self._store.command() as command:  # one writer at a time, or an older serial could be written last
            wanted = self._wanted(command, node)
            if wanted is None:
                return False
            if wanted.decision is not None and not self._artifacts.has(wanted.decision):
                self._restore_decision(command, node, wanted.decision)
            now = now_us()
            renewed = wanted.renewed(now, now + LEASE_US)
            self._pointers.write(self._pointers.path(node), sign_statement(renewed, self._signer))
        return True

    def _wanted(self, store: _Readable, node: str) -> PromotionStatement | None:
        """Return the statement the pointer should hold, or None when it does, with half its lease to go."""
        current = store.current(node)
        if not current.serial:
            return None
        wanted = self._statement(store, node, current.serial)
        present = self._present(self._pointers.path(node))
        fresh = present is not None and present.lease_end - now_us() > LEASE_US // 2
        return None if fresh and present is not None and present.identity == wanted.identity else wanted

    def _trust(self) -> TrustRoot:
        return TrustRoot((self._signer.public,))

    def _statement(self, store: _Readable, node: str, serial: int) -> PromotionStatement:
        promoted = [(r.fact.serial, r.fact.envelope) for r in store.find(Promoted, node)]
        halted = [(r.fact.serial, r.fact.envelope) for r in store.find(NodeHalted, node)]
        envelopes = [envelope for number, envelope in (*promoted, *halted) if number == serial]
        statement = verify_promotion(envelopes[0].encode(), self._trust()) if envelopes else Unverified("missing")
        if isinstance(statement, Unverified):
            raise IonError(
                "promotion-unverified",
                f"the store's promotion {serial} of {node} does not verify: {statement.reason}",
                "run `ion audit verify`; the pointer was left as it is",
            )
        return statement

    def _present(self, path: Path) -> PromotionStatement | None:
        try:
            statement = verify_promotion(self._pointers.read(path), self._trust())
        except (IonError, OSError):
            return None
        return None if isinstance(statement, Unverified) else statement

    def _restore_decision(self, store: _Readable, node: str, digest: str) -> None:
        for record in store.find(DecisionMade, node):
            if record.fact.envelope_digest == digest:
                self._artifacts.put(record.fact.envelope.encode())


def promotion_message(cause: str, node: str) -> str:
    """Return the id of the message that a promotion is: both ends can compute it."""
    return observed_id("promotion", cause, node)
