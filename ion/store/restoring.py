"""Restoring: a store made from a backup, wholly or not at all."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import LargeBinary, func, insert, select, update

from ion.errors import IonError
from ion.ledger import GENESIS, link
from ion.store import schema
from ion.store.backup import FORMAT, BackedUp, record_tables
from ion.store.connection import FORMAT as STORE_FORMAT
from ion.store.connection import connect, number_of, reaching, writing
from ion.store.migrating import upgrade
from ion.store.refold import fold_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Table

_STEP = 500
_MOST_BYTES = 8 * 1024 * 1024


def restore(url: str, path: Path) -> BackedUp:
    """Make the store at ``url`` what it was when the backup was made; one of an older format is migrated.

    The file is checked by its digest, and the chain of facts up to the head, before anything counts.

    Raises:
        IonError: ``store-not-empty``; ``bad-backup``, ``store-newer``; as `ion.store.open_store`.
    """
    engine = connect(url)
    try:
        with reaching(engine), path.open("rb") as file, writing(engine) as connection:
            _require_empty(connection)
            return _Restoring(connection, _Lines(file)).run()
    except OSError as error:
        raise _bad(f"it cannot be read: {error.strerror}") from error
    finally:
        engine.dispose()


class _Lines:
    """The lines of a backup; ``digest`` is of those that were read before the newest."""

    def __init__(self, file: io.BufferedReader) -> None:
        import zstandard

        self._lines = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file))
        self._error = zstandard.ZstdError
        self._hash = hashlib.sha256()
        self.digest = ""

    def __iter__(self) -> Iterator[Any]:
        try:
            for text in self._lines:
                self.digest = self._hash.hexdigest()
                self._hash.update(text)
                yield json.loads(text)
        except (self._error, ValueError) as error:
            raise _bad(f"it cannot be read: {error}") from error


class _Restoring:
    """One restore, in its transaction."""

    def __init__(self, connection: Connection, lines: _Lines) -> None:
        self._connection = connection
        self._lines = lines
        self._tables: dict[str, Table] = {}
        self._link = GENESIS
        self._facts = 0

    def run(self) -> BackedUp:
        """Insert everything, check it, fold it.

        Raises:
            IonError: ``bad-backup``, ``store-newer``.
        """
        lines = iter(self._lines)
        header: dict[str, Any]
        try:
            header = next(lines, {})
            if header["format"] != FORMAT:
                raise _bad(f"its format is {header['format']!r}, this version reads {FORMAT!r}")
            self._make_tables(str(header["store_format"]))
            rows, end = self._insert(lines)
            if end["end"] != self._lines.digest or end["rows"] != rows or next(lines, None) is not None:
                raise _bad("it is not what was written: its digest does not fit")
            if (self._facts, self._link.hex()) != (header["position"], header["link"]):
                raise _bad("its facts do not lead to its head")
            told = BackedUp(
                str(header["store"]),
                str(header["store_format"]),
                self._facts,
                self._link.hex(),
                rows,
                f"sha256:{self._lines.digest}",
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _bad(f"it is not one, or cut short: {error!r}") from error
        upgrade(self._connection, "head")
        named = schema.meta.c.name == "format"
        self._connection.execute(update(schema.meta).where(named).values(value=STORE_FORMAT))
        fold_all(self._connection)
        return told

    def _make_tables(self, format_name: str) -> None:
        number = number_of(format_name)
        if not number or number > number_of(STORE_FORMAT):
            told = f"the backup is of a {format_name}, this version knows up to {STORE_FORMAT}"
            raise IonError("store-newer", told, "install the dagster-ion that made it; nothing was changed")
        schema.metadata.drop_all(self._connection)
        upgrade(self._connection, str(number))
        self._tables = {table.name: table for table in record_tables(self._connection)}

    def _insert(self, lines: Iterator[Any]) -> tuple[dict[str, int], dict[str, Any]]:
        """Insert the rows of every table; returns how many, and the last line."""
        rows: dict[str, int] = {}
        table, columns, waiting, size = schema.meta, [""], list[dict[str, Any]](), 0
        for line in lines:
            if isinstance(line, list):
                waiting.append(_row(table, columns, line))
                rows[table.name] += 1
                size += sum(len(value) for value in waiting[-1].values() if isinstance(value, bytes))
                if len(waiting) == _STEP or size > _MOST_BYTES:
                    self._take(table, waiting)
                    waiting, size = [], 0
                continue
            self._take(table, waiting)
            waiting, size = [], 0
            if "end" in line:
                return rows, line
            table, columns = self._tables[line["table"]], line["columns"]
            rows[table.name] = 0
        raise _bad("it is cut short")

    def _take(self, table: Table, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        if table.name == schema.fact.name:
            for row in rows:
                self._facts += 1
                self._link = link(self._link, row["raw"])
                if row["position"] != self._facts or row["link"] != self._link:
                    raise _bad(f"its facts are no chain at position {row['position']}")
        self._connection.execute(insert(table), rows)


def _row(table: Table, columns: list[str], values: list[Any]) -> dict[str, Any]:
    return {
        name: base64.b64decode(value) if isinstance(table.c[name].type, LargeBinary) else value
        for name, value in zip(columns, values, strict=True)
    }


def _require_empty(connection: Connection) -> None:
    for table in (schema.fact, schema.agent, schema.block, schema.capture_key):
        if connection.execute(select(func.count()).select_from(table)).scalar():
            hint = "restore into a new database or state folder; nothing was changed"
            raise IonError("store-not-empty", f"the store has rows in {table.name}", hint)


def _bad(why: str) -> IonError:
    return IonError("bad-backup", f"not a whole backup: {why}"[:300], "use another one; nothing was changed")
