"""Finding a few points among a hundred million, in SQLite and PostgreSQL, beside a row per point.

232 node runs of a day: five series, one point a second. They come in as a program would tell them: `stats_many`, spool,
shipping, append, each column checked against its fact. Every answer is checked against its digest. The peer holds a
tenth: ten million rows under a primary key of (series, time), with integers for names and nothing checked.

Wall time, one caller, pages of the operating system's cache where they are; databases as they were set up.
"""

from __future__ import annotations

import random
import sqlite3
import time
from typing import TYPE_CHECKING

import numpy as np
import psycopg

from bench.databases import database_of, postgres, postgres_bytes, sqlite_bytes
from bench.figures import tell, tell_samples
from bench.footprint import Both
from bench.sampling import quantile
from bench.scene import say, temporary_home
from ion.agent import open_client, ship_all
from ion.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ion.home import Home
    from ion.store import GovernanceStore

_RUNS, _DAY_S = 232, 86_400
_SERIES = ("accuracy", "latency", "mean_score", "positive_share", "rows")
_HOUR_S, _SECOND_US = 3600, 1_000_000
_FIRST_US = 1_700_000_000 * _SECOND_US
_RUNS_AT_ONCE = 8
_ROW_SERIES = 115
_HOURS, _WHOLE = 300, 40
_HOUR_MS, _RUN_MS = 2.0, 20.0


def measure() -> None:
    """Load both stores, then the peers, and print what a look-up takes."""
    with postgres() as server, temporary_home() as home:
        url = database_of(server, "lookup")
        stores = {"SQLite": open_store(home.store_url), "PostgreSQL": open_store(url)}
        runs = _load(home, Both(*stores.values()))
        count = _RUNS * _DAY_S * len(_SERIES)
        sizes = {"SQLite": sqlite_bytes(home.root / "store.db"), "PostgreSQL": postgres_bytes(url)}
        for database, store in stores.items():
            tell(f"lookup.{database}.bytes", sizes[database] / count, "bytes", count, note="per point, everything")
            _ask(database, store, runs)
            store.close()
        _rows_in_sqlite(home.root / "rows.db")
        _rows_in_postgres(database_of(server, "rows"))


def _load(home: Home, stores: Both) -> list[str]:
    """Tell every run and ship it; returns their ids."""
    noise, runs = np.random.default_rng(7), []
    times = _FIRST_US + np.arange(_DAY_S) * _SECOND_US
    before = time.process_time()
    while len(runs) < _RUNS:
        client = open_client(home, name="lookup", ship=False)
        for _ in range(min(_RUNS_AT_ONCE, _RUNS - len(runs))):
            with client.node_run("lookup/day", kind="custom") as run:
                for name in _SERIES:
                    run.stats_many(name, noise.normal(0.8, 0.05, _DAY_S), times)
            runs.append(run.id)
        client.close()
        ship_all(home.spool, stores)
        say(f"{len(runs)} of {_RUNS} runs")
    cpu = time.process_time() - before
    count = _RUNS * _DAY_S * len(_SERIES)
    note = "one process: told, spooled, shipped, checked and kept in both databases; PostgreSQL's own CPU not counted"
    tell("lookup.load", count / cpu / 1e6, "M points/s", count, note=note)
    return runs


def _ask(database: str, store: GovernanceStore, runs: Sequence[str]) -> None:
    chance = random.Random(7)  # noqa: S311 - not a secret

    def hour() -> None:
        first = _FIRST_US + chance.randrange(_DAY_S - _HOUR_S) * _SECOND_US
        found = store.points(chance.choice(runs), chance.choice(_SERIES), first, first + _HOUR_S * _SECOND_US - 1)
        _expect(len(found), _HOUR_S)

    def whole() -> None:
        run = chance.choice(runs)
        _expect(sum(len(store.points(run, series)) for series in _SERIES), _DAY_S * len(_SERIES))

    count = f"of {_RUNS * _DAY_S * len(_SERIES):,} points, checked against their digests"
    _tell(f"lookup.{database}.hour", hour, _HOURS, f"{_HOUR_S:,} {count}", _HOUR_MS)
    _tell(f"lookup.{database}.run", whole, _WHOLE, f"{_DAY_S * len(_SERIES):,} {count}", _RUN_MS)


