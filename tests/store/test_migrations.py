"""Migrations: one chain leads to the tables of this version, wholly or not at all, on both databases."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, cast

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text

from ion.audit import verify
from ion.canonical import canonical_bytes
from ion.cli import run
from ion.errors import IonError
from ion.facts import GapNoted, StatisticsRecorded
from ion.home import Home
from ion.ledger import GENESIS
from ion.ledger import link as link_of
from ion.store import connection, migrating, open_store, schema
from ion.store.connection import FORMAT, engine_of, number_of
from ion.store.migrating import alembic_config, migrate
from ion.testing import written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OLDEST = "dagster-ion/2"
GAP = GapNoted(scope="s", what="x", count=1, reason="")
CHAIN = ScriptDirectory(migrating.__file__.replace("migrating.py", "migrations"))


def old_store(url: str, *, revision: str = "2", stamped: bool = False) -> None:
    """Make a store of format 2, with the tables that its migrations make and statistics as facts held them then."""
    position, link = 0, GENESIS
    facts = []
    for seq, (series, values) in enumerate((("loss", [0.5, 0.25]), ("auc", [1]), ("loss", [0.125]))):
        times = [1_000_000 * (position + 1) + n for n in range(len(values))]
        body = {"run": "r", "series": series, "times": times, "values": values, "epoch": ""}
        kind = "StatisticsRecorded"
        told = {"agent": "a", "body": body, "counter": 0, "id": f"a:{seq}", "kind": kind, "seq": seq, "us": seq}
        raw = canonical_bytes(told)
        position, link = position + 1, link_of(link, raw)
        columns = {"position": position, "id": f"a:{seq}", "agent": "a", "seq": seq, "kind": kind, "us": seq}
        facts.append({**columns, "first": True, "raw": raw, "link": link})
    engine = engine_of(url)
    with engine.connect().execution_options(ion_write=True) as connected, connected.begin():
        command.upgrade(alembic_config(connected), revision)
        if not stamped:
            connected.execute(text("DROP TABLE ion_revision"))
        connected.execute(text("INSERT INTO ion_meta VALUES ('format', 'dagster-ion/2'), ('store', 'store-old')"))
        connected.execute(schema.head.insert().values(id=1, position=position, link=link))
        connected.execute(schema.fact.insert(), facts)
        connected.execute(schema.mention.insert(), [
            {"subject": "r", "kind": "StatisticsRecorded", "position": fact["position"]} for fact in facts
        ])  # fmt: skip
        connected.execute(schema.agent.insert().values(agent="a", seq=2, us=2))
    engine.dispose()


def state(url: str) -> dict[str, object]:
    """Return the format, the revision and every table with its columns and indexes, as the database tells them."""
    engine = engine_of(url)
    look = inspect(engine)
    with engine.connect() as connected:
        found: dict[str, object] = {
            "format": connected.execute(text("SELECT value FROM ion_meta WHERE name = 'format'")).scalar()
        }
        if look.has_table("ion_revision"):
            found["revision"] = connected.execute(select(schema.revision)).scalars().all()
    for name in look.get_table_names():
        columns = [(each["name"], str(each["type"]), each["nullable"]) for each in look.get_columns(name)]
        indexes = sorted(str(each["column_names"]) for each in look.get_indexes(name))
        unique = sorted(str(each["column_names"]) for each in look.get_unique_constraints(name))
        found[name] = (columns, look.get_pk_constraint(name)["constrained_columns"], indexes, unique)
    if engine.dialect.name == "sqlite":
        with engine.connect() as connected:
            made = connected.execute(
                text("SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%' ORDER BY name")
            )
            found["without rowid"] = made.scalars().all()
    if "ion_points" in found:
        with engine.connect() as connected:
            query = select(schema.points).order_by(schema.points.c.position)
            found["points"] = [tuple(row) for row in connected.execute(query)]
    engine.dispose()
    return found


def difference(url: str) -> list[object]:
    """Return what Alembic would change to come to the tables of this version."""
    engine = engine_of(url)
    with engine.connect() as connected:
        context = MigrationContext.configure(connected, opts={"version_table": "ion_revision", "compare_type": True})
        found = list(compare_metadata(context, schema.metadata))
    engine.dispose()
    return found


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path: Path, store_url: str) -> Callable[[], str]:
    """Give URLs of more empty databases, of the kind that ``store_url`` is."""
    if not store_url.startswith("sqlite"):
        return cast("Callable[[], str]", request.getfixturevalue("postgres"))
    numbers = itertools.count(1)
    return lambda: f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"


def test_the_last_revision_brings_the_format_of_this_version() -> None:
    assert CHAIN.get_heads() == [str(number_of(FORMAT))]
    assert [each.revision for each in CHAIN.walk_revisions()] == [str(n) for n in range(number_of(FORMAT), 1, -1)]


def test_a_new_store_has_the_tables_that_the_migrations_make(store_url: str, fresh: Callable[[], str]) -> None:
    old_store(store_url)
    migrate(store_url)
    new = fresh()
    open_store(new).close()
    assert difference(store_url) == difference(new) == []
    made = state(store_url)
    assert len(made["points"]) == 3  # type: ignore[arg-type]
    assert state(new) == {**made, "points": []}


def test_the_comparison_notices_a_column_that_no_migration_makes(store_url: str) -> None:
    old_store(store_url)
    migrate(store_url)
    engine = engine_of(store_url)
    with engine.begin() as connected:
        connected.execute(text("ALTER TABLE ion_agent ADD COLUMN extra VARCHAR"))
    engine.dispose()
    assert difference(store_url)


def test_a_store_from_before_the_migrations_works_on_and_still_verifies(store_url: str, tmp_path: Path) -> None:
    old_store(store_url)
    done = migrate(store_url)
    assert (done.before, done.after) == (OLDEST, FORMAT)
    store = open_store(store_url)
    store.append([written(GAP)])
    assert verify(store, Home(tmp_path / "home")).ok
    points = store.points("r", "loss")
    assert points.times.tolist() == [1_000_000, 1_000_001, 3_000_000]
    assert points.values.tolist() == [0.5, 0.25, 0.125]
    (first, *_) = store.find(StatisticsRecorded, "r")
    assert first.fact.series == [{"name": "loss", "n": 2, "first": 1_000_000, "last": 1_000_001}]
    assert list(store.statistics.compact_all())
    assert verify(store, Home(tmp_path / "home")).ok
    store.close()
    before = state(store_url)
    again = migrate(store_url)
    assert (again.before, again.after) == (FORMAT, FORMAT)
    assert state(store_url) == before


def test_an_older_store_is_refused_with_the_way_forward(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(store_url).close()
    monkeypatch.setattr(connection, "FORMAT", f"dagster-ion/{number_of(FORMAT) + 1}")
    with pytest.raises(IonError, match="ion store migrate") as caught:
        open_store(store_url)
    assert caught.value.code == "store-outdated"


def test_a_newer_store_is_refused_and_not_migrated_back(store_url: str) -> None:
    open_store(store_url).close()
    engine = engine_of(store_url)
    with engine.begin() as connected:
        connected.execute(text("UPDATE ion_meta SET value = 'dagster-ion/99' WHERE name = 'format'"))
    engine.dispose()
    for use in (open_store, migrate):
        with pytest.raises(IonError) as caught:
            use(store_url)
        assert caught.value.code == "store-newer"


@pytest.mark.parametrize("found", ["dagster-ion/1", "dagster-ion/02", "dagster-ion/x", "other/2", "", "2"])
def test_a_format_that_no_migration_leads_from_is_foreign(store_url: str, found: str) -> None:
    open_store(store_url).close()
    engine = engine_of(store_url)
    with engine.begin() as connected:
        connected.execute(text("UPDATE ion_meta SET value = :found WHERE name = 'format'"), {"found": found})
    engine.dispose()
    for use in (open_store, migrate):
        with pytest.raises(IonError) as caught:
            use(store_url)
        assert caught.value.code == "foreign-store"


def test_a_program_that_runs_while_the_store_is_migrated_writes_nothing_afterwards(store_url: str) -> None:
    store = open_store(store_url)
    store.append([written(GAP)])
    engine = engine_of(store_url)
    with engine.begin() as connected:
        connected.execute(text("UPDATE ion_meta SET value = 'dagster-ion/99' WHERE name = 'format'"))
    engine.dispose()
    with pytest.raises(IonError) as caught:
        store.append([written(GAP, 1)])
    assert caught.value.code == "store-newer"
    assert store.head().position == 1
    store.close()


def test_where_there_is_no_store_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(IonError) as caught:
        migrate(f"sqlite:///{tmp_path / 'store.db'}")
    assert caught.value.code == "no-store"
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from sqlalchemy import Engine, event
from ion.store.migrating import migrate
url, limit = sys.argv[1], int(sys.argv[2])
seen = 0
def die(*_):
    global seen
    seen += 1
    if seen == limit:
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(Engine, "before_cursor_execute", die)
event.listen(Engine, "commit", die)
migrate(url)
"""


def test_killed_at_any_statement_it_leaves_the_old_store_or_the_new_one(fresh: Callable[[], str]) -> None:
    whole = fresh()
    old_store(whole)
    old = state(whole)
    migrate(whole)
    new = state(whole)
    assert old != new
    kills = 0
    url = fresh()
    old_store(url)
    while True:
        done = subprocess.run([sys.executable, "-c", KILLED, url, str(kills + 1)], check=False)
        left = state(url)
        if done.returncode == 0:
            assert left == new
            break
        assert done.returncode == -signal.SIGKILL
        kills += 1
        assert left in (old, new)
        if left == new:
            url = fresh()
            old_store(url)
    assert kills > 5


def test_the_command_migrates_and_says_what_it_did(isolated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home(isolated / ".ion").make()
    assert run(["store", "migrate"]) == 2
    capsys.readouterr()
    old_store(f"sqlite:///{home.root / 'store.db'}")
    assert run(["store", "migrate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"before": OLDEST, "after": FORMAT, "changed": OLDEST != FORMAT}
    assert run(["store", "migrate"]) == 0
    assert "already" in capsys.readouterr().out
