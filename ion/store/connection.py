"""Engines: SQLite in WAL mode with full synchronisation, or PostgreSQL through psycopg 3."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from ion.errors import IonError
from ion.ledger import GENESIS
from ion.store import schema

FORMAT = "dagster-ion/1"


def connect(url: str) -> Engine:
    """Return an engine on the store at ``url``, made if it is not there yet.

    Raises:
        IonError: ``bad-store-url``, ``store-unreachable`` or ``foreign-store``.
    """
    parsed = _checked_url(url)
    engine = create_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    if parsed.get_backend_name() == "sqlite":
        _configure_sqlite(engine)
    try:
        _prepare(engine, parsed)
    except DBAPIError as error:
        engine.dispose()
        shown = parsed.render_as_string(hide_password=True)
        raise IonError(
            "store-unreachable",
            f"cannot open the governance store {shown}: {error.orig}",
            "check ION_STORE_URL and the permissions of the folder; a foreign file is not touched",
        ) from error
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that holds the head lock before anything is read."""
    with engine.connect().execution_options(ion_write=True) as connection, connection.begin():
        if connection.dialect.name != "sqlite":
            connection.execute(select(schema.head.c.position).with_for_update())
        yield connection


def _checked_url(url: str) -> URL:
    hint = "use sqlite:////absolute/path/store.db or postgresql://user@host/database"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise IonError("bad-store-url", f"not a database URL: {url!r}", hint) from error
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise IonError("bad-store-url", f"unsupported store: {url!r}", hint)
    folder = Path(parsed.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IonError("store-unreachable", f"cannot make {folder}: {error}", hint) from error
    return parsed


def _configure_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:  # noqa: ANN401 - a DBAPI connection has no type
        connection.isolation_level = None  # SQLAlchemy's begin event decides how to begin
        connection.execute("PRAGMA busy_timeout=30000")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("ion_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _prepare(engine: Engine, url: URL) -> None:
    tables = set(inspect(engine).get_table_names())
    if schema.meta.name not in tables:
        if tables and url.get_backend_name() == "sqlite":
            raise _foreign(url, "it holds other tables")
        with engine.connect().execution_options(ion_write=True) as connection, connection.begin():
            if connection.dialect.name == "postgresql":  # two first users at once
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(739204117)")
            schema.metadata.create_all(connection)
            if connection.execute(select(schema.meta.c.value)).first() is None:
                store = f"store-{uuid.uuid4().hex[:12]}"
                rows = [{"name": "format", "value": FORMAT}, {"name": "store", "value": store}]
                connection.execute(insert(schema.meta), rows)
                connection.execute(insert(schema.head).values(id=1, position=0, link=GENESIS))
    with engine.connect() as connection:
        query = select(schema.meta.c.value).where(schema.meta.c.name == "format")
        found = connection.execute(query).scalar()
    if found != FORMAT:
        raise _foreign(url, f"its format is {found!r}, this version reads {FORMAT!r}")


def _foreign(url: URL, why: str) -> IonError:
    return IonError(
        "foreign-store",
        f"{url.render_as_string(hide_password=True)} is not a store of this version: {why}",
        "point ION_HOME or ION_STORE_URL elsewhere; nothing was changed",
    )
