"""A fold of given records from nothing, in memory: what the projections ought to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import create_engine, select

from ion.store import schema
from ion.store.appending import first_of_each
from ion.store.projections import fold

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ion.records import Record


def refold(records: Iterable[tuple[int, Record]]) -> dict[str, list[tuple[object, ...]]]:
    """Return every projection's rows as `GovernanceStore.projections` does, folded from ``(position, record)``.

    Nothing of any store is read or changed.
    """
    engine = create_engine("sqlite://")
    try:
        schema.metadata.create_all(engine)
        with engine.begin() as connection:
            fold(connection, first_of_each(records, set()))
            return {
                table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
                for table in schema.PROJECTIONS
            }
    finally:
        engine.dispose()