def _rows_in_sqlite(path: Path) -> None:
    say("SQLite, a row per point")
    with sqlite3.connect(path) as database:
        database.execute("pragma journal_mode=wal")
        database.execute(
            "create table point (series integer, us integer, value real, primary key (series, us)) without rowid"
        )
        for series in range(_ROW_SERIES):
            database.executemany("insert into point values (?, ?, ?)", _rows_of(series))
            database.commit()
        size = sqlite_bytes(path)
        _ask_rows("SQLite", lambda text, given: database.execute(text, given).fetchall(), "?", size)


def _rows_in_postgres(url: str) -> None:
    say("PostgreSQL, a row per point")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table point (series integer, us bigint, value double precision)")
        with connection.cursor() as cursor, cursor.copy("copy point from stdin") as copying:
            for series in range(_ROW_SERIES):
                copying.write("".join(f"{series}\t{us}\t{value!r}\n" for _, us, value in _rows_of(series)))
        connection.execute("alter table point add primary key (series, us)")
        connection.execute("vacuum analyze point")
        row = connection.execute("select pg_total_relation_size('point')").fetchone()
        size = row[0] if row else 0
        _ask_rows("PostgreSQL", lambda text, given: connection.execute(text, given).fetchall(), "%s", size)


def _rows_of(series: int) -> list[tuple[int, int, float]]:
    values = np.random.default_rng(series).normal(0.8, 0.05, _DAY_S).tolist()
    return [(series, _FIRST_US + second * _SECOND_US, value) for second, value in enumerate(values)]


def _ask_rows(database: str, ask: Callable[[str, tuple[int, ...]], list[object]], mark: str, size: int) -> None:
    chance, count = random.Random(7), _ROW_SERIES * _DAY_S  # noqa: S311 - not a secret
    by_time = f"select us, value from point where series = {mark} and us between {mark} and {mark} order by us"  # noqa: S608 - a mark
    by_run = f"select series, us, value from point where series between {mark} and {mark} order by series, us"  # noqa: S608 - as above

    def hour() -> None:
        first = _FIRST_US + chance.randrange(_DAY_S - _HOUR_S) * _SECOND_US
        given = (chance.randrange(_ROW_SERIES), first, first + _HOUR_S * _SECOND_US - 1)
        _expect(len(ask(by_time, given)), _HOUR_S)

    def whole() -> None:
        first = len(_SERIES) * chance.randrange(_ROW_SERIES // len(_SERIES))
        _expect(len(ask(by_run, (first, first + len(_SERIES) - 1))), _DAY_S * len(_SERIES))

    note = f"the peer: a row per point, among {count:,}, not checked"
    tell(f"lookup.rows.{database}.bytes", size / count, "bytes", count, note="per point, with its index")
    _tell(f"lookup.rows.{database}.hour", hour, _HOURS, note)
    _tell(f"lookup.rows.{database}.run", whole, _WHOLE // 4, note)


def _tell(name: str, action: Callable[[], None], times: int, note: str, target: float | None = None) -> None:
    """Print the milliseconds of a call; some go before, so that nothing is opened while counted."""
    walls, cpus = [], []
    for number in range(times + times // 10 + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        if number > times // 10:
            walls.append((time.perf_counter() - wall) * 1e3)
            cpus.append((time.process_time() - cpu) * 1e3)
    said = f"{note}; CPU of this process {quantile(cpus, 0.5):.3g} ms"
    tell_samples(name, walls, "ms", 0.5, target=target, note=said)


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"found {found} points, not {wanted}")
