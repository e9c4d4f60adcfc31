"""Tables. Facts, agents and blocks are the record; everything under "projections" can be rebuilt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    cast,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


class Bytes(TypeDecorator[bytes]):
    """Bytes that are read as bytes, also where somebody put text of the same name into SQLite."""

    impl = LargeBinary
    cache_ok = True

    def column_expression(self, column: ColumnElement[bytes]) -> ColumnElement[bytes]:
        """Cast on reading: SQLite keeps whatever type it was given, and its driver fails on torn text."""
        return cast(column, LargeBinary)


metadata = MetaData()
_POSITION = BigInteger().with_variant(Integer(), "sqlite")

meta = Table(
    "ion_meta",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)
"""``format`` (refused when foreign) and ``store`` (the store's own agent name)."""

revision = Table(
    "ion_revision",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="ion_revision_pkc"),
)
"""One row: the migration that these tables came with. Alembic's own table, under a name that no other program uses."""

head = Table(
    "ion_head",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("position", _POSITION, nullable=False),
    Column("link", Bytes, nullable=False),
)
"""One row; every append locks it first, so positions are dense and in link order."""

fact = Table(
    "ion_fact",
    metadata,
    Column("position", _POSITION, primary_key=True, autoincrement=False),
    Column("id", String, nullable=False, index=True),
    Column("agent", String, nullable=False),
    Column("seq", _POSITION, nullable=False),
    Column("kind", String, nullable=False),
    Column("us", BigInteger, nullable=False),
    Column("first", Boolean, nullable=False, comment="false when the same fact id came before"),
    Column("raw", Bytes, nullable=False),
    Column("link", Bytes, nullable=False),
    UniqueConstraint("agent", "seq"),
    Index("ion_fact_kind", "kind", "position"),
)

agent = Table(
    "ion_agent",
    metadata,
    Column("agent", String, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("us", BigInteger, nullable=False),
)
"""The acknowledged head of each agent: a truncated spool is noticed."""

block = Table(
    "ion_block",
    metadata,
    Column("digest", String, primary_key=True),
    Column("body", Bytes, nullable=False),
)
"""Ciphertext of captured and quarantined rows; facts hold the digests."""

points = Table(
    "ion_points",
    metadata,
    Column("run", String, primary_key=True),
    Column("series", String, primary_key=True),
    Column("last", _POSITION, primary_key=True, autoincrement=False, comment="of its points' times, in microseconds"),
    Column("first", _POSITION, primary_key=True, autoincrement=False),
    Column("position", _POSITION, primary_key=True, autoincrement=False, comment="of the first fact that told them"),
    Column("epoch", String, primary_key=True),
    Column("n", Integer, nullable=False),
    Column("leaves", Bytes, nullable=False, comment="a column of (position, number of points), empty for one leaf"),
    Column("digest", Bytes, nullable=False),
    Column("body", Bytes, nullable=False),
)
"""Points of statistics as columns; facts hold the digests of the leaves. See `ion.store.points`."""

capture_key = Table(
    "ion_capture_key",
    metadata,
    Column("key", String, primary_key=True),
    Column("secret", Bytes, nullable=False),
    Column("subject", String, nullable=False, index=True, comment="keyed tag of a person, or empty"),
)
"""Deleting a row here erases what was captured under it; facts stay verifiable."""

tile = Table(
    "ion_tile",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("index", _POSITION, primary_key=True, autoincrement=False),
    Column("hashes", Bytes, nullable=False),
)
"""Up to 256 hashes of the Merkle tree over the records, written with checkpoints. Nothing is lost without them."""

# Projections --------------------------------------------------------------------------------

mention = Table(
    "ion_mention",
    metadata,
    Column("subject", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("position", _POSITION, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
"""Which facts speak of what."""

prediction_range = Table(
    "ion_prediction_range",
    metadata,
    Column("epoch", String, primary_key=True),
    Column("first", _POSITION, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("position", _POSITION, nullable=False),
)

captured_range = Table(
    "ion_captured_range",
    metadata,
    Column("epoch", String, primary_key=True),
    Column("first", _POSITION, primary_key=True, autoincrement=False),
    Column("position", _POSITION, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
)
"""Which predictions' inputs were captured, and by which fact."""

candidate = Table(
    "ion_candidate",
    metadata,
    Column("model", String, primary_key=True),
    Column("run", String, primary_key=True),
    Column("node", String, nullable=False),
    Column("position", _POSITION, nullable=False),
    Column("verdict", String, nullable=False),
)
"""``verdict`` is empty until the first decision, and ``defer`` as long as the candidate is put off for any node."""

put_off = Table(
    "ion_put_off",
    metadata,
    Column("model", String, primary_key=True),
    Column("run", String, primary_key=True),
    Column("node", String, primary_key=True),
)
"""Candidates whose newest decision for a node is ``defer``: people may approve for one node and not for another."""

current = Table(
    "ion_current",
    metadata,
    Column("node", String, primary_key=True),
    Column("serial", BigInteger, nullable=False),
    Column("model", String, nullable=False),
    Column("run", String, nullable=False),
    Column("decision", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("halted", Boolean, nullable=False),
)
"""What each inference node should serve now."""

cause = Table(
    "ion_cause",
    metadata,
    Column("cause", String, primary_key=True),
    Column("node", String, primary_key=True),
    Column("serial", BigInteger, nullable=False),
    UniqueConstraint("node", "serial"),
)
"""A cause changes a node once: the database enforces it."""

PROJECTIONS = (mention, prediction_range, captured_range, candidate, put_off, current, cause)
