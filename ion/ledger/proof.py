"""Proofs as files: one record is in the ledger (c2sp.org/tlog-proof), one ledger extends another (tlog-witness)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.ledger.checkpoint import SignedCheckpoint, number, verify_checkpoint
from ion.ledger.merkle import MAX_PROOF, leaf_hash, verify_inclusion
from ion.ledger.note import MAX_NOTE, decoded_hash, encoded
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.evidence.trust_root import TrustRoot

MAX_PROOF_FILE = MAX_NOTE + 8192
"""Bytes: a note, and 63 hashes with some opaque data before it."""
_HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class Proof:
    """Record ``position`` (from 1) is in the ledger of the checkpoint: hashes from the leaf's sibling up."""

    position: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes

    def to_bytes(self) -> bytes:
        """Return the tlog-proof file; its index counts from 0."""
        lines = [_HEADER, f"index {self.position - 1}", *map(encoded, self.hashes), "", ""]
        return "\n".join(lines).encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """Parse a tlog-proof file; opaque extra data is passed over, since nobody signs it.

        Raises:
            IonError: ``bad-proof``.
        """
        lines, checkpoint = _parted(data)
        if len(lines) > 1 and lines[1].startswith("extra "):
            del lines[1]
        index = number(lines[1].removeprefix("index ")) if len(lines) > 1 and lines[1].startswith("index ") else None
        if lines[0] != _HEADER or index is None:
            raise _bad("its first lines are of another form")
        return cls(index + 1, _hashes(lines[2:]), checkpoint)

    def check(self, raw: bytes, trust: TrustRoot, *, origin: str = "") -> SignedCheckpoint | Unverified:
        """Return the checkpoint under which these bytes are record ``position``, else why they are not shown to be."""
        answer = verify_checkpoint(self.checkpoint, trust, origin=origin)
        if isinstance(answer, Unverified):
            return answer
        size, root = answer.size, answer.checkpoint.root
        if not verify_inclusion(leaf_hash(raw), self.position - 1, size, self.hashes, root):
            return Unverified(f"these bytes are not record {self.position} of the {size} that the checkpoint signs")
        return answer


@dataclass(frozen=True, slots=True)
class Extension:
    """The ledger of the checkpoint begins with its first ``old`` records: a proof for a witness, and what it is of."""

    old: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes

    def to_bytes(self) -> bytes:
        """Return the form in which a witness is asked (c2sp.org/tlog-witness, add-checkpoint)."""
        return "\n".join([f"old {self.old}", *map(encoded, self.hashes), "", ""]).encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> Extension:
        """Parse what `to_bytes` made.

        Raises:
            IonError: ``bad-proof``.
        """
        lines, checkpoint = _parted(data)
        old = number(lines[0].removeprefix("old ")) if lines[0].startswith("old ") else None
        if old is None:
            raise _bad("its first line is not that of a consistency proof")
        return cls(old, _hashes(lines[1:]), checkpoint)


def _parted(data: bytes) -> tuple[list[str], bytes]:
    """Return the lines before the first empty line, and the bytes after it."""
    if len(data) > MAX_PROOF_FILE:
        raise _bad(f"it is larger than {MAX_PROOF_FILE} bytes")
    head, separator, checkpoint = data.partition(b"\n\n")
    if not separator or not head.isascii():
        raise _bad("it has no checkpoint")
    return head.decode("ascii").split("\n"), checkpoint


def _hashes(lines: list[str]) -> tuple[bytes, ...]:
    if len(lines) > MAX_PROOF:
        raise _bad(f"it has more than {MAX_PROOF} hashes")
    found = tuple(data for data in map(decoded_hash, lines) if data is not None)
    if len(found) != len(lines):
        raise _bad("one of its lines is no hash")
    return found


def _bad(why: str) -> IonError:
    return IonError("bad-proof", f"not a proof: {why}", "make it with `ion audit prove` or `ion audit consistency`")
