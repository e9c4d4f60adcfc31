"""The deletable table of capture keys: kept, found by person, destroyed. Facts never hold a key."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import DBAPIError

from ion.evidence.captures import CaptureKey
from ion.facts import CaptureErased
from ion.records import read_record
from ion.store import schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy import Connection, Engine

    from ion.records import Record

T = TypeVar("T")
_STEP = 500
_LOCK_WAIT = "5s"


def keep(connection: Connection, keys: Sequence[CaptureKey]) -> int:
    """Keep keys that are neither here nor erased; returns how many. Needs the head lock.

    An erased key never comes back, whoever still has a copy: the fact of its erasure is looked up.
    """
    kept = 0
    for part in _steps(keys):
        ids = [key.key_id for key in part]
        table, mention = schema.capture_key, schema.mention
        known = set(connection.execute(select(table.c.key).where(table.c.key.in_(ids))).scalars())
        erased = select(mention.c.subject).where(mention.c.subject.in_(ids), mention.c.kind == CaptureErased.__name__)
        known.update(connection.execute(erased).scalars())
        fresh = {key.key_id: key for key in part if key.key_id not in known}
        if fresh:
            rows = [{"key": key.key_id, "secret": key.secret, "subject": key.subject} for key in fresh.values()]
            connection.execute(insert(table), rows)
        kept += len(fresh)
    return kept


def kept(connection: Connection, key_id: str) -> CaptureKey | None:
    """Return a key, or None when it was never here or was erased."""
    table = schema.capture_key
    row = connection.execute(select(table.c.secret, table.c.subject).where(table.c.key == key_id)).first()
    return None if row is None else CaptureKey(key_id, bytes(row.secret), row.subject)


def of_subject(connection: Connection, tag: str) -> list[str]:
    """Return the ids of all keys of a person (`ion.serving.subject`), sorted."""
    table = schema.capture_key
    return list(connection.execute(select(table.c.key).where(table.c.subject == tag).order_by(table.c.key)).scalars())


def destroy(connection: Connection, key_ids: Collection[str]) -> list[str]:
    """Delete keys; returns the ids of those that were here, sorted. SQLite overwrites their bytes."""
    table = schema.capture_key
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    found: list[str] = []
    for part in _steps(sorted(key_ids)):
        there = connection.execute(select(table.c.key).where(table.c.key.in_(part))).scalars().all()
        connection.execute(delete(table).where(table.c.key.in_(part)))
        found += there
    return sorted(found)


def repeats(connection: Connection, fact_ids: Sequence[str]) -> list[Record]:
    """Return the records under these fact ids but the first of each: what they seal, they sealed again."""
    table = schema.fact
    found: list[Record] = []
    for part in _steps(fact_ids):
        query = select(table.c.raw).where(table.c.id.in_(part), table.c.first.is_(False)).order_by(table.c.position)
        found += [read_record(bytes(raw)) for raw in connection.execute(query).scalars()]
    return found


def clear_copies(engine: Engine) -> bool:
    """Remove what the database still holds of deleted rows; False when somebody's reading prevented it.

    SQLite: the write-ahead log is folded in and cut. PostgreSQL: the table is written anew (its own
    log, and copies made of either, are out of reach).
    """
    with suppress(DBAPIError), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if connection.dialect.name == "sqlite":
            row = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").first()
            return row is not None and not row[0]
        connection.exec_driver_sql(f"SET lock_timeout = '{_LOCK_WAIT}'")
        try:
            connection.exec_driver_sql(f"VACUUM (FULL) {schema.capture_key.name}")
        finally:
            connection.exec_driver_sql("RESET lock_timeout")
        return True
    return False


def _steps(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _STEP):
        yield items[start : start + _STEP]
