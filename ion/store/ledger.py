"""The facts as a ledger: records and links in order, with the columns beside them, and the tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import func, select

from ion.store import schema
from ion.store.reading import Filed
from ion.store.tiles import StoredTree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Engine

    from ion.facts import Fact
    from ion.ledger import Entry

_STEP = 1000
ORIGIN = "dagster-ion/"
"""What a log's name begins with; the store's own name follows."""


class StoredLedger:
    """Reads the facts of a store as a ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def origin(self) -> str:
        """Return the name of this log, as in its checkpoints."""
        query = select(schema.meta.c.value).where(schema.meta.c.name == "store")
        with self._engine.connect() as connection:
            return ORIGIN + str(connection.execute(query).scalar_one())

    def tree(self) -> StoredTree:
        """Return the Merkle tree over the records."""
        return StoredTree(self._engine)

    def batches(self, first: int = 1, last: int | None = None) -> Iterator[list[Entry]]:
        """Yield the entries at ``first`` to ``last`` in order, some at a time."""
        table = schema.fact
        for rows in self._partitions((table.c.position, table.c.raw, table.c.link), first, last):
            yield [(row[0], bytes(row[1]), bytes(row[2])) for row in rows]

    def entries(self, first: int = 1, last: int | None = None) -> Iterator[Entry]:
        """Yield the entries at ``first`` to ``last`` in order."""
        for batch in self.batches(first, last):
            yield from batch

    def filed(self, last: int) -> Iterator[list[tuple[Entry, Filed]]]:
        """Yield the entries up to ``last`` with what each is filed under, some at a time."""
        table = schema.fact
        names = ("position", "raw", "link", "id", "agent", "seq", "kind", "us", "first")
        for rows in self._partitions([table.c[name] for name in names], 1, last):
            yield [((row[0], bytes(row[1]), bytes(row[2])), Filed(row[0], *row[3:])) for row in rows]

    def last(self) -> int:
        """Return the highest position there is; more than that of the head when records were put behind it."""
        with self._engine.connect() as connection:
            return connection.execute(select(func.max(schema.fact.c.position))).scalar() or 0

    def position_of(self, fact_id: str) -> int | None:
        """Return where a fact was first recorded, or None."""
        query = select(func.min(schema.fact.c.position)).where(schema.fact.c.id == fact_id)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def since(self, position: int, besides: Sequence[type[Fact]]) -> int:
        """Return how many facts follow ``position``, not counting some kinds."""
        kinds = [kind.__name__ for kind in besides]
        table = schema.fact
        query = select(func.count(table.c.position)).where(table.c.position > position, table.c.kind.not_in(kinds))
        with self._engine.connect() as connection:
            return connection.execute(query).scalar_one()

    def _partitions(
        self, columns: Sequence[ColumnElement[Any]], first: int, last: int | None
    ) -> Iterator[Sequence[tuple[Any, ...]]]:
        place = schema.fact.c.position
        query = select(*columns).where(place >= first).order_by(place)
        if last is not None:
            query = query.where(place <= last)
        with self._engine.connect() as connection:
            rows = connection.execution_options(yield_per=_STEP).execute(query)
            yield from cast("Iterator[Sequence[tuple[Any, ...]]]", rows.partitions())
