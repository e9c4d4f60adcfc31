"""Points in the store: as told, packed together without losing one, and altered not unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import create_engine, text

from ion.agent.statistics import statistics_fact
from ion.audit import verify
from ion.errors import IonError
from ion.facts import AlertRaised, GapNoted, StatisticsCompacted, StatisticsRecorded
from ion.home import Home
from ion.points import Points
from ion.store import GovernanceStore, open_store
from ion.store import points as points_module
from ion.testing import written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN, AGENT = "run-1", "agent-1"


@pytest.fixture
def store(store_url: str) -> Iterator[GovernanceStore]:
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


def series(number: int, size: int = 100) -> dict[str, Points]:
    random = np.random.default_rng(number)
    times = 1_700_000_000_000_000 + (number * size + np.arange(size)) * 10_000
    return {name: Points(times, np.round(random.random(size), 4)) for name in ("loss", "auc")}


def tell(store: GovernanceStore, number: int, columns: dict[str, Points] | None = None, *, epoch: str = "") -> None:
    fact, block = statistics_fact(RUN, epoch, series(number) if columns is None else columns)
    store.append([written(fact, number, agent=AGENT)], {fact.digest: block})


def whole(store: GovernanceStore, name: str = "loss") -> tuple[bytes, bytes]:
    found = store.points(RUN, name)
    return found.times.tobytes(), found.values.tobytes()


def problems(store: GovernanceStore, home: Home) -> list[tuple[str, int]]:
    return [(problem.kind, problem.position) for problem in verify(store, home).problems]


def altered(store_url: str, statement: str, **values: object) -> None:
    engine = create_engine(store_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        assert connection.execute(text(statement), values).rowcount
    engine.dispose()


def test_points_come_back_as_they_were_told(store: GovernanceStore) -> None:
    for number in (0, 1, 2):
        tell(store, number)
    told = Points.joined([series(number)["loss"] for number in (0, 1, 2)])
    assert whole(store) == (told.times.tobytes(), told.values.tobytes())
    part = store.points(RUN, "loss", int(told.times[150]), int(told.times[249]))
    assert part.values.tobytes() == told.values[150:250].tobytes()
    assert [(each.name, each.count) for each in store.statistics.series(RUN)] == [("auc", 300), ("loss", 300)]
    assert len(store.points(RUN, "other")) == 0


def test_points_told_twice_are_there_once(store: GovernanceStore, home: Home) -> None:
    fact, block = statistics_fact(RUN, "", series(0))
    for number, agent in ((0, AGENT), (0, AGENT), (0, "agent-2")):
        store.append([written(fact, number, agent=agent, fact_id="same")], {fact.digest: block})
    assert len(store.points(RUN, "loss")) == 100
    assert problems(store, home) == []


@pytest.mark.parametrize("block", [b"", b"\x01", "other", "fewer"], ids=["none", "damaged", "other", "fewer"])
def test_points_that_are_not_those_of_the_fact_are_an_alert_and_a_counted_gap(
    store: GovernanceStore, home: Home, block: bytes | str
) -> None:
    fact, _ = statistics_fact(RUN, "", series(0))
    if block == "other":
        block = statistics_fact(RUN, "", series(1))[1]
    elif block == "fewer":
        block = statistics_fact(RUN, "", {"loss": series(0)["loss"]})[1]
    assert isinstance(block, bytes)
    store.append([written(fact, 0, agent=AGENT)], {fact.digest: block})
    (hole,) = store.find(GapNoted, RUN)
    assert (hole.fact.what, hole.fact.count) == ("statistics", 200)
    assert [record.fact.alert for record in store.find(AlertRaised, RUN)] == ["points-differ"]
    assert len(store.points(RUN, "loss")) == 0
    assert problems(store, home) == []


def test_packing_keeps_every_point_and_every_leaf(store: GovernanceStore, home: Home) -> None:
    for number in range(120):
        tell(store, number, epoch="e" if number % 2 else "")
    hour = (1_700_000_030_000_000, 1_700_000_040_000_000)
    before, part = whole(store), store.points(RUN, "auc", *hour)
    facts = list(store.statistics.compact_all())
    assert [(fact.rows, fact.sealed, fact.points) for fact in facts] == [(60, 1, 6000)] * 4
    assert [record.fact for record in store.find(StatisticsCompacted, RUN)] == facts
    assert whole(store) == before
    assert (
        store.points(RUN, "auc", 1_700_000_030_000_000, 1_700_000_040_000_000).values.tobytes() == part.values.tobytes()
    )
    assert problems(store, home) == []
    assert store.statistics.compact(RUN, "loss") is None
    assert list(store.statistics.compact_all()) == []
    tell(store, 120)
    assert len(list(store.statistics.compact_all())) == 2  # what came later joins what is not full yet
    assert problems(store, home) == []
    assert len(store.points(RUN, "loss")) == 12_100


def test_packing_stops_at_altered_points_and_changes_nothing(
    store: GovernanceStore, store_url: str, home: Home
) -> None:
    for number in range(3):
        tell(store, number)
    altered(store_url, "UPDATE ion_points SET body = :other WHERE position = 2 AND series = 'loss'", other=b"\0" * 5)
    with pytest.raises(IonError) as caught:
        store.statistics.compact(RUN, "loss")
    assert caught.value.code == "points-differ"
    assert store.find(StatisticsCompacted) == []
    with pytest.raises(IonError):
        store.points(RUN, "loss")
    assert len(store.points(RUN, "auc")) == 300
    assert ("points", 2) in problems(store, home)


@pytest.mark.parametrize("packed", [False, True], ids=["loose", "packed"])
def test_a_forged_point_is_found_although_its_row_agrees_with_itself(
    store: GovernanceStore,
    store_url: str,
    home: Home,
    packed: bool,  # noqa: FBT001
) -> None:
    from ion.points import write_column

    for number in range(3):
        tell(store, number)
    if packed:
        store.statistics.compact(RUN, "loss")
    told = store.points(RUN, "loss") if packed else series(1)["loss"]
    values = told.values.copy()
    values[len(values) // 2] += 0.5
    forged = Points(told.times, values)
    position = 1 if packed else 2
    altered(
        store_url,
        "UPDATE ion_points SET body = :body, digest = :digest WHERE series = 'loss' AND position = :position",
        body=write_column(forged), digest=forged.digest(), position=position,
    )  # fmt: skip
    assert problems(store, home) == [("points", 2)]


@pytest.mark.parametrize(
    ("statement", "position"),
    [
        ("DELETE FROM ion_points WHERE series = 'loss' AND position = 2", 2),
        ("UPDATE ion_points SET series = 'gain' WHERE series = 'loss' AND position = 2", 2),
        ("UPDATE ion_points SET run = 'run-2' WHERE position = 3", 3),
        ("DELETE FROM ion_points WHERE position = 1", 1),
    ],
    ids=["one series gone", "renamed", "another run's", "a leaf gone"],
)
def test_points_taken_away_or_put_elsewhere_are_found(
    store: GovernanceStore, store_url: str, home: Home, statement: str, position: int
) -> None:
    for number in range(3):
        tell(store, number)
    assert problems(store, home) == []
    altered(store_url, statement)
    assert {place for kind, place in problems(store, home) if kind == "points"} == {position}


def test_a_packing_that_fails_half_way_leaves_everything_as_it_was(
    store: GovernanceStore, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        tell(store, number)
    before, head = whole(store), store.head()
    monkeypatch.setattr(points_module, "leaf_digest", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.statistics.compact(RUN, "loss")
    assert (whole(store), store.head()) == (before, head)
    assert problems(store, home) == []


def test_rebuilding_the_projections_keeps_the_points(store: GovernanceStore, home: Home) -> None:
    tell(store, 0)
    store.rebuild()
    assert len(store.points(RUN, "loss")) == 100
    assert store.find(StatisticsRecorded, RUN)[0].fact.series[0]["n"] == 100
    assert problems(store, home) == []
