"""Promotion, halt and revocation: what a node serves changes in the store first, then in its pointer file."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ion.clock import now_us
from ion.decision.falling_back import falls_back, is_declared, last_approved, restore_decision
from ion.decision.in_force import changes_of, in_force, revoked_models, signed_change, signed_revocations
from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.statements import PromotionStatement, sign_statement, verify_promotion_by
from ion.facts import MessageSent, ModelRecorded, ModelRevoked, NodeHalted, Promoted, RolledBack
from ion.ids import new_id, observed_id
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.decision.in_force import Readable
    from ion.evidence.artifacts import ArtifactStore
    from ion.evidence.keys import Signer
    from ion.evidence.promotions import Action, LeaseEnd
    from ion.evidence.trust import TrustFile
    from ion.evidence.trust_root import TrustRoot
    from ion.facts import DecisionMade
    from ion.store import Command, GovernanceStore

LEASE_US = 24 * 3_600_000_000
"""How long a pointer holds without renewal."""


@dataclass(frozen=True, slots=True)
class PointerFiles:
    """Where pointers live: node → path, and how to write one atomically."""

    path: Callable[[str], Path]
    read: Callable[[Path], bytes]
    write: Callable[[Path, bytes], str]


class Promotions:
    """Changes what nodes serve, exactly once per cause, and keeps their pointers in line.

    Args:
        store: where changes are recorded.
        artifacts: where decisions and models are.
        signer: the decision key.
        pointers: the files beside serving processes.
        trust: under what the store's own statements are verified before anything is signed again.
    """

    def __init__(
        self,
        store: GovernanceStore,
        artifacts: ArtifactStore,
        signer: Signer,
        pointers: PointerFiles,
        trust: TrustFile,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._signer = signer
        self._pointers = pointers
        self._trust = trust

    def promote(self, command: Command, decision: DecisionMade, position: int, sender: str, on_lease_end: str) -> bool:
        """Record the promotion that an approving decision causes; False when it must not.

        An older candidate (by its ``position``) never replaces a newer one by itself. ``sender``
        is the policy node, whose message the promotion is.
        """
        current = command.current(decision.node)
        if command.serial_of(decision.decision, decision.node) is not None:
            return False
        revoked = revoked_models(command, decision.node)
        if decision.model in revoked:
            return False
        candidate = (current.model, current.run)
        made = [r for r in command.find(ModelRecorded, current.model) if (r.fact.model, r.fact.run) == candidate]
        if made and made[0].position > position and current.model not in revoked:
            return False
        envelope = self._signed(
            command,
            decision.node,
            "promote",
            model=decision.model,
            decision=decision.envelope_digest,
            serial=current.serial + 1,
            cause=decision.decision,
            on_lease_end=cast("LeaseEnd", on_lease_end),  # the statement refuses another word
        )
        command.record(
            Promoted(
                cause=decision.decision,
                node=decision.node,
                model=decision.model,
                run=decision.run,
                decision=decision.decision,
                serial=current.serial + 1,
                previous=current.model,
                envelope=envelope,
            )
        )
        _send(command, decision.decision, sender, decision.node, decision.model)
        return True

    def halt(self, node: str, *, reason: str, by: str) -> int:
        """Stop ``ion/node`` from serving until a later promotion; returns the serial.

        Raises:
            IonError: ``never-promoted`` when the node serves nothing.
        """
        with self._store.command() as command:
            current = command.current(node)
            if not current.model:
                raise IonError("never-promoted", f"{node} has never served a model", "`ion models` lists the nodes")
            serial = self._record_halt(command, node, reason, by)
        self.publish(node)
        return serial

    def _record_halt(self, command: Command, node: str, reason: str, by: str) -> int:
        cause, serial = new_id(), command.current(node).serial + 1
        envelope = self._signed(command, node, "halt", serial=serial, cause=cause)
        command.record(NodeHalted(cause=cause, node=node, serial=serial, reason=reason, by=by, envelope=envelope))
        return serial

    def stand_down(self, node: str, model: str, *, reason: str, by: str) -> bool:
        """Let ``ion/node`` stop serving a model that people no longer stand behind; says whether it served it.

        The node falls back to the last approved model if it declares so and there is one, else it halts.
        The model is not withdrawn for good: approved again, it is promoted again.

        Raises:
            IonError: as `publish` when the pointer could not be written: the change is recorded by then.
        """
        with self._store.command() as command:
            current = command.current(node)
            if current.model != model or current.halted:
                return False
            if falls_back(command, node):
                self._fall_back(command, node, model, reason, by)
            if command.current(node).serial == current.serial:
                self._record_halt(command, node, reason, by)
        self.publish(node)
        return True

    def revoke(self, node: str, model: str, *, reason: str, by: str) -> int:
        """Withdraw a model from ``ion/node`` for good; returns the revocation's serial.

        If it serves there, the node falls back to the last approved model or stops, as its definition
        says. Revoking it again changes nothing.

        Raises:
            IonError: ``unknown-model``, ``unknown-node``; as `publish` when the pointer could not be written:
                the revocation is recorded by then.
        """
        with self._store.command() as command:
            before = [r.fact.serial for r in command.find(ModelRevoked, model) if r.fact.node == node]
            serial = before[0] if before else self._record_revocation(command, node, model, reason, by)
        self.publish(node)
        return serial

    def _record_revocation(self, command: Command, node: str, model: str, reason: str, by: str) -> int:
        if not any(record.fact.model == model for record in command.find(ModelRecorded, model)):
            raise IonError("unknown-model", f"no model {model} is known here", "`ion models` lists them")
        current = command.current(node)
        if not current.serial and not is_declared(command, node):
            raise IonError("unknown-node", f"no ION declares {node}", "`ion models` lists the nodes")
        serves = current.model == model and not current.halted
        cause, serial = new_id(), current.serial + 1
        envelope = self._signed(command, node, "revoke", model=model, serial=serial, cause=cause)
        command.record(
            ModelRevoked(cause=cause, node=node, model=model, serial=serial, reason=reason, by=by, envelope=envelope)
        )
        if serves and falls_back(command, node):
            self._fall_back(command, node, model, reason, by)
        return serial

    def _fall_back(self, command: Command, node: str, model: str, reason: str, by: str) -> None:
        """Record the rollback to the last approved model before ``model``, if there is one."""
        without = {*revoked_models(command, node), model}
        earlier = last_approved(command, self._artifacts, self._trust.read(), node, without=without, now=now_us())
        if earlier is None:
            return
        cause, serial = new_id(), command.current(node).serial + 1
        envelope = self._signed(
            command,
            node,
            "rollback",
            model=earlier.change.model,
            decision=earlier.envelope,
            serial=serial,
            cause=cause,
            on_lease_end=earlier.on_lease_end,
        )
        command.record(
            RolledBack(
                cause=cause,
                node=node,
                model=earlier.change.model,
                run=earlier.change.run,
                decision=earlier.change.decision,
                serial=serial,
                previous=model,
                reason=reason,
                by=by,
                envelope=envelope,
            )
        )
        sent = command.find(MessageSent, promotion_message(earlier.change.cause, node), limit=1)
        _send(command, cause, sent[0].fact.sender if sent else node, node, earlier.change.model)

    def _signed(
        self,
        command: Command,
        node: str,
        action: Action,
        *,
        serial: int,
        cause: str,
        model: str | None = None,
        decision: str | None = None,
        on_lease_end: LeaseEnd = "stop",
    ) -> str:
        """Return a signed statement about ``ion/node`` that names all models withdrawn from it so far."""
        ion, _, name = node.partition("/")
        now = now_us()
        revoked = signed_revocations(command, node, self._trust.read().root("decision"))
        statement = PromotionStatement(
            ion=ion,
            node=name,
            action=action,
            model=model,
            decision=decision,
            serial=serial,
            cause=cause,
            issued=now,
            lease_end=now + LEASE_US,
            on_lease_end=on_lease_end,
            revoked=tuple(sorted(revoked.union([model] if model and action == "revoke" else ()))),
        )
        return sign_statement(statement, self._signer).decode()

    def publish(self, node: str) -> bool:
        """Bring the node's pointer in line with the store; renew it past half its lease, or signed by another key.

        Idempotent; called after every change and by every tick, so a crash between the store's
        commit and the file only delays the file. Returns whether the file changed. Nothing is signed
        that does not follow from statements that verify.

        Raises:
            IonError: ``promotion-unverified``; ``store-went-back`` when the pointer has a higher serial than the
                store; a code of the trust document.
        """
        if self._wanted(self._store, node) is None:
            return False
        with self._store.command() as command:  # one writer at a time, or an older serial could be written last
            wanted = self._wanted(command, node)
            if wanted is None:
                return False
            if wanted.decision is not None:
                restore_decision(command, self._artifacts, node, wanted.decision)
            self._pointers.write(self._pointers.path(node), sign_statement(wanted, self._signer))
        return True

    def _wanted(self, store: Readable, node: str) -> PromotionStatement | None:
        """Return the statement the pointer should hold now, or None when it does, with half its lease to go."""
        change = in_force(changes_of(store, node))
        if change is None:
            return None
        root, now = self._trust.read().root("decision"), now_us()
        statement = signed_change(change, root)
        revoked = signed_revocations(store, node, root)
        present = self._present(node, root)
        if present is not None:
            found, key_id = present
            if found.serial > statement.serial:
                raise IonError(
                    "store-went-back",
                    f"the pointer of {node} has serial {found.serial}, the store only {statement.serial}",
                    "run `ion audit verify`; the store was replaced by an older one, or facts were removed",
                )
            fresh = found.lease_end - now > LEASE_US // 2 and key_id == self._signer.public.key_id
            if fresh and found.identity == statement.identity and revoked.issubset(found.revoked):
                return None
            revoked = revoked.union(found.revoked)
        return statement.renewed(now, now + LEASE_US, revoked)

    def _present(self, node: str, root: TrustRoot) -> tuple[PromotionStatement, str] | None:
        try:
            answer = verify_promotion_by(self._pointers.read(self._pointers.path(node)), root)
        except (IonError, OSError):
            return None
        return None if isinstance(answer, Unverified) or answer[0].address != node else answer


def _send(command: Command, cause: str, sender: str, node: str, model: str) -> None:
    """Record that the serving node was told what to serve."""
    command.record(
        MessageSent(
            message=promotion_message(cause, node),
            run=cause,
            sender=sender,
            receiver=node,
            message_kind="promotion",
            subject=model,
        )
    )


def promotion_message(cause: str, node: str) -> str:
    """Return the id of the message that a promotion is: both ends can compute it."""
    return observed_id("promotion", cause, node)
