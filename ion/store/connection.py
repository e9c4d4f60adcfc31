"""Engines: SQLite in WAL mode with full synchronisation, or PostgreSQL through psycopg 3."""

from __future__ import annotations

import sqlite3
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ion.errors import IonError
from ion.ledger import GENESIS
from ion.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.pool import Pool

FORMAT = "dagster-ion/3"
CREATION_LOCK = 739204117
"""PostgreSQL's number of the lock under which tables are made and changed."""
_OLDEST = 2
"""The oldest format that migrations lead from."""
_FORMAT_QUERY = select(schema.meta.c.value).where(schema.meta.c.name == "format")
_CONNECT_SECONDS = 10
_WAL_ATTEMPTS = 100
_abandoned: list[Pool] = []
"""Connections of a parent process, kept so that no garbage collection closes them in the child."""


def connect(url: str) -> Engine:
    """Return an engine on the store at ``url``, made if it is not there yet.

    Raises:
        IonError: ``bad-store-url``, ``store-unreachable``, ``store-outdated``, ``store-newer`` or ``foreign-store``.
    """
    engine = engine_of(url)
    try:
        with reaching(engine):
            _prepare(engine)
    except IonError:
        engine.dispose()
        raise
    return engine


def engine_of(url: str) -> Engine:
    """Return an engine on the database at ``url``, which is not looked at yet.

    Raises:
        IonError: ``bad-store-url``, ``store-unreachable``.
    """
    parsed = _checked_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed)
        _configure_sqlite(engine)
        return engine
    given = {} if "connect_timeout" in parsed.query else {"connect_timeout": _CONNECT_SECONDS}
    return create_engine(parsed, pool_pre_ping=True, connect_args=given)


@contextmanager
def reaching(engine: Engine) -> Iterator[None]:
    """Explain a database that cannot be opened.

    Raises:
        IonError: ``store-unreachable``.
    """
    try:
        yield
    except DBAPIError as error:
        shown = engine.url.render_as_string(hide_password=True)
        raise IonError(
            "store-unreachable",
            f"cannot open the governance store {shown}: {error.orig}",
            "check ION_STORE_URL and the permissions of the folder; a foreign file is not touched",
        ) from error


@contextmanager
def writing(engine: Engine, *, any_format: bool = False) -> Iterator[Connection]:
    """Open a transaction that holds the head lock before anything is read.

    Raises:
        IonError: ``store-unreachable`` when the database went away, is locked for too long or full;
            ``store-newer`` when the store was migrated since it was opened, unless ``any_format``.
    """
    try:
        with engine.connect().execution_options(ion_write=True) as connection, connection.begin():
            if connection.dialect.name != "sqlite":
                connection.execute(select(schema.head.c.position).with_for_update())
            if not any_format:
                _require_format(engine, connection)
            yield connection
    except OperationalError as error:
        raise IonError(
            "store-unreachable",
            f"the governance store could not be written: {error.orig}",
            "nothing was changed; facts wait in their spools until it can be",
        ) from error


def outage(error: BaseException) -> IonError | None:
    """Return what to say of an error that means that the database is away; None for any other."""
    away = isinstance(error, OperationalError | InterfaceError | PoolTimeout)
    if not away and not (isinstance(error, DBAPIError) and error.connection_invalidated):
        return None
    told = error.orig if isinstance(error, DBAPIError) else error
    return IonError("store-unreachable", f"the governance store does not answer: {told}", "ask again later")


def drop_inherited(engine: Engine) -> None:
    """Give a forked child fresh connections, and never touch those it inherited (see sqlite.org/howtocorrupt)."""
    _abandoned.append(engine.pool)
    engine.dispose(close=False)


def _checked_url(url: str) -> URL:
    hint = "use sqlite:////absolute/path/store.db or postgresql://user@host/database"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise IonError("bad-store-url", f"not a database URL: {url!r}", hint) from error
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        raise IonError("bad-store-url", f"unsupported store: {url!r}", hint)
    folder = Path(str(parsed.database)).parent
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
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("ion_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _prepare(engine: Engine) -> None:
    tables = set(inspect(engine).get_table_names())
    if schema.meta.name not in tables:
        if engine.dialect.name == "sqlite":
            if tables:
                raise _foreign(engine.url, "it holds other tables")
            _choose_wal(engine)
        with engine.connect().execution_options(ion_write=True) as connection, connection.begin():
            if connection.dialect.name == "postgresql":  # two first users at once
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({CREATION_LOCK})")
            schema.metadata.create_all(connection)
            if connection.execute(select(schema.meta.c.value)).first() is None:
                store = f"store-{uuid.uuid4().hex[:12]}"
                rows = [{"name": "format", "value": FORMAT}, {"name": "store", "value": store}]
                connection.execute(insert(schema.meta), rows)
                connection.execute(insert(schema.revision).values(version_num=str(number_of(FORMAT))))
                connection.execute(insert(schema.head).values(id=1, position=0, link=GENESIS))
    with engine.connect() as connection:
        _require_format(engine, connection)


def number_of(text: str) -> int:
    """Return the number of a format, which is also that of its migration; 0 for one that no migration leads from."""
    family, _, number = text.rpartition("/")
    known = family == FORMAT.rpartition("/")[0] and number.isascii() and number.isdecimal() and number[:1] != "0"
    return int(number) if known and int(number) >= _OLDEST else 0


def refusal(url: URL, found: object) -> IonError:
    """Return why a store of another format is not opened."""
    number, shown = number_of(str(found)), url.render_as_string(hide_password=True)
    if number > number_of(FORMAT):
        told = f"{shown} has the format {found}, this version knows up to {FORMAT}"
        return IonError("store-newer", told, "install the dagster-ion that migrated it; nothing was changed")
    if number:
        told = f"{shown} has the format {found}, this version works on {FORMAT}"
        return IonError("store-outdated", told, "make a backup, then run `ion store migrate`; nothing was changed")
    return _foreign(url, f"its format is {found!r}, this version reads {FORMAT!r}")


def _require_format(engine: Engine, connection: Connection) -> None:
    found = connection.execute(_FORMAT_QUERY).scalar()
    if found != FORMAT:
        raise refusal(engine.url, found)


def _choose_wal(engine: Engine) -> None:
    """Make a new file a WAL database, which it then stays. Not before it is known to be ours."""
    connection = engine.raw_connection()
    try:
        for attempt in range(_WAL_ATTEMPTS):
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError:  # another first user is at it; this lock has no busy handler
                if attempt + 1 == _WAL_ATTEMPTS:
                    raise
                time.sleep(0.05)
            else:
                return
    finally:
        connection.close()


def _foreign(url: URL, why: str) -> IonError:
    return IonError(
        "foreign-store",
        f"{url.render_as_string(hide_password=True)} is not a store of this version: {why}",
        "point ION_HOME or ION_STORE_URL elsewhere; nothing was changed",
    )
