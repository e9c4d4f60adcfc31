"""Migration: an older store gets the tables of this version, in one transaction, when somebody asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import insert, inspect, select, update

from ion.errors import IonError
from ion.store import schema
from ion.store.connection import CREATION_LOCK, FORMAT, engine_of, number_of, reaching, refusal, writing

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine


@dataclass(frozen=True, slots=True)
class Migrated:
    """The store's format before and after; the same when there was nothing to do."""

    before: str
    after: str


def migrate(url: str) -> Migrated:
    """Bring the store at ``url`` to `FORMAT`; wholly or, when anything fails, not at all.

    Appends of other processes wait meanwhile; those of an older version are refused afterwards.

    Raises:
        IonError: ``no-store`` where there is none; ``store-newer``, ``foreign-store``; as `ion.store.open_store`.
    """
    engine = engine_of(url)
    try:
        with reaching(engine):
            if not is_there(engine):
                shown = engine.url.render_as_string(hide_password=True)
                raise IonError("no-store", f"there is no governance store in {shown}", "nothing was made")
            return _migrate(engine)
    finally:
        engine.dispose()


def is_there(engine: Engine) -> bool:
    """Tell whether a database holds a governance store, of whatever format; no file is made by asking."""
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).is_file():
        return False
    return schema.meta.name in inspect(engine).get_table_names()


def _migrate(engine: Engine) -> Migrated:
    with writing(engine, any_format=True) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({CREATION_LOCK})")
        query = select(schema.meta.c.value).where(schema.meta.c.name == "format")
        before = str(connection.execute(query).scalar())
        number = number_of(before)
        if not number or number > number_of(FORMAT):
            raise refusal(engine.url, before)
        _stamp(connection, str(number))
        upgrade(connection, "head")
        connection.execute(update(schema.meta).where(schema.meta.c.name == "format").values(value=FORMAT))
    return Migrated(before, FORMAT)


def upgrade(connection: Connection, revision: str) -> None:
    """Run the migrations up to a revision (``head``: all) in an open transaction."""
    from alembic import command

    command.upgrade(alembic_config(connection), revision)


def alembic_config(connection: Connection) -> Config:
    """Return what Alembic needs to know, to work on an open transaction."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def _stamp(connection: Connection, number: str) -> None:
    """Say which revision a store is at that was made before its revision was kept."""
    schema.revision.create(connection, checkfirst=True)
    if connection.execute(select(schema.revision)).first() is None:
        connection.execute(insert(schema.revision).values(version_num=number))
