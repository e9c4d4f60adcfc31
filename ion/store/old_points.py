"""Points of statistics that are old enough to go, by whole leaves: what stays can still be verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, func, select

from ion.points import read_column
from ion.store import choosing, schema
from ion.store.choosing import Arrivals, Asked, Chosen, Place
from ion.store.holds import Holds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Delete, Row

_TABLE = schema.points
_KEY = tuple(_TABLE.primary_key.columns)


def choose_points(connection: Connection, asked: Asked, after: Place) -> Chosen:
    """Choose the points of the next runs behind the run ``after``: rows of which every leaf can go wholly."""
    chosen = Chosen(after)
    going: list[Row[*tuple[Any, ...]]] = []
    holds, arrivals = Holds(connection), Arrivals(connection)
    runs = select(_TABLE.c.run).where(_TABLE.c.run > after[1], _TABLE.c.last < asked.before).distinct()
    for run in connection.execute(runs.order_by(_TABLE.c.run)).scalars().all():
        chosen.reached = (0, run)
        if asked.node and holds.node(run, "") != asked.node:
            continue
        rows, positions = _of_run(connection, asked, run, chosen, holds, arrivals)
        going += rows
        chosen.positions |= positions
        if len(chosen.positions) >= choosing.MOST:
            chosen.more = True
            break
    chosen.bodies, chosen.size = len(going), sum(row.size for row in going)
    chosen.deletions = lambda: _deletions(going)
    return chosen


def _of_run(
    connection: Connection, asked: Asked, run: str, chosen: Chosen, holds: Holds, arrivals: Arrivals
) -> tuple[list[Row[*tuple[Any, ...]]], set[int]]:
    """Return the rows of a run that go, and the positions of their leaves."""
    query = select(*_KEY, _TABLE.c.leaves, func.length(_TABLE.c.body).label("size")).where(_TABLE.c.run == run)
    found: Sequence[Row[*tuple[Any, ...]]] = connection.execute(query).all()
    rows = [(row, _positions(row)) for row in found]
    staying: set[int] = set()
    going = []
    for row, positions in rows:
        old = arrivals.since(max(positions), row.last) < asked.before
        reason = holds.of_points(run, row.epoch) if old else ""
        if reason:
            chosen.keep(reason)
        if reason or not old:
            staying |= positions
        else:
            going.append((row, positions))
    while bound := [(row, positions) for row, positions in going if positions & staying]:
        going = [(row, positions) for row, positions in going if not positions & staying]
        for _, positions in bound:  # a row that stays for one leaf keeps its others
            staying |= positions
    return [row for row, _ in going], {position for _, positions in going for position in positions}


def _positions(row: Row[*tuple[Any, ...]]) -> set[int]:
    return set(read_column(bytes(row.leaves)).times.tolist()) if row.leaves else {row.position}


def _deletions(rows: list[Row[*tuple[Any, ...]]]) -> Iterator[Delete]:
    for row in rows:
        yield delete(_TABLE).where(and_(*(column == getattr(row, column.name) for column in _KEY)))
