"""Retention: bodies that grew old are removed, under the head lock and with a receipt among the facts.

Only bodies go: captured and quarantined rows, and the points of statistics. The facts that name them stay, so the
ledger verifies as before; the receipt's listing says of each missing body that it went, and when.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import delete, func, insert, select

from ion.canonical import digest_bytes
from ion.facts import InputsCaptured, RetentionApplied, RowsQuarantined
from ion.ids import new_id
from ion.records import read_record
from ion.store import schema
from ion.store.appending import Append
from ion.store.connection import writing
from ion.store.holds import Holds
from ion.store.listing import retention_of, write_listing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Engine

    from ion.clock import Clock
    from ion.records import Recorded
    from ion.store.floors import Kind

_MOST = 10_000
_STEP = 500
_NAMED_BY: Final = {"captures": InputsCaptured, "quarantine": RowsQuarantined}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to go: bodies of a kind older than ``before`` (µs), at one node or (empty) everywhere, and by whom."""

    kind: Kind
    before: int
    floor: int
    by: str
    node: str = ""


@dataclass(slots=True)
class Gone:
    """What went, or would go: bodies, their bytes, receipts; and how many had to stay, by reason."""

    bodies: int = 0
    size: int = 0
    receipts: list[str] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)


class Retention:
    """Removes bodies of one store."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def apply(self, asked: Asked, *, dry_run: bool = False) -> Gone:
        """Remove what is asked for, some thousand bodies in one transaction; each leaves a receipt.

        Asking again removes nothing more. Interrupted, it has removed what its receipts say. With ``dry_run``
        nothing changes.

        Raises:
            IonError: ``store-unreachable``.
        """
        told, after, more = Gone(), 0, True
        while more:
            if dry_run:
                with self._engine.connect() as connection:
                    after, more = _portion(connection, asked, after, told)
            else:
                with writing(self._engine) as connection:
                    after, more = _portion(connection, asked, after, told, Append(connection, self._clock))
        return told

    def of(self, position: int) -> Recorded[RetentionApplied] | None:
        """Return the receipt of what removed the body that the fact at a position names, or None."""
        with self._engine.connect() as connection:
            return retention_of(connection, position)


def _portion(
    connection: Connection, asked: Asked, after: int, told: Gone, step: Append | None = None
) -> tuple[int, bool]:
    """Remove the next bodies; returns the last position looked at, and whether more may follow."""
    chosen: dict[int, str] = {}
    sizes: dict[str, int] = {}
    kept: dict[str, int] = {}
    last, holds = after, Holds(connection)
    for last, fact, size in _old_bodies(connection, asked, after):
        epoch = fact.epoch if isinstance(fact, InputsCaptured) else ""
        if asked.node and holds.node(fact.run, epoch) != asked.node:
            continue
        if reason := holds.reason(fact.run, epoch):
            kept[reason] = kept.get(reason, 0) + 1
            continue
        chosen[last], sizes[fact.block] = fact.block, size
        if len(chosen) == _MOST:
            break
    for reason, count in kept.items():
        told.kept[reason] = told.kept.get(reason, 0) + count
    told.bodies += len(sizes)
    told.size += sum(sizes.values())
    if chosen and step is not None:
        told.receipts.append(_remove(connection, step, asked, chosen, sum(sizes.values()), kept))
    return last, len(chosen) == _MOST


def _old_bodies(
    connection: Connection, asked: Asked, after: int
) -> Iterator[tuple[int, InputsCaptured | RowsQuarantined, int]]:
    """Yield ``(position, fact, bytes)`` of every body of the kind that is here and old enough to go.

    A fact is as old as it says, but not older than what the store itself had recorded before it: who tells
    facts with a clock that is behind does not have them removed early.
    """
    table, block = schema.fact, schema.block
    own = select(schema.meta.c.value).where(schema.meta.c.name == "store").scalar_subquery()
    told = select(table.c.position, table.c.us).where(table.c.agent == own).order_by(table.c.position)
    ours = [(row.position, row.us) for row in connection.execute(told)]
    places = [position for position, _ in ours]
    reached = list(accumulate((us for _, us in ours), max))
    query = select(table.c.position, table.c.us, table.c.raw).where(table.c.kind == _NAMED_BY[asked.kind].__name__)
    query = query.order_by(table.c.position).limit(_STEP)
    while rows := connection.execute(query.where(table.c.position > after)).all():
        after = rows[-1].position
        old: list[tuple[int, InputsCaptured | RowsQuarantined]] = []
        for row in rows:
            before = bisect_left(places, row.position)
            if max(row.us, reached[before - 1] if before else 0) < asked.before:
                old.append((row.position, cast("InputsCaptured", read_record(bytes(row.raw)).fact)))
        here = select(block.c.digest, func.length(block.c.body))
        sizes = {
            row[0]: row[1] for row in connection.execute(here.where(block.c.digest.in_({f.block for _, f in old})))
        }
        yield from ((position, fact, sizes[fact.block]) for position, fact in old if fact.block in sizes)


def _remove(
    connection: Connection, step: Append, asked: Asked, chosen: Mapping[int, str], size: int, kept: Mapping[str, int]
) -> str:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")  # rows of people, though encrypted
    digests = sorted(set(chosen.values()))
    table = schema.block
    for start in range(0, len(digests), _STEP):
        connection.execute(delete(table).where(table.c.digest.in_(digests[start : start + _STEP])))
    listing = write_listing(asked.kind, chosen)
    connection.execute(insert(table).values(digest=digest_bytes(listing), body=listing))
    fact = RetentionApplied(
        retention=new_id(),
        kind=asked.kind,
        before=asked.before,
        floor=asked.floor,
        bodies=len(digests),
        size=size,
        first=min(chosen),
        last=max(chosen),
        listing=digest_bytes(listing),
        kept=dict(kept),
        by=asked.by,
        node=asked.node,
    )
    step.own(fact, new_id())
    step.finish()
    return fact.retention
