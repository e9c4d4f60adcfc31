"""A backup: the record of a whole store in one file that any database can be made from (docs/spec/backup.md)."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import LargeBinary, MetaData, select

from ion.clock import now_us, rfc3339
from ion.errors import IonError
from ion.evidence.files import writing_new
from ion.facts import CheckpointSigned
from ion.store import schema
from ion.store.connection import FORMAT as STORE_FORMAT
from ion.store.connection import engine_of, number_of, reaching, refusal
from ion.store.migrating import is_there
from ion.store.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection, Table

FORMAT = "ion-backup/1"
FOLDED = frozenset({table.name for table in (*schema.PROJECTIONS, schema.tile)} | {schema.revision.name})
"""Tables that a backup leaves out: what follows from the others."""
_STEP = 500


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup holds: the store's name and format, its head, rows by table; and the digest at its end."""

    store: str
    format: str
    position: int
    link: str
    rows: dict[str, int]
    digest: str

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return asdict(self)


def backup(url: str, path: Path) -> BackedUp:
    """Write everything that the store at ``url`` records to a new file, as it is at one moment; others work on.

    The file holds capture keys: it is readable by its owner only.

    Raises:
        IonError: ``no-store``, ``store-newer``, ``foreign-store``, as `ion.store.open_store`; ``file-exists``,
            ``cannot-write``.
    """
    engine = engine_of(url)
    try:
        with reaching(engine):
            if not is_there(engine):
                shown = engine.url.render_as_string(hide_password=True)
                raise IonError("no-store", f"there is no governance store in {shown}", "nothing was written")
            # One snapshot: SQLite's every transaction is, PostgreSQL's on request.
            moment = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
            with engine.connect().execution_options(**moment) as connection, connection.begin():
                return _write(connection, path)
    except FileExistsError as error:
        raise IonError("file-exists", f"{path} is there already", "name another file; nothing was replaced") from error
    except OSError as error:
        raise IonError("cannot-write", f"cannot write {path}: {error.strerror}", "check the path") from error
    finally:
        engine.dispose()


def record_tables(connection: Connection) -> list[Table]:
    """Return the tables of the record as they are in this database, whatever its format, the head's first."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name.startswith("ion_") and name not in FOLDED)
    return sorted(found.tables.values(), key=lambda table: (table.name != schema.head.name, table.name))


def _write(connection: Connection, path: Path) -> BackedUp:
    import zstandard

    told = {row.name: row.value for row in connection.execute(select(schema.meta))}
    number = number_of(told["format"])
    if not number or number > number_of(STORE_FORMAT):
        raise refusal(connection.engine.url, told["format"])
    head = connection.execute(select(schema.head.c.position, schema.head.c.link)).one()
    signed = Reader(connection).find(CheckpointSigned, newest_first=True, limit=1)
    header = {
        "format": FORMAT,
        "store": told["store"],
        "store_format": told["format"],
        "position": head.position,
        "link": bytes(head.link).hex(),
        "made": rfc3339(now_us()),
        "checkpoint": signed[0].fact.note if signed else None,
    }
    digest, rows = hashlib.sha256(), {}
    with writing_new(path) as file, zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as packed:

        def line(value: object) -> None:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            digest.update(text)
            packed.write(text)

        line(header)
        for table in record_tables(connection):
            rows[table.name] = _write_table(connection, table, line)
        whole = digest.hexdigest()
        line({"end": whole, "rows": rows})
    return BackedUp(told["store"], told["format"], head.position, str(header["link"]), rows, f"sha256:{whole}")


def _write_table(connection: Connection, table: Table, line: Callable[[object], None]) -> int:
    count = 0
    binary = [isinstance(column.type, LargeBinary) for column in table.columns]
    line({"table": table.name, "columns": [column.name for column in table.columns]})
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_STEP)
    for row in connection.execute(query):
        line([base64.b64encode(value).decode() if packed else value for value, packed in zip(row, binary, strict=True)])
        count += 1
    return count
