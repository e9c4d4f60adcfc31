"""How many bytes a stored statistic takes, with everything: the fact, its indexes and projections, the points.

An hour of one series, flushed once a second with 1, 10 or 100 points, at random moments within the second. Live: in the
store after shipping. Sealed: after compaction, with the freed pages given back. Growth of the database's files.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.databases import database_of, postgres, postgres_bytes, sqlite_bytes, sqlite_pages
from bench.figures import tell
from bench.scene import say, temporary_home
from ion.agent import open_client, ship_all
from ion.store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.agent.run import NodeRun
    from ion.evidence.captures import CaptureKey
    from ion.home import Home
    from ion.records import Record
    from ion.store import GovernanceStore

_FLUSHES = 3600
_PER_FLUSH = (1, 10, 100)
_SECOND_US = 1_000_000
_LIVE, _SEALED = 30.0, 10.0
_TARGETED = 100


class Both:
    """Several stores as one receiver."""

    def __init__(self, *stores: GovernanceStore) -> None:
        self.stores = stores

    def append(self, records: Sequence[Record], blocks: Mapping[str, bytes] | None = None) -> None:
        """Append to each."""
        for store in self.stores:
            store.append(records, blocks)

    def keep_capture_keys(self, keys: Sequence[CaptureKey]) -> None:
        """Keep in each."""
        for store in self.stores:
            store.keep_capture_keys(keys)


def measure() -> None:
    """Print live and sealed bytes per statistic, on both databases."""
    with postgres() as server:
        for decimals in (4, 17):
            for per_flush in _PER_FLUSH:
                _hour(server, per_flush, decimals)


def _hour(server: str, per_flush: int, decimals: int) -> None:
    say(f"{_FLUSHES} flushes of {per_flush}, values of {decimals} digits")
    url = database_of(server, f"hour_{per_flush}_{decimals}")
    with temporary_home() as home:
        file = home.root / "store.db"
        stores = Both(open_store(home.store_url), open_store(url))
        client = open_client(home, name="bytes", ship=False)
        run = client.node_run("bytes/hour", kind="custom")
        client.flush()
        ship_all(home.spool, stores)
        empty = sqlite_bytes(file, packed=True), postgres_bytes(url, packed=True)
        _tell_hour(run, per_flush, decimals)
        client.flush()
        spooled = _spooled(home)
        ship_all(home.spool, stores)
        client.close()
        live = sqlite_bytes(file), postgres_bytes(url)
        parts = _shares(sqlite_pages(file), _FLUSHES * per_flush)
        for store in stores.stores:
            for _ in store.statistics.compact_all():
                pass
        sealed = sqlite_bytes(file, packed=True), postgres_bytes(url, packed=True)
        sealed_parts = _shares(sqlite_pages(file), _FLUSHES * per_flush)
        for store in stores.stores:
            store.close()
    count = _FLUSHES * per_flush
    said = f"{per_flush} a flush, {decimals} digits"
    tell(f"bytes.spool, {said}", spooled / count, "bytes", count, note="in the agent's spool")
    for at, database in enumerate(("SQLite", "PostgreSQL")):
        aimed = per_flush >= _TARGETED
        note, sealed_note = (parts, sealed_parts) if database == "SQLite" else ("", "after vacuum full")
        grown, packed = (live[at] - empty[at]) / count, (sealed[at] - empty[at]) / count
        tell(f"bytes.{database}.live, {said}", grown, "bytes", count, target=_LIVE if aimed else None, note=note)
        target = _SEALED if aimed else None
        tell(f"bytes.{database}.sealed, {said}", packed, "bytes", count, target=target, note=sealed_note)


def _tell_hour(run: NodeRun, per_flush: int, decimals: int) -> None:
    """Tell an hour of points as an agent that flushes once a second packs them; nothing waits for the disk."""
    import numpy as np

    noise = np.random.default_rng(7)
    values = noise.normal(0.8, 0.05, (_FLUSHES, per_flush))
    if decimals < 17:  # noqa: PLR2004 - what a float holds
        values = np.round(values, decimals)
    first = time.time_ns() // 1000 - _FLUSHES * _SECOND_US
    for second, row in enumerate(values):
        times = first + second * _SECOND_US + np.sort(noise.integers(0, _SECOND_US, per_flush))
        with run.client.lock:  # or the agent's thread might pack a part
            run.stats_many("auc", row, times)
            run.pack_statistics()


def _spooled(home: Home) -> int:
    return sum(path.stat().st_size for path in Path(home.spool).rglob("facts*") if path.is_file())


def _shares(pages: Mapping[str, int], count: int) -> str:
    """Return what the tables take per point, the largest first."""
    largest = sorted(pages.items(), key=lambda each: -each[1])[:4]
    return ", ".join(f"{name} {size / count:.3g}" for name, size in largest)
