"""Points of statistics in a table of their own; those that stand in facts are put there, too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa
from alembic import op

from ion.points import Points, write_column

if TYPE_CHECKING:
    from collections.abc import Iterator

revision = "3"
down_revision = "2"

_POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_STEP = 100


def upgrade() -> None:
    """Make the table and fill it; the facts stay as they are. Mentions stand once on SQLite's disk, no longer twice."""
    if op.get_bind().dialect.name == "sqlite":
        _mentions()
    table = op.create_table(
        "ion_points",
        sa.Column("run", sa.String, primary_key=True),
        sa.Column("series", sa.String, primary_key=True),
        sa.Column(
            "last", _POSITION, primary_key=True, autoincrement=False, comment="of its points' times, in microseconds"
        ),
        sa.Column("first", _POSITION, primary_key=True, autoincrement=False),
        sa.Column(
            "position", _POSITION, primary_key=True, autoincrement=False, comment="of the first fact that told them"
        ),
        sa.Column("epoch", sa.String, primary_key=True),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column(
            "leaves",
            sa.LargeBinary,
            nullable=False,
            comment="a column of (position, number of points), empty for one leaf",
        ),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    for facts in _facts("StatisticsRecorded"):
        op.bulk_insert(table, [_row(position, body) for position, body in facts])
    _captured()


def _captured() -> None:
    table = op.create_table(
        "ion_captured_range",
        sa.Column("epoch", sa.String, primary_key=True),
        sa.Column("first", _POSITION, primary_key=True, autoincrement=False),
        sa.Column("position", _POSITION, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    for facts in _facts("InputsCaptured"):
        op.bulk_insert(
            table,
            [{**{name: body[name] for name in ("epoch", "first", "last")}, "position": at} for at, body in facts],
        )


def _mentions() -> None:
    op.rename_table("ion_mention", "ion_mention_2")
    op.create_table(
        "ion_mention",
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("position", _POSITION, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO ion_mention SELECT subject, kind, position FROM ion_mention_2")
    op.drop_table("ion_mention_2")


def _facts(kind: str) -> Iterator[list[tuple[int, dict[str, object]]]]:
    """Yield ``(position, body)`` of the facts of a kind, each told first there, some at a time."""
    fact = sa.table("ion_fact", *map(sa.column, ("position", "kind", "first", "raw")))
    query = sa.select(fact.c.position, fact.c.raw).where(fact.c.kind == kind, fact.c.first.is_(True))
    query = query.order_by(fact.c.position).limit(_STEP)
    last = 0
    while found := op.get_bind().execute(query.where(fact.c.position > last)).all():
        last = found[-1].position
        yield [(position, json.loads(raw)["body"]) for position, raw in found]


def _row(position: int, body: dict[str, object]) -> dict[str, object]:
    points = Points(np.array(body["times"], np.int64), np.array(body["values"], np.float64))
    return {
        "run": body["run"],
        "series": body["series"],
        "last": int(points.times.max()),
        "first": int(points.times.min()),
        "position": position,
        "epoch": body["epoch"],
        "n": len(points),
        "leaves": b"",
        "digest": points.digest(),
        "body": write_column(points),
    }
