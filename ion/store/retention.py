"""Retention: bodies that grew old are removed, under the head lock and with a receipt among the facts.

Only bodies go: captured and quarantined rows, and the points of statistics. The facts that name them stay, so the
ledger verifies as before; the receipt's listing says of each missing body that it went, and when.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import insert

from ion.canonical import digest_bytes
from ion.facts import RetentionApplied
from ion.ids import new_id
from ion.store import schema
from ion.store.appending import Append
from ion.store.connection import writing
from ion.store.listing import retention_of, write_listing
from ion.store.old_blocks import choose_blocks
from ion.store.old_points import choose_points

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from ion.clock import Clock
    from ion.records import Recorded
    from ion.store.choosing import Asked, Chosen, Place


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
        told, more = Gone(), True
        after: Place = (0, "")
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
    connection: Connection, asked: Asked, after: Place, told: Gone, step: Append | None = None
) -> tuple[Place, bool]:
    """Remove the next bodies; returns how far it came, and whether more may follow."""
    choose = choose_points if asked.kind == "statistics" else choose_blocks
    chosen = choose(connection, asked, after)
    for reason, count in chosen.kept.items():
        told.kept[reason] = told.kept.get(reason, 0) + count
    told.bodies += chosen.bodies
    told.size += chosen.size
    if chosen.positions and step is not None:
        told.receipts.append(_remove(connection, step, asked, chosen))
    return chosen.reached, chosen.more


def _remove(connection: Connection, step: Append, asked: Asked, chosen: Chosen) -> str:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")  # rows of people, though encrypted
    for statement in chosen.deletions():
        connection.execute(statement)
    listing = write_listing(asked.kind, chosen.positions)
    connection.execute(insert(schema.block).values(digest=digest_bytes(listing), body=listing))
    fact = RetentionApplied(
        retention=new_id(),
        kind=asked.kind,
        before=asked.before,
        floor=asked.floor,
        bodies=chosen.bodies,
        size=chosen.size,
        first=min(chosen.positions),
        last=max(chosen.positions),
        listing=digest_bytes(listing),
        kept=dict(chosen.kept),
        by=asked.by,
        node=asked.node,
    )
    step.own(fact, new_id())
    step.finish()
    return fact.retention
