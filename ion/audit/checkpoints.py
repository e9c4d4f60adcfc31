"""Checkpoints are made: the ledger's head is signed, recorded as a fact, and laid down as files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.files import read_regular, write_atomic
from ion.evidence.keys import load_signer
from ion.evidence.trust import load_trust
from ion.facts import AlertRaised, CheckpointSigned
from ion.ids import observed_id
from ion.ledger import Checkpoint, SignedCheckpoint, Walk, sign_checkpoint, verify_checkpoint
from ion.ledger.merkle import Frontier
from ion.ledger.note import MAX_NOTE

if TYPE_CHECKING:
    from pathlib import Path

    from ion.evidence.keys import PublicKey, Signer
    from ion.evidence.trust_root import TrustRoot
    from ion.home import Home
    from ion.store import GovernanceStore

LATEST = "latest.note"
ALTERED = "ledger-altered"
_LOOK_BACK = 10


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often: after so many facts, or so many seconds after the last one if anything happened since."""

    facts: int = 1000
    seconds: float = 60.0


class Checkpoints:
    """Signs heads of one ledger, each an extension of the one before.

    Args:
        store: what is signed.
        folder: where the notes are laid down.
        signer: the ledger's key.
        trust: the ledger's keys, this one and those before it.
    """

    def __init__(self, store: GovernanceStore, folder: Path, signer: Signer, trust: TrustRoot) -> None:
        self._store = store
        self._folder = folder
        self._signer = signer
        self._trust = trust
        self._origin = store.ledger.origin()

    @classmethod
    def open(cls, store: GovernanceStore, home: Home) -> Checkpoints:
        """Return those of a deployment.

        Raises:
            IonError: the key or the trust document cannot be used; ``ledger-key-untrusted`` when the document
                does not name the key.
        """
        signer, trust = load_signer(home.ledger_key_uri), load_trust(home).root("ledger")
        if signer.public not in trust.keys:
            hint = "check ION_LEDGER_KEY; `ion trust show` lists the keys that are trusted"
            raise IonError("ledger-key-untrusted", "the trust document does not name the ledger's key", hint)
        return cls(store, home.checkpoints, signer, trust)

    @property
    def public(self) -> PublicKey:
        """The key that signs."""
        return self._signer.public

    def latest(self) -> SignedCheckpoint | None:
        """Return the largest checkpoint that was signed, from the store or from the files."""
        found = [item for item in (self._recorded(), self._laid_down()) if item is not None]
        return max(found, key=lambda item: item.size, default=None)

    def make(self, cadence: Cadence | None = None) -> SignedCheckpoint | None:
        """Sign the head, if anything but checkpoints happened since the last one, and lay the note down.

        Args:
            cadence: sign only when it is time; at once without it.

        Raises:
            IonError: ``ledger-altered`` when the store does not continue what was signed before: nothing is
                signed then, and an alert says so. ``store-unreachable``.
        """
        ledger, seen, head = self._store.ledger, self.latest(), self._store.head()
        size = seen.size if seen is not None else 0
        if size > head.position:
            raise self._altered(f"it has {head.position} records, a checkpoint of {size} was signed", size)
        new = ledger.since(size, (CheckpointSigned,))
        if not new or (cadence is not None and not self._due(new, cadence)):
            self._lay_down(self._recorded())
            return None
        root = self._root(seen, head.position)
        note = sign_checkpoint(Checkpoint(self._origin, head.position, root), self._signer)
        with self._store.command() as command:
            newest = command.find(CheckpointSigned, limit=1, newest_first=True)
            if not newest or newest[0].fact.size < head.position:  # else another process was first
                fact = CheckpointSigned(size=head.position, root=f"sha256:{root.hex()}", note=note.decode())
                command.record(fact)
        made = self._verified(note)
        self._lay_down(made)
        return made

    def _due(self, new: int, cadence: Cadence) -> bool:
        newest = self._store.latest(CheckpointSigned)
        return newest is None or new >= cadence.facts or now_us() - newest.us >= cadence.seconds * 1e6

    def _root(self, seen: SignedCheckpoint | None, size: int) -> bytes:
        """Return the root of the first ``size`` records, as they follow from what was signed last.

        Of tiles only those under the last checkpoint are relied on, and only when they give its root. The chain
        behind it is read and checked: what was rewritten since shows in its links, unless these were, too.
        """
        tree, ledger = self._store.ledger.tree(), self._store.ledger
        before = seen.size if seen is not None else 0
        if seen is not None and tree.root(before) != seen.checkpoint.root:
            tree.drop()
            if tree.root(before) != seen.checkpoint.root:
                raise self._altered(f"its first {before} records are not those that were signed", before)
        links = [link for _, _, link in ledger.entries(before, before)] if before else []
        walk = Walk.onward(before, links[0], Frontier.of(tree, before)) if links else Walk()
        for batch in ledger.batches(before + 1, size):
            walk.take(batch)
        if walk.broken is not None or walk.count != size:
            at = walk.broken.expected if walk.broken is not None else walk.count + 1
            raise self._altered(f"the chain is broken at position {at}", before)
        tree = ledger.tree()
        tree.write(size)
        if tree.root(size) != walk.root:  # somebody had put tiles there
            tree.drop()
            tree.write(size)
        return walk.root

    def _recorded(self) -> SignedCheckpoint | None:
        """Return the newest checkpoint among the facts that is truly signed."""
        for record in self._store.find(CheckpointSigned, newest_first=True, limit=_LOOK_BACK):
            signed = self._verified(record.fact.note.encode())
            if signed is not None:
                return signed
        return None

    def _laid_down(self) -> SignedCheckpoint | None:
        try:
            return self._verified(read_regular(self._folder / LATEST, MAX_NOTE))
        except (OSError, IonError):
            return None

    def _verified(self, note: bytes) -> SignedCheckpoint | None:
        answer = verify_checkpoint(note, self._trust, origin=self._origin)
        return None if isinstance(answer, Unverified) else answer

    def _lay_down(self, signed: SignedCheckpoint | None) -> None:
        """Write the note under its size, and as the latest if it is; what is there already stays."""
        if signed is None:
            return
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        path = self._folder / f"{signed.size}.note"
        if not path.exists():
            write_atomic(path, signed.note.to_bytes())
        latest = self._laid_down()
        if latest is None or latest.size < signed.size:
            write_atomic(self._folder / LATEST, signed.note.to_bytes())

    def _altered(self, why: str, size: int) -> IonError:
        identity = observed_id("ledger", self._origin, str(size), digest_bytes(why.encode()))
        message = f"the ledger was altered: {why}"
        if self._store.ledger.position_of(identity) is None:
            with self._store.command() as command:
                command.record(AlertRaised(scope="ledger", alert=ALTERED, message=message), identity)
        return IonError(
            "ledger-altered", message, "`ion audit verify` says more; nothing is signed until it is restored"
        )
