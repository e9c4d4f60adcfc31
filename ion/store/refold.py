"""A fold of the records from nothing, beside the store: what the projections ought to be."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sqlalchemy import create_engine, delete, event, except_, func, insert, select

from ion.records import read_record
from ion.store import schema
from ion.store.appending import first_of_each
from ion.store.projections import fold
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from sqlalchemy import Connection, Engine, Table

    from ion.records import Record

_SHOWN = 3
_STEP = 1000


def fold_all(connection: Connection) -> int:
    """Empty the projections, fold all facts again and forget the tree; returns how many facts there are."""
    for table in (*schema.PROJECTIONS, schema.tile):
        connection.execute(delete(table))
    seen: set[str] = set()
    last, count = 0, 0
    columns = (schema.fact.c.position, schema.fact.c.raw)
    query = select(*columns).order_by(columns[0]).limit(_STEP)
    while rows := connection.execute(query.where(columns[0] > last)).all():
        batch = [(row.position, read_record(bytes(row.raw))) for row in rows]
        fold(connection, first_of_each(batch, seen))
        last, count = rows[-1].position, count + len(rows)
    return count


@dataclass(frozen=True, slots=True)
class Difference:
    """How a projection differs from the fold: row counts, and the first few rows of either side."""

    missing: int
    extra: int
    shown_missing: list[tuple[object, ...]]
    shown_extra: list[tuple[object, ...]]


class Refold:
    """Folds records into a database of its own, a file that is gone afterwards; use it as a context.

    Nothing of the store is changed. ``seen`` holds the id of every fact so far.
    """

    def __init__(self, store: Engine) -> None:
        self._store = store
        self.seen: set[str] = set()

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="ion-refold-")
        self._engine = create_engine(f"sqlite:///{Path(self._folder.name) / 'fold.db'}")
        event.listen(self._engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
        schema.metadata.create_all(self._engine)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()
        self._folder.cleanup()

    def add(self, records: Iterable[tuple[int, Record]]) -> None:
        """Fold the next ``(position, record)`` pairs; all of them or none."""
        with self._engine.begin() as connection:
            fold(connection, first_of_each(records, self.seen))

    def differences(self) -> dict[str, Difference]:
        """Compare with the projections as they are now: those that differ, by name."""
        found: dict[str, Difference] = {}
        with self._store.connect() as kept, self._engine.begin() as fresh:
            for table in schema.PROJECTIONS:
                difference = _difference(kept, fresh, table)
                if difference.missing or difference.extra:
                    found[table.name] = difference
        return found


def _difference(kept: Connection, fresh: Connection, table: Table) -> Difference:
    copy = table.to_metadata(schema.metadata.__class__(), name=f"kept_{table.name}")
    for index in list(copy.indexes):
        copy.indexes.remove(index)
    copy.constraints.clear()
    copy.drop(fresh, checkfirst=True)
    copy.create(fresh)
    rows = kept.execution_options(yield_per=_STEP).execute(select(table))
    for part in rows.partitions():
        fresh.execute(insert(copy), [row._asdict() for row in part])
    missing, extra = except_(select(table), select(copy)), except_(select(copy), select(table))

    def told(query: object) -> tuple[int, list[tuple[object, ...]]]:
        both = query.subquery()  # type: ignore[attr-defined]
        count = fresh.execute(select(func.count()).select_from(both)).scalar_one()
        return count, [tuple(row) for row in fresh.execute(select(both).limit(_SHOWN))] if count else []

    (lacking, shown_missing), (surplus, shown_extra) = told(missing), told(extra)
    return Difference(lacking, surplus, shown_missing, shown_extra)
