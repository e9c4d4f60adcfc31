"""The body of a request with facts: spool frames, told in parts that a server takes (docs/spec/receiver.md)."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from ion.agent.frames import FIRST_LINK, framed
from ion.canonical import digest_bytes
from ion.facts import StatisticsRecorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ion.facts import Fact
    from ion.records import Record

SPOOL_TYPE = "application/vnd.dagster-ion.spool"
"""Media type of spool frames (docs/spec/spool.md)."""

_MOST_BYTES = 16 * 1024 * 1024
"""Of frames in one body, unless one fact alone is larger."""


def block_name(fact: Fact, block: bytes) -> str:
    """Return what a frame's block is called: as the fact calls its points, by its bytes otherwise."""
    return fact.digest if isinstance(fact, StatisticsRecorded) else digest_bytes(block)


def frames_of(records: Sequence[Record], blocks: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the frames of each agent in order, in parts that a server takes; each part begins its own chain."""
    named = [_named(record, blocks) for record in records]
    left = [body for digest, body in blocks.items() if digest not in set(named)]
    parts: list[bytes] = []
    agent, size, link = "", 0, FIRST_LINK
    for record, digest in zip(records, named, strict=True):
        # A block whose fact names another digest is told all the same: the store raises an alert.
        block = blocks[digest] if digest else left.pop() if left else b""
        frame, after = framed(link, record.raw, block)
        if parts and (record.agent != agent or size + len(frame) > _MOST_BYTES):
            yield agent, b"".join(parts)
            parts, size = [], 0
            frame, after = framed(FIRST_LINK, record.raw, block)
        agent, link, size = record.agent, after, size + len(frame)
        parts.append(frame)
    if parts:
        yield agent, b"".join(parts)


def _named(record: Record, blocks: Mapping[str, bytes]) -> str:
    """Return the digest of the block that a fact names, or an empty text."""
    if not blocks:
        return ""
    values = (getattr(record.fact, item.name) for item in fields(record.fact))
    return next((value for value in values if isinstance(value, str) and value in blocks), "")
