"""Opening: what is ours is opened, what is not is refused and left alone."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from ion.agent import open_client
from ion.errors import IonError
from ion.facts import GapNoted
from ion.home import Home
from ion.store import open_store
from ion.testing import written

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://u@h/d", "sqlite://", "sqlite:///:memory:"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(IonError) as caught:
        open_store(url)
    assert caught.value.code == "bad-store-url"


def test_the_store_is_there_when_opened_again(store_url: str) -> None:
    first = open_store(store_url)
    first.append([written(GapNoted(scope="s", what="x", count=1, reason=""))])
    head = first.head()
    first.close()
    second = open_store(store_url)
    assert second.head() == head
    second.close()


def test_a_database_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (id)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(IonError) as caught:
        open_store(f"sqlite:///{path}")
    assert caught.value.code == "foreign-store"
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["other.db"]


def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    with pytest.raises(IonError) as caught:
        open_store(f"sqlite:///{path}")
    assert caught.value.code == "store-unreachable"
    assert path.read_text() == "not a database " * 100


def test_a_store_of_another_format_is_refused(store_url: str) -> None:
    store = open_store(store_url)
    with store._engine.begin() as connection:
        connection.execute(text("UPDATE ion_meta SET value = 'dagster-ion/1' WHERE name = 'format'"))
    store.close()
    with pytest.raises(IonError) as caught:
        open_store(store_url)
    assert caught.value.code == "foreign-store"


def test_a_server_that_is_down_is_said_without_the_password() -> None:
    with pytest.raises(IonError) as caught:
        open_store("postgresql://user:hidden@127.0.0.1:1/ion")
    assert caught.value.code == "store-unreachable"
    assert "hidden" not in str(caught.value)


def test_sqlite_writes_ahead_and_syncs_fully(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    store.close()


def test_a_program_starts_while_the_store_is_down_and_its_facts_arrive_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder where the SQLite file should be stands for a store that cannot be reached."""
    path = tmp_path / "store.db"
    path.mkdir()
    monkeypatch.setenv("ION_STORE_URL", f"sqlite:///{path}")
    client = open_client(Home(tmp_path / "home"))
    with client.node_run("patient_tests/model", kind="training") as run:
        run.stat("auc", 0.5)
    assert client.last_trouble
    path.rmdir()
    assert client.ship()
    client.close()
    store = open_store(f"sqlite:///{path}")
    assert store.head().position == 3
    store.close()


@pytest.mark.parametrize("url", ["nonsense", "sqlite:///{}"])
def test_a_misconfigured_store_is_said_when_the_program_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (id)")
    other.close()
    monkeypatch.setenv("ION_STORE_URL", url.format(path))
    with pytest.raises(IonError) as caught:
        open_client(Home(tmp_path / "home"))
    assert caught.value.code in {"bad-store-url", "foreign-store"}
