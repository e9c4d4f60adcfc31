"""Seven days without the store, and clocks that jump: everything waits, and arrives whole and once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ion import clock
from ion.agent import Client, ship_all
from ion.home import Home
from ion.store import open_store
from tests.faults.invariant import load, violations

if TYPE_CHECKING:
    from pathlib import Path

DAY_US = 86_400_000_000
WEEK_US = 7 * DAY_US
START_US = 1_800_000_000_000_000


def outage(tmp_path: Path, points: int) -> tuple[int, int]:
    """Tell so many points over seven simulated days to a spool that nobody ships, then ship; return both counts."""
    home = Home(tmp_path / "home").make()
    client = Client(home, "away")
    run = client.node_run("ward/scores", kind="inference")
    chance = np.random.default_rng(7)
    acknowledged = []
    part = points // 50
    for first in range(0, points, part):
        times = START_US + (np.arange(first, first + part) * (WEEK_US // points))
        run.stats_many("latency", chance.random(part), times)
        acknowledged.append(client.emit(load(first)))
        client.flush()
    waited = sum(path.stat().st_size for path in (home.spool / client.agent).glob("facts-*"))
    run.end()
    client.close()
    store = open_store(home.store_url)
    ship_all(home.spool, store)
    assert violations(store, home, acknowledged) == []
    stored = len(store.points(run.id, "latency", START_US, START_US + WEEK_US))
    store.close()
    assert not [path for path in home.spool.iterdir() if path.is_dir()]
    return stored, waited


def test_a_week_without_the_store_loses_nothing(tmp_path: Path) -> None:
    stored, _ = outage(tmp_path, 1_000_000)
    assert stored == 1_000_000


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_a_week_of_ten_million_points_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored, waited = outage(tmp_path, 10_000_000)
    with capsys.disabled():
        print(f"\n{stored} points of 7 days waited in {waited} bytes, {waited / stored:.1f} a point; 0 lost")  # noqa: T201
    assert stored == 10_000_000


def test_a_clock_that_jumps_changes_neither_what_arrives_nor_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home").make()
    client = Client(home, "jumping")
    real, jumps = clock.time.time_ns, iter([0, 400, -400, 1, -30, 0] * 10)
    offset = [0]
    monkeypatch.setattr(clock.time, "time_ns", lambda: real() + offset[0] * DAY_US * 1000)
    acknowledged = []
    for number in range(60):
        offset[0] = next(jumps)
        acknowledged.append(client.emit(load(number)))
        client.flush()
    offset[0] = 0
    client.close()
    store = open_store(home.store_url)
    ship_all(home.spool, store)
    assert violations(store, home, acknowledged) == []
    told = [store.record_at(found.position) for found in store.find(type(load(0)), "load")]
    assert [record.fact.count for record in told] == list(range(60))  # type: ignore[attr-defined]
    assert sorted(record.stamp for record in told) == [record.stamp for record in told]
    store.close()
