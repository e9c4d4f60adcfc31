"""The tables as they were when migrations began."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = None

_POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them in an empty database."""
    _record()
    _projections()


def _record() -> None:
    op.create_table(
        "ion_meta",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
    op.create_table(
        "ion_head",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("position", _POSITION, nullable=False),
        sa.Column("link", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "ion_fact",
        sa.Column("position", _POSITION, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String, nullable=False, index=True),
        sa.Column("agent", sa.String, nullable=False),
        sa.Column("seq", _POSITION, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("us", sa.BigInteger, nullable=False),
        sa.Column("first", sa.Boolean, nullable=False, comment="false when the same fact id came before"),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("link", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("agent", "seq"),
        sa.Index("ion_fact_kind", "kind", "position"),
    )
    op.create_table(
        "ion_agent",
        sa.Column("agent", sa.String, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ion_block",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "ion_capture_key",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("subject", sa.String, nullable=False, index=True, comment="keyed tag of a person, or empty"),
    )
    op.create_table(
        "ion_tile",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("index", _POSITION, primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )


def _projections() -> None:
    op.create_table(
        "ion_mention",
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("position", _POSITION, primary_key=True, autoincrement=False),
    )
    op.create_table(
        "ion_prediction_range",
        sa.Column("epoch", sa.String, primary_key=True),
        sa.Column("first", _POSITION, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("position", _POSITION, nullable=False),
    )
    op.create_table(
        "ion_candidate",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("run", sa.String, primary_key=True),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("position", _POSITION, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
    )
    op.create_table(
        "ion_put_off",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("run", sa.String, primary_key=True),
        sa.Column("node", sa.String, primary_key=True),
    )
    op.create_table(
        "ion_current",
        sa.Column("node", sa.String, primary_key=True),
        sa.Column("serial", sa.BigInteger, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("run", sa.String, nullable=False),
        sa.Column("decision", sa.String, nullable=False),
        sa.Column("cause", sa.String, nullable=False),
        sa.Column("halted", sa.Boolean, nullable=False),
    )
    op.create_table(
        "ion_cause",
        sa.Column("cause", sa.String, primary_key=True),
        sa.Column("node", sa.String, primary_key=True),
        sa.Column("serial", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("node", "serial"),
    )
