"""Captured and quarantined rows as encrypted blocks: one row is quick to read, none without its key.

A block has a section for each key: an AES-256-GCM message (NIST SP 800-38D) over the rows as lines, zstd
compressed, or packed as columns. Facts hash the block, i.e. ciphertext; deleting a key deletes its rows, and
the block stays verifiable. Format: docs/spec/captures.md.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ion.errors import IonError
from ion.evidence.captures import (
    MAX_ROWS,
    NONCE_BYTES,
    TAG_BYTES,
    CaptureKey,
    block_header,
    header_digest,
    read_directory,
)
from ion.serving.packing import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ion.evidence.captures import Directory, Section

MAX_BLOCK = 1 << 28
_FASTEST = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST, window_log=18, hash_log=13, chain_log=6, search_log=1, min_match=7
)
"""For rows of numbers as text: a fifth less time than zstd's level 1 and the same size; higher levels gain nothing."""
_BAD_BLOCK = "bad-capture"


def seal(rows: Sequence[str | bytes], key: CaptureKey | Sequence[CaptureKey], aad: bytes) -> bytes:
    """Return the encrypted block of ``rows``.

    Args:
        rows: text is stored as UTF-8. No row holds a line end.
        key: of all rows, or one for each; ids go into the block in the clear.
        aad: what the block belongs to (e.g. epoch and first sequence number); opening needs the same bytes,
            so that a block cannot be passed off as another.

    Raises:
        IonError: ``bad-capture`` when a row holds a line end, or they are too many or too large for one block.
    """
    data = [row.encode() if isinstance(row, str) else row for row in rows]
    if any(b"\n" in row for row in data):
        raise IonError(_BAD_BLOCK, "a row holds a line end", "encode it, as JSON does")
    if isinstance(key, CaptureKey):
        return _sealed([(key, data)] if data else [], bytes(len(data)), aad)
    keys = {each.key_id: each for each in key}
    held: dict[str, list[bytes]] = {}
    for each, row in zip(key, data, strict=True):
        held.setdefault(each.key_id, []).append(row)
    numbers = {key_id: number for number, key_id in enumerate(held)}
    return _sealed([(keys[key_id], part) for key_id, part in held.items()], [numbers[each.key_id] for each in key], aad)


def seal_columns(inputs: bytes, scores: NDArray[np.float64], key: CaptureKey, aad: bytes) -> bytes:
    """Return the encrypted block of rows that are columns: input texts, joined by line ends, and scores (n).

    Opened, a row is its text, ``;`` and its score.

    Raises:
        IonError: ``bad-capture`` when they are not equally many, or too many or too large for one block.
    """
    if inputs.count(b"\n") + 1 != len(scores):
        raise IonError(_BAD_BLOCK, "there are not as many input lines as scores")
    _check_size(len(inputs), len(scores))
    packed = pack(inputs, scores)
    if not packed:
        texts = zip(inputs.split(b"\n"), scores.tolist(), strict=True)
        return seal([b"%b;%b" % (text, repr(score).encode()) for text, score in texts], key, aad)
    return _encrypted([(key, len(scores), packed)], bytes(len(scores)), aad, packed=True)


def _sealed(sections: Sequence[tuple[CaptureKey, list[bytes]]], places: Sequence[int], aad: bytes) -> bytes:
    texts = [(key, len(rows), b"\n".join(rows)) for key, rows in sections]
    _check_size(sum(len(text) for _, _, text in texts), len(places))
    compressor = zstandard.ZstdCompressor(compression_params=_FASTEST)
    return _encrypted([(key, rows, compressor.compress(text)) for key, rows, text in texts], places, aad)


def _check_size(size: int, rows: int) -> None:
    if size > MAX_BLOCK or rows > MAX_ROWS:
        limit = f"{MAX_ROWS} rows or {MAX_BLOCK} bytes"
        raise IonError(_BAD_BLOCK, f"the rows are more than {limit}", "seal fewer rows at a time")


def _encrypted(
    sections: Sequence[tuple[CaptureKey, int, bytes]], places: Sequence[int], aad: bytes, *, packed: bool = False
) -> bytes:
    """Return the block of sections (key, rows, what is to be sealed); ``places`` as in the header."""
    entries = [(key.key_id, os.urandom(NONCE_BYTES), rows, len(plain) + TAG_BYTES) for key, rows, plain in sections]
    header = block_header(entries, places, packed=packed)
    bound = header_digest(header) + aad
    sealed = (
        AESGCM(key.secret).encrypt(nonce, plain, bound)
        for (key, _, plain), (_, nonce, _, _) in zip(sections, entries, strict=True)
    )
    return b"".join((header, *sealed))


def open_block(block: bytes, keys: CaptureKey | Iterable[CaptureKey], aad: bytes) -> list[bytes]:
    """Return all rows, in order.

    Raises:
        IonError: ``bad-capture`` for damage, a missing or other key, or another ``aad``.
    """
    directory = read_directory(block)
    known = {each.key_id: each for each in ([keys] if isinstance(keys, CaptureKey) else keys)}
    opened = [iter(_rows(block, directory, section, known.get(section.key_id), aad)) for section in directory.sections]
    return [next(opened[place]) for place in directory.places]


def open_row(block: bytes, key: CaptureKey, index: int, aad: bytes) -> bytes:
    """Return the row at ``index`` (from 0), opening only its section.

    Raises:
        IonError: ``bad-capture`` as for `open_block`, ``no-such-row``.
    """
    directory = read_directory(block)
    section, position = directory.place(index)
    return _rows(block, directory, section, key, aad)[position]


def _rows(block: bytes, directory: Directory, section: Section, key: CaptureKey | None, aad: bytes) -> list[bytes]:
    if key is None or section.key_id != key.key_id:
        raise IonError(_BAD_BLOCK, f"sealed with key {section.key_id}", "fetch that key, if it still exists")
    try:
        plain = AESGCM(key.secret).decrypt(section.nonce, block[section.start : section.end], directory.digest + aad)
    except InvalidTag as error:
        raise IonError(_BAD_BLOCK, "the block is damaged, or belongs elsewhere") from error
    # From here on the bytes are those a key holder sealed.
    if directory.packed:
        return unpack(plain, section.rows)
    lines = zstandard.ZstdDecompressor().decompress(plain, max_output_size=MAX_BLOCK).split(b"\n")
    if len(lines) == section.rows:
        return lines
    # Written by earlier versions: columns that came apart (inputs, scores) as twice as many lines.
    return [head + b";" + tail for head, tail in zip(lines[: section.rows], lines[section.rows :], strict=True)]
