"""Signed notes (c2sp.org/signed-note): a text, an empty line, signature lines; keys as ``name+id+key``."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ion.errors import IonError
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.evidence.keys import PublicKey

ED25519 = 1
"""Signature type: ed25519 over the text."""
COSIGNATURE = 4
"""Signature type: ed25519 by a witness, with its time (c2sp.org/tlog-cosignature)."""
MAX_NOTE = 65_536
"""Bytes; a checkpoint has some 250, and 100 for each witness."""
MAX_SIGNATURES = 100
_KEY_SIZE = 32
_DER = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of an ed25519 key in its DER form (RFC 8410)."""
_ID_SIZE = 4
_DASH = "\u2014 "
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,200}\Z")


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A public key as notes name it: ``kind`` is the signature type, ``key`` the 32 bytes of RFC 8032.

    Raises:
        IonError: ``bad-note-key`` for an empty name or one with a space or plus, or a key of another size.
    """

    name: str
    kind: int
    key: bytes

    def __post_init__(self) -> None:
        """Refuse a name that a note cannot hold."""
        if not _NAME.match(self.name) or self.kind not in {ED25519, COSIGNATURE} or len(self.key) != _KEY_SIZE:
            hint = "write it as NAME+ID+KEY, as `ion audit checkpoint` and `ion audit witness` print it"
            raise IonError("bad-note-key", f"not an ed25519 key of a note: {self.name!r:.80}", hint)

    @classmethod
    def of(cls, name: str, public: PublicKey, kind: int = ED25519) -> NoteKey:
        """Return the key under a name: the last 32 bytes of its DER form (RFC 8410)."""
        return cls(name, kind, public.der[-_KEY_SIZE:])

    @classmethod
    def parse(cls, text: str) -> NoteKey:
        """Parse ``name+id+key``; the id must be that of name and key.

        Raises:
            IonError: ``bad-note-key``.
        """
        name, _, rest = text.strip().partition("+")
        identity, _, encoded = rest.partition("+")
        data = _decoded(encoded) or b"\0"
        found = cls(name, data[0], data[1:])
        if found.key_id.hex() != identity:
            raise IonError("bad-note-key", f"the key of {name} does not have the id {identity:.20}", "copy it whole")
        return found

    def public(self) -> PublicKey:
        """Return the key without its name."""
        from ion.evidence.keys import PublicKey

        return PublicKey(_DER + self.key)

    @property
    def key_id(self) -> bytes:
        """The four bytes by which a signature line names the key."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.key).digest()[:_ID_SIZE]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(bytes([self.kind]) + self.key).decode()}"

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Say whether this is the key's ed25519 signature of the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A signature line: who, by which key, and the bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        """Return the line with its line end."""
        return f"{_DASH}{self.name} {b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends with a line end, and its signatures; to be believed only after their check."""

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Parse a note.

        Raises:
            IonError: ``bad-note`` for anything but the one form of a note, also when too large.
        """
        if len(data) > MAX_NOTE:
            raise _bad(f"it is larger than {MAX_NOTE} bytes")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _bad("it is not UTF-8") from error
        if any(char < " " and char != "\n" for char in whole):
            raise _bad("it holds control characters")
        text, separator, signed = whole.rpartition("\n\n")
        lines = signed.split("\n")
        if not separator or len(lines) < 2 or lines.pop():  # noqa: PLR2004 - a line and what follows its end
            raise _bad("it has no signature")
        if len(lines) > MAX_SIGNATURES:
            raise _bad(f"it has more than {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(_signature(line) for line in lines))

    def to_bytes(self) -> bytes:
        """Return the note's one form."""
        return (self.text + "\n" + "".join(each.line() for each in self.signatures)).encode()

    def by(self, key: NoteKey) -> tuple[NoteSignature, ...]:
        """Return the signatures that name this key."""
        return tuple(each for each in self.signatures if (each.name, each.key_id) == (key.name, key.key_id))

    def with_signature(self, key: NoteKey, signature: bytes) -> Note:
        """Return the note with one more signature, in the place of an earlier one by the same key."""
        others = tuple(each for each in self.signatures if (each.name, each.key_id) != (key.name, key.key_id))
        return Note(self.text, (*others, NoteSignature(key.name, key.key_id, signature)))


def decoded_hash(text: str) -> bytes | None:
    """Return the 32 bytes of a base64 text; None for any other text."""
    data = _decoded(text)
    return data if data is not None and len(data) == hashlib.sha256().digest_size else None


def encoded(data: bytes) -> str:
    """Return the base64 form (RFC 4648, section 4)."""
    return b64encode(data).decode()


def _signature(line: str) -> NoteSignature:
    name, _, text = line.removeprefix(_DASH).partition(" ")
    data = _decoded(text)
    if not line.startswith(_DASH) or not _NAME.match(name) or data is None or len(data) <= _ID_SIZE:
        raise _bad("one of its signature lines is of another form")
    return NoteSignature(name, data[:_ID_SIZE], data[_ID_SIZE:])


def _decoded(text: str) -> bytes | None:
    """Return what base64 text stands for; None unless it is the one text that stands for these bytes."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return None
    return data if b64encode(data).decode() == text else None


def _bad(why: str) -> IonError:
    return IonError("bad-note", f"not a signed note: {why}", "c2sp.org/signed-note describes the form")
