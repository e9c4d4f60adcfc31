"""Checkpoints (c2sp.org/tlog-checkpoint): a signed tree head, and witnesses' cosignatures of it."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.ledger.note import COSIGNATURE, Note, NoteKey, decoded_hash, encoded
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.evidence.keys import Signer
    from ion.evidence.trust_root import TrustRoot

_NUMBER = re.compile(r"(0|[1-9][0-9]{0,18})\Z")
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first ``size`` records of the log ``origin`` have the tree root ``root`` (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note text: three lines."""
        return f"{self.origin}\n{self.size}\n{encoded(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Parse the note text. Extension lines are refused: our logs write none.

        Raises:
            IonError: ``bad-checkpoint``.
        """
        lines = text.split("\n")
        root = decoded_hash(lines[2]) if len(lines) == 4 and lines[0] and not lines[3] else None  # noqa: PLR2004 - 3 lines
        size = number(lines[1]) if root is not None else None
        if root is None or size is None:
            hint = "c2sp.org/tlog-checkpoint describes the form"
            raise IonError("bad-checkpoint", "the note is no checkpoint: origin, size, root hash", hint)
        return cls(lines[0], size, root)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint and the note that holds it, whose signature by the log was verified."""

    checkpoint: Checkpoint
    note: Note

    @property
    def size(self) -> int:
        """How many records it is about."""
        return self.checkpoint.size


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """Return the checkpoint as a note signed by the log, whose key goes by the name of the origin."""
    key = NoteKey.of(checkpoint.origin, signer.public)
    text = checkpoint.text()
    return Note(text, ()).with_signature(key, signer.sign(text.encode())).to_bytes()


def verify_checkpoint(
    data: bytes, trust: TrustRoot, *, origin: str = "", at: int | None = None
) -> SignedCheckpoint | Unverified:
    """Return the checkpoint if a trusted key of the log signed it, else why not.

    Args:
        data: the note.
        trust: keys of the log.
        origin: the log it must be of; any log of these keys when empty.
        at: when it was signed (µs UTC), if that is known; a key that was revoked counts only for earlier times,
            and for none when the time is not known.
    """
    try:
        note = Note.parse(data)
        checkpoint = Checkpoint.parse(note.text)
        keys = [(public, NoteKey.of(checkpoint.origin, public)) for public in trust.keys]
    except IonError as error:
        return Unverified(error.message)
    if origin and checkpoint.origin != origin:
        return Unverified(f"the checkpoint is of the log {checkpoint.origin!r:.80}, not {origin}")
    signed = False
    for public, key in keys:
        for line in note.by(key):
            if not key.holds(line.signature, note.text.encode()):
                return Unverified("the signature of the log does not hold")
            window = trust.windows.get(public.key_id)
            counts = window is None or (window.revoked is None if at is None else window.covers(at))
            signed = signed or counts
    return SignedCheckpoint(checkpoint, note) if signed else Unverified("no key of the log that counts has signed it")


def cosign(signed: SignedCheckpoint, name: str, witness: Signer, seconds: int) -> SignedCheckpoint:
    """Return the checkpoint with a witness's cosignature made at ``seconds`` since 1970."""
    key = NoteKey.of(name, witness.public, COSIGNATURE)
    signature = witness.sign(_cosigned(signed.note.text, seconds))
    note = signed.note.with_signature(key, struct.pack(">Q", seconds) + signature)
    return SignedCheckpoint(signed.checkpoint, note)


def cosigned_at(signed: SignedCheckpoint, witness: NoteKey) -> int | None:
    """Return when the witness cosigned (seconds since 1970); None when it did not, or a line of it does not hold."""
    times: list[int] = []
    for line in signed.note.by(witness):
        if len(line.signature) != 8 + 64:
            return None
        (seconds,) = struct.unpack(">Q", line.signature[:8])
        if seconds > _LARGEST or not witness.holds(line.signature[8:], _cosigned(signed.note.text, seconds)):
            return None
        times.append(seconds)
    return max(times) if times and witness.kind == COSIGNATURE else None


def number(text: str) -> int | None:
    """Return a decimal without leading zeroes, below 2^63; None for any other text."""
    return int(text) if _NUMBER.match(text) and int(text) <= _LARGEST else None


def _cosigned(text: str, seconds: int) -> bytes:
    """Return the bytes a witness signs (c2sp.org/tlog-cosignature, Ed25519)."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()
