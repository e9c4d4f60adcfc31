"""Points of statistics in the database: a row per run, series and leaf, later packed into fewer, larger rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import bindparam, delete, func, insert, select

from ion.errors import IonError
from ion.facts import StatisticsCompacted, StatisticsRecorded
from ion.points import Points, leaf_digest, read_block, read_column, write_column
from ion.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Row

SEALED_POINTS = 8192
"""Rows of at least so many points are left as they are: a look at one hour unpacks little."""
_ROWS_AT_ONCE = 5000
_TABLE = schema.points


def keep(connection: Connection, position: int, fact: StatisticsRecorded, block: bytes) -> str:
    """Keep the points of the leaf at ``position``; returns why they are not what the fact says, or nothing."""
    try:
        columns = read_block(block)
        unpacked = [read_column(column) for column in columns]
        told = [(str(row["name"]), row["n"], row["first"], row["last"]) for row in fact.series]
    except (IonError, KeyError, TypeError) as error:
        return str(error)
    found = [(len(points), int(points.times[0]), int(points.times[-1])) for points in unpacked if len(points)]
    names = [name for name, *_ in told]
    if found != [(n, first, last) for _, n, first, last in told] or len(set(names)) != len(names):
        return "they are not as many, or not of the times, that the fact says"
    digests = [points.digest() for points in unpacked]
    if leaf_digest(digests) != fact.digest:
        return "they do not have the digest that the fact names"
    rows = [
        {
            "run": fact.run,
            "series": name,
            "last": int(points.times.max()),
            "first": int(points.times.min()),
            "position": position,
            "epoch": fact.epoch,
            "n": len(points),
            "leaves": b"",
            "digest": digest,
            "body": column,
        }
        for name, points, digest, column in zip(names, unpacked, digests, columns, strict=True)
    ]
    if rows:
        connection.execute(insert(_TABLE), rows)
    return ""


def read(
    connection: Connection, run: str, series: str, first: int | None, last: int | None, epoch: str | None = None
) -> Points:
    """Return the points of a series from ``first`` to ``last`` (µs UTC, both included), in the order of their times.

    Of one ``epoch`` if given: an empty text means those told outside of any.

    Raises:
        IonError: ``points-differ`` when stored points are not those that were told.
    """
    wanted = (_TABLE.c.run == run) & (_TABLE.c.series == series)
    if epoch is not None:
        wanted &= _TABLE.c.epoch == epoch
    if first is not None:
        wanted &= _TABLE.c.last >= first
    if last is not None:
        wanted &= _TABLE.c.first <= last
    query = select(_TABLE).where(wanted).order_by(_TABLE.c.last, _TABLE.c.first, _TABLE.c.position)
    parts = [checked(row) for row in connection.execute(query)]
    found = Points.joined(parts)
    inside = np.ones(len(found), bool)
    if first is not None:
        inside &= found.times >= first
    if last is not None:
        inside &= found.times <= last
    order = np.flatnonzero(inside)
    order = order[np.argsort(found.times[order], kind="stable")]
    return Points(found.times[order], found.values[order])


def checked(row: Row[tuple[object, ...]]) -> Points:
    """Return the points of a row, once they have the digest that stands beside them.

    Raises:
        IonError: ``points-differ``.
    """
    try:
        points = read_column(bytes(row.body))
    except IonError:
        points = None
    if points is None or points.digest() != bytes(row.digest):
        raise IonError(
            "points-differ",
            f"the stored points of {row.series} of the run {row.run} are not those that were told",
            "see `ion audit verify`; restore the store from a backup",
        )
    return points


def leaves_of(row: Row[tuple[object, ...]], points: Points) -> Iterator[tuple[int, Points]]:
    """Yield the leaves in a row: ``(position, points)``.

    Raises:
        IonError: ``bad-points``.
    """
    if not row.leaves:
        yield row.position, points
        return
    index = read_column(bytes(row.leaves))
    start = 0
    for position, count in zip(index.times.tolist(), index.values.tolist(), strict=True):
        end = start + int(count)
        yield position, Points(points.times[start:end], points.values[start:end])
        start = end
    if start != len(points):
        raise IonError("bad-points", "a packed row holds other points than its leaves")


def rows_by_run(connection: Connection) -> Iterator[tuple[str, list[Row[tuple[object, ...]]]]]:
    """Yield ``(run, rows)`` of everything stored."""
    runs = connection.execute(select(_TABLE.c.run).distinct().order_by(_TABLE.c.run)).scalars().all()
    for run in runs:
        yield run, list(connection.execute(select(_TABLE).where(_TABLE.c.run == run)))


def loose(connection: Connection) -> list[tuple[str, str, str]]:
    """Return (run, series, epoch) of what has rows to pack."""
    key = (_TABLE.c.run, _TABLE.c.series, _TABLE.c.epoch)
    query = select(*key).where(_TABLE.c.n < SEALED_POINTS).group_by(*key).having(func.count() > 1).order_by(*key)
    return [(run, series, epoch) for run, series, epoch in connection.execute(query)]


def compact(connection: Connection, run: str, series: str, epoch: str) -> StatisticsCompacted | None:
    """Pack loose rows of a series together; returns the fact that says so, None when there is nothing to gain.

    Every point stays as it is, and which leaf told it. At most some thousand rows at a time.

    Raises:
        IonError: ``points-differ``: rows that were altered are not packed.
    """
    table = _TABLE
    chosen = (table.c.run == run) & (table.c.series == series) & (table.c.epoch == epoch)
    # In the order of the key, so that the database need not sort what may be many rows.
    query = select(table).where(chosen, table.c.n < SEALED_POINTS)
    query = query.order_by(table.c.last, table.c.first, table.c.position).limit(_ROWS_AT_ONCE)
    parts = list(_portions(connection.execute(query).all()))
    if not parts:
        return None
    sealed = [_packed(part) for part in parts]
    rows = [row for part in parts for row in part]
    gone = [{"b_last": row.last, "b_first": row.first, "b_position": row.position} for row in rows]
    same = [getattr(table.c, name) == bindparam(f"b_{name}") for name in ("last", "first", "position")]
    connection.execute(delete(table).where(chosen, *same), gone)
    connection.execute(insert(table), sealed)
    return StatisticsCompacted(
        run=run,
        rows=len(rows),
        sealed=len(sealed),
        points=sum(row.n for row in rows),
        digest=leaf_digest(bytes(row["digest"]) for row in sealed),  # type: ignore[call-overload]
    )


def _portions(rows: Sequence[Row[tuple[object, ...]]]) -> Iterator[list[Row[tuple[object, ...]]]]:
    """Yield what becomes one row each: more than one row, and about as many points as a sealed one has."""
    part: list[Row[tuple[object, ...]]] = []
    count = 0
    for row in rows:
        part.append(row)
        count += row.n
        if count >= SEALED_POINTS:
            yield part
            part, count = [], 0
    if len(part) > 1:
        yield part


def _packed(rows: Sequence[Row[tuple[object, ...]]]) -> dict[str, object]:
    parts = [checked(row) for row in rows]
    together = Points.joined(parts)
    index = [
        (position, len(leaf))
        for row, points in zip(rows, parts, strict=True)
        for position, leaf in leaves_of(row, points)
    ]
    positions, counts = np.array([at for at, _ in index], np.int64), np.array([n for _, n in index], float)
    return {
        "run": rows[0].run,
        "series": rows[0].series,
        "last": int(together.times.max()),
        "first": int(together.times.min()),
        "position": rows[0].position,
        "epoch": rows[0].epoch,
        "n": len(together),
        "leaves": write_column(Points(positions, counts)),
        "digest": together.digest(),
        "body": write_column(together),
    }
