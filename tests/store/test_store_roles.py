"""PostgreSQL keeps hands out: the statements of docs/how-to/separate-hands.md, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ion.facts import AlertRaised
from ion.ids import new_id
from ion.store import open_store
from ion.testing import written
from tests.docs.blocks import marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = "docs/how-to/separate-hands.md"
TRAINING = "ion-training"


@pytest.fixture
def url_of(postgres: Callable[[], str]) -> Iterator[Callable[[str], str]]:
    """Make the roles and their database, and return what gives a role's URL."""
    import psycopg
    from psycopg.conninfo import make_conninfo

    server = postgres()
    database = f"governance_{new_id().replace('-', '')}"
    script = marked(PAGE, "run", "roles").replace("DATABASE governance", f"DATABASE {database}")
    with psycopg.connect(server, autocommit=True) as connection:
        for statement in [*script.split(";"), f'CREATE ROLE "{TRAINING}" LOGIN']:
            if statement.strip():
                connection.execute(statement)

    def url(role: str) -> str:
        made = psycopg.conninfo.conninfo_to_dict(make_conninfo(server, user=role, dbname=database))
        return f"postgresql://{made['user']}@/{made['dbname']}?host={made['host']}"

    yield url
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {database} WITH (FORCE)")
        for role in ("ion-governance", "ion-reader", TRAINING):
            connection.execute(f'DROP ROLE "{role}"')


def alert(seq: int) -> AlertRaised:
    return AlertRaised(scope="x", alert="a", message=str(seq))


def test_a_hand_cannot_even_connect_and_a_reader_cannot_write_nor_see_capture_keys(
    url_of: Callable[[str], str],
) -> None:
    import psycopg

    store = open_store(url_of("ion-governance"))
    store.append([written(alert(0))])
    with psycopg.connect(url_of("ion-governance"), autocommit=True) as governance:
        for statement in filter(str.strip, marked(PAGE, "run", "reader").split(";")):
            governance.execute(statement)
    store.append([written(alert(1), 1)])

    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(url_of(TRAINING))
    with psycopg.connect(url_of("ion-reader"), autocommit=True) as reader:
        assert reader.execute("SELECT count(*) FROM ion_fact").fetchone() == (2,)
        for refused in (
            "SELECT * FROM ion_capture_key",
            "DELETE FROM ion_fact",
            "UPDATE ion_fact SET raw = ''",
            "INSERT INTO ion_fact SELECT * FROM ion_fact",
            "UPDATE ion_head SET position = 0",
            "TRUNCATE ion_fact",
            "CREATE TABLE mine ()",
            "ALTER TABLE ion_fact DISABLE TRIGGER ALL",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(refused)
    asked = open_store(url_of("ion-reader"))
    assert [record.fact for record in asked.find(AlertRaised)] == [alert(0), alert(1)]
    asked.close()
    store.close()
