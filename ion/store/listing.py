"""The listing of a retention: the positions of the facts whose bodies went, as a block (docs/spec/retention.md)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import select

from ion.canonical import canonical_bytes, digest_bytes
from ion.errors import IonError
from ion.facts import RetentionApplied
from ion.store import schema
from ion.store.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from ion.records import Recorded

FORMAT = "ion-retained/1"


def write_listing(kind: str, positions: Iterable[int]) -> bytes:
    """Return the bytes of a listing."""
    return canonical_bytes({"format": FORMAT, "kind": kind, "facts": sorted(positions)})


def read_listing(body: bytes | None, receipt: RetentionApplied) -> frozenset[int]:
    """Return the positions that a receipt's listing names.

    Raises:
        IonError: ``bad-listing`` when it is not here, or not the one that the receipt means.
    """
    try:
        value = json.loads(body or b"")
        found = frozenset(int(position) for position in value["facts"])
        meant = (value["format"], value["kind"], digest_bytes(body or b"")) == (FORMAT, receipt.kind, receipt.listing)
    except (ValueError, KeyError, TypeError):
        found, meant = frozenset(), False
    if not meant or not found:
        told = f"the listing of the retention {receipt.retention} is missing or not the one that was written"
        raise IonError("bad-listing", told, "see `ion audit verify`")
    return found


def retention_of(connection: Connection, position: int) -> Recorded[RetentionApplied] | None:
    """Return the retention that removed the body which the fact at ``position`` names, or None."""
    for record in Reader(connection).find(RetentionApplied, newest_first=True):
        if record.fact.first <= position <= record.fact.last:
            query = select(schema.block.c.body).where(schema.block.c.digest == record.fact.listing)
            body = connection.execute(query).scalar()
            try:
                if position in read_listing(None if body is None else bytes(body), record.fact):
                    return record
            except IonError:
                continue
    return None
