"""Captured and quarantined rows that are old enough to go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import delete, func, select

from ion.facts import InputsCaptured, RowsQuarantined
from ion.records import read_record
from ion.store import choosing, schema
from ion.store.choosing import Arrivals, Asked, Chosen, Place
from ion.store.holds import Holds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Delete

_STEP = 500
_NAMED_BY: Final = {"captures": InputsCaptured, "quarantine": RowsQuarantined}


def choose_blocks(connection: Connection, asked: Asked, after: Place) -> Chosen:
    """Choose the next blocks named by facts behind the position ``after``."""
    chosen = Chosen(after)
    sizes: dict[str, int] = {}
    holds = Holds(connection)
    for position, fact, size in _old(connection, asked, after[0]):
        chosen.reached = (position, "")
        epoch = fact.epoch if isinstance(fact, InputsCaptured) else ""
        if asked.node and holds.node(fact.run, epoch) != asked.node:
            continue
        if reason := holds.reason(fact.run, epoch):
            chosen.keep(reason)
            continue
        chosen.positions.add(position)
        sizes[fact.block] = size
        if len(chosen.positions) == choosing.MOST:
            chosen.more = True
            break
    chosen.bodies, chosen.size = len(sizes), sum(sizes.values())
    chosen.deletions = lambda: _deletions(sorted(sizes))
    return chosen


def _deletions(digests: list[str]) -> Iterator[Delete]:
    table = schema.block
    for start in range(0, len(digests), _STEP):
        yield delete(table).where(table.c.digest.in_(digests[start : start + _STEP]))


def _old(
    connection: Connection, asked: Asked, after: int
) -> Iterator[tuple[int, InputsCaptured | RowsQuarantined, int]]:
    """Yield ``(position, fact, bytes)`` of every body of the kind that is here and old enough."""
    table, block, arrivals = schema.fact, schema.block, Arrivals(connection)
    query = select(table.c.position, table.c.us, table.c.raw).where(table.c.kind == _NAMED_BY[asked.kind].__name__)
    query = query.order_by(table.c.position).limit(_STEP)
    while rows := connection.execute(query.where(table.c.position > after)).all():
        after = rows[-1].position
        old = [
            (row.position, cast("InputsCaptured | RowsQuarantined", read_record(bytes(row.raw)).fact))
            for row in rows
            if arrivals.since(row.position, row.us) < asked.before
        ]
        here = select(block.c.digest, func.length(block.c.body)).where(block.c.digest.in_({f.block for _, f in old}))
        sizes = {row[0]: row[1] for row in connection.execute(here)}
        yield from ((position, fact, sizes[fact.block]) for position, fact in old if fact.block in sizes)
