"""Captured and quarantined rows as encrypted blocks: one row is quick to read, none without its key.

A block has a section for each key: an AES-256-GCM message (NIST SP 800-38D) over the rows as lines, zstd
compressed. Facts hash the block, i.e. ciphertext; deleting a key deletes its rows, and the block stays
verifiable. Format: docs/spec/captures.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
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

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ion.evidence.captures import Section

MAX_BLOCK = 1 << 28
_FASTEST = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST, window_log=18, hash_log=13, chain_log=6, search_log=1, min_match=7
)
"""For rows of numbers: a fifth less time than zstd's level 1 and the same size; higher levels gain nothing."""
_BAD_BLOCK = "bad-capture"


@dataclass(frozen=True, slots=True)
class Lines:
    """Rows of one key, ready to be sealed: ``text`` is their lines, joined by line ends.

    There are as many lines as ``rows``, or twice as many: then row ``i`` is line ``i``, ``;`` and line
    ``rows + i``. So columns that came apart (inputs, scores) need not be put together row by row.
    """

    text: bytes
    rows: int


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
        return seal_lines([(key, Lines(b"\n".join(data), len(data)))] if data else [], bytes(len(data)), aad)
    keys = {each.key_id: each for each in key}
    held: dict[str, list[bytes]] = {}
    for each, row in zip(key, data, strict=True):
        held.setdefault(each.key_id, []).append(row)
    numbers = {key_id: number for number, key_id in enumerate(held)}
    sections = [(keys[key_id], Lines(b"\n".join(part), len(part))) for key_id, part in held.items()]
    return seal_lines(sections, [numbers[each.key_id] for each in key], aad)


def seal_lines(sections: Sequence[tuple[CaptureKey, Lines]], places: Sequence[int], aad: bytes) -> bytes:
    """Return the encrypted block of rows that are joined already; ``places`` has the section number of each row.

    Raises:
        IonError: ``bad-capture`` when lines and rows do not fit, or they are too many or too large for one block.
    """
    if sum(len(lines.text) for _, lines in sections) > MAX_BLOCK or len(places) > MAX_ROWS:
        limit = f"{MAX_ROWS} rows or {MAX_BLOCK} bytes"
        raise IonError(_BAD_BLOCK, f"the rows are more than {limit}", "seal fewer rows at a time")
    compressor = zstandard.ZstdCompressor(compression_params=_FASTEST)
    plains = []
    for _, lines in sections:
        if lines.text.count(b"\n") + 1 not in {lines.rows, 2 * lines.rows}:
            raise IonError(_BAD_BLOCK, "there are not as many lines as rows say")
        plains.append(compressor.compress(lines.text))
    entries = [
        (key.key_id, os.urandom(NONCE_BYTES), lines.rows, len(plain) + TAG_BYTES)
        for (key, lines), plain in zip(sections, plains, strict=True)
    ]
    header = block_header(entries, places)
    bound = header_digest(header) + aad
    return b"".join(
        (
            header,
            *(
                AESGCM(key.secret).encrypt(nonce, plain, bound)
                for (key, _), plain, (_, nonce, _, _) in zip(sections, plains, entries, strict=True)
            ),
        )
    )


def open_block(block: bytes, keys: CaptureKey | Iterable[CaptureKey], aad: bytes) -> list[bytes]:
    """Return all rows, in order.

    Raises:
        IonError: ``bad-capture`` for damage, a missing or other key, or another ``aad``.
    """
    directory = read_directory(block)
    known = {each.key_id: each for each in ([keys] if isinstance(keys, CaptureKey) else keys)}
    bound = directory.digest + aad
    opened = [iter(_rows(block, section, known.get(section.key_id), bound)) for section in directory.sections]
    return [next(opened[place]) for place in directory.places]


def open_row(block: bytes, key: CaptureKey, index: int, aad: bytes) -> bytes:
    """Return the row at ``index`` (from 0), opening only its section.

    Raises:
        IonError: ``bad-capture`` as for `open_block`, ``no-such-row``.
    """
    directory = read_directory(block)
    section, position = directory.place(index)
    return _rows(block, section, key, directory.digest + aad)[position]


def _rows(block: bytes, section: Section, key: CaptureKey | None, bound: bytes) -> list[bytes]:
    if key is None or section.key_id != key.key_id:
        raise IonError(_BAD_BLOCK, f"sealed with key {section.key_id}", "fetch that key, if it still exists")
    try:
        plain = AESGCM(key.secret).decrypt(section.nonce, block[section.start : section.end], bound)
    except InvalidTag as error:
        raise IonError(_BAD_BLOCK, "the block is damaged, or belongs elsewhere") from error
    # From here on the bytes are those a key holder sealed.
    lines = zstandard.ZstdDecompressor().decompress(plain, max_output_size=MAX_BLOCK).split(b"\n")
    if len(lines) == section.rows:
        return lines
    return [head + b";" + tail for head, tail in zip(lines[: section.rows], lines[section.rows :], strict=True)]
