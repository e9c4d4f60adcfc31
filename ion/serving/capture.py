"""Captured and quarantined rows as encrypted blocks: one row is quick to read, none without the key.

A block is one AES-256-GCM message (NIST SP 800-38D) over zstd frames of 64 rows each and their index.
Facts hash the block, i.e. ciphertext; deleting the key deletes the rows. Format: docs/spec/captures.md.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ion.canonical import canonical_bytes
from ion.errors import IonError
from ion.evidence.files import read_regular, write_new
from ion.evidence.parsing import Fields, parse_canonical
from ion.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAGIC = b"IONCAP1\n"
ROWS_PER_FRAME = 64
KEY_BYTES = 32
NONCE_BYTES = 12
MAX_BLOCK = 1 << 28
_LEVEL = 1  # of zstd: level 3 takes a third longer for the same size of rows of numbers
_KEY_FORMAT = "ion-capture-key/1"
_BAD_BLOCK = "bad-capture"
_COUNT = struct.Struct("<I")
_FRAME = struct.Struct("<II")  # compressed bytes, uncompressed bytes


@dataclass(frozen=True, slots=True)
class CaptureKey:
    """A symmetric key under an id; the id is public, in every block it sealed."""

    key_id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse a key that is not AES-256."""
        if len(self.secret) != KEY_BYTES or not 0 < len(self.key_id.encode()) <= 255:  # noqa: PLR2004 - one length byte
            raise IonError("bad-key", f"a capture key has an id and {KEY_BYTES} bytes")

    @classmethod
    def generate(cls) -> CaptureKey:
        """Return a new key under a new id."""
        return cls(new_id(), os.urandom(KEY_BYTES))

    def to_bytes(self) -> bytes:
        """Return the key as JSON. Secret: whoever has it reads the rows."""
        return canonical_bytes({"format": _KEY_FORMAT, "key_id": self.key_id, "secret": self.secret.hex()})

    @classmethod
    def from_bytes(cls, data: bytes) -> CaptureKey:
        """Parse what `to_bytes` made.

        Raises:
            IonError: ``bad-json`` or ``bad-key``; neither quotes the key.
        """
        fields = Fields.of(parse_canonical(data, 4096, "capture key"), "capture key", "bad-key")
        fields.literal("format", _KEY_FORMAT)
        key_id, secret = fields.text("key_id"), fields.text("secret")
        fields.done()
        try:
            return cls(key_id, bytes.fromhex(secret))
        except ValueError:
            raise IonError("bad-key", "the capture key's secret is not hexadecimal") from None

    def write(self, path: Path) -> None:
        """Create the file, mode 0600; folders it needs are made 0700.

        Raises:
            IonError: ``key-exists``; a key is never replaced: its blocks would be lost.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            write_new(path, self.to_bytes(), mode=0o600)
        except FileExistsError as error:
            raise IonError("key-exists", f"there is a key at {path}", "read it instead") from error

    @classmethod
    def read(cls, path: Path) -> CaptureKey:
        """Return the key in a file that only its owner can read.

        Raises:
            IonError: ``key-missing``, ``key-permissions``, ``bad-json`` or ``bad-key``.
        """
        try:
            return cls.from_bytes(read_regular(path, 4096, private=True))
        except OSError as error:
            raise IonError("key-missing", f"cannot read the capture key {path}: {error.strerror}") from error


def seal(rows: Sequence[str | bytes], key: CaptureKey, aad: bytes) -> bytes:
    """Return the encrypted block of ``rows``.

    Args:
        rows: text is stored as UTF-8.
        key: its id goes into the block in the clear.
        aad: what the block belongs to (e.g. epoch and first sequence number); opening needs the same bytes,
            so that a block cannot be passed off as another.

    Raises:
        IonError: ``bad-capture`` when the rows are too large for one block.
    """
    data = [row.encode() if isinstance(row, str) else row for row in rows]
    groups = [data[start : start + ROWS_PER_FRAME] for start in range(0, len(data), ROWS_PER_FRAME)]
    contents = [struct.pack(f"<{len(group)}I", *map(len, group)) + b"".join(group) for group in groups]
    if sum(map(len, contents)) > MAX_BLOCK:
        raise IonError(_BAD_BLOCK, f"the rows are larger than {MAX_BLOCK} bytes", "seal fewer rows at a time")
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    frames = [compressor.compress(content) for content in contents]
    index = b"".join(_FRAME.pack(len(frame), len(raw)) for frame, raw in zip(frames, contents, strict=True))
    header = _header(key.key_id, os.urandom(NONCE_BYTES))
    plain = b"".join((_COUNT.pack(len(data)), index, *frames))
    return header + AESGCM(key.secret).encrypt(header[-NONCE_BYTES:], plain, header + aad)


def block_key_id(block: bytes) -> str:
    """Return the id of the key a block was sealed with; not authenticated before the block is opened.

    Raises:
        IonError: ``bad-capture``.
    """
    return _split(block)[0]


def open_block(block: bytes, key: CaptureKey, aad: bytes) -> list[bytes]:
    """Return all rows.

    Raises:
        IonError: ``bad-capture`` for damage, another key or another ``aad``.
    """
    count, frames = _open(block, key, aad)
    return [row for number in range(len(frames)) for row in _rows(frames, number, count)]


def open_row(block: bytes, key: CaptureKey, index: int, aad: bytes) -> bytes:
    """Return the row at ``index`` (from 0), decompressing only its frame.

    Raises:
        IonError: ``bad-capture`` as for `open_block`, ``no-such-row``.
    """
    count, frames = _open(block, key, aad)
    if not 0 <= index < count:
        raise IonError("no-such-row", f"row {index} of a block of {count}")
    number, position = divmod(index, ROWS_PER_FRAME)
    return _rows(frames, number, count)[position]


def _header(key_id: str, nonce: bytes) -> bytes:
    name = key_id.encode()
    return MAGIC + bytes([len(name)]) + name + nonce


def _split(block: bytes) -> tuple[str, int]:
    """Return the key id and the length of the header."""
    start = len(MAGIC) + 1
    if not block.startswith(MAGIC) or len(block) < start:
        raise IonError(_BAD_BLOCK, "not a capture block")
    end = start + block[start - 1]
    if len(block) < end + NONCE_BYTES:
        raise IonError(_BAD_BLOCK, "the capture block is cut short")
    try:
        return block[start:end].decode(), end + NONCE_BYTES
    except UnicodeDecodeError as error:
        raise IonError(_BAD_BLOCK, "the capture block has no readable key id") from error


def _open(block: bytes, key: CaptureKey, aad: bytes) -> tuple[int, list[tuple[bytes, int]]]:
    """Return the number of rows, and each frame with its uncompressed size."""
    key_id, start = _split(block)
    if key_id != key.key_id:
        raise IonError(_BAD_BLOCK, f"the block was sealed with key {key_id}", "fetch that key, if it still exists")
    header = block[:start]
    try:
        plain = AESGCM(key.secret).decrypt(header[-NONCE_BYTES:], block[start:], header + aad)
    except InvalidTag as error:
        raise IonError(_BAD_BLOCK, "the block is damaged, or belongs elsewhere") from error
    # From here on the bytes are those a key holder sealed.
    (count,) = _COUNT.unpack_from(plain)
    offset = _COUNT.size + _FRAME.size * -(-count // ROWS_PER_FRAME)
    frames: list[tuple[bytes, int]] = []
    for compressed, size in _FRAME.iter_unpack(plain[_COUNT.size : offset]):
        frames.append((plain[offset : offset + compressed], size))
        offset += compressed
    return count, frames


def _rows(frames: list[tuple[bytes, int]], number: int, count: int) -> list[bytes]:
    frame, size = frames[number]
    content = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size)
    held = min(ROWS_PER_FRAME, count - number * ROWS_PER_FRAME)
    lengths = struct.unpack_from(f"<{held}I", content)
    rows, offset = [], _COUNT.size * held
    for length in lengths:
        rows.append(content[offset : offset + length])
        offset += length
    return rows
