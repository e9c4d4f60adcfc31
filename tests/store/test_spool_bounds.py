"""A full spool gives up what is worth least, tells each loss, and every answer that touches it says so."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ion.agent import Client, Histogram, bounds, ship_all
from ion.agent.bounds import Bounds, keep_within
from ion.agent.segments import read_frames, segment_numbers
from ion.audit.verification import verify
from ion.errors import IonError
from ion.facts import AlertRaised, GapNoted, ParamRecorded, SignatureRecorded, StatisticsRecorded
from ion.graph.inquiry import Inquiry
from ion.home import Home
from ion.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ion.facts import Fact
    from ion.store import GovernanceStore

POINTS = 2000


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


@pytest.fixture
def store(store_url: str) -> Iterator[GovernanceStore]:
    opened = open_store(store_url)
    yield opened
    opened.close()


def told(client: Client) -> str:
    """Tell statistics, signatures and parameters over many segments; returns the run."""
    run = client.node_run("ward/scores", kind="inference")
    chance = np.random.default_rng(1)
    for window in range(12):
        run.stats_many("latency", chance.random(POINTS), np.arange(POINTS) + POINTS * window)
        run.signature("age", Histogram.of(chance.random(1000), np.linspace(0, 1, 60)), role="inference")
        run.param(f"window-{window}", window)
        client.flush()
    return run.id


def waiting(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("facts-*"))


@pytest.fixture
def full(home: Home, monkeypatch: pytest.MonkeyPatch) -> tuple[Client, str]:
    """Give an agent that told more than its bound, none of it looked at, in segments of one window."""
    monkeypatch.setenv("ION_SPOOL_MAX_BYTES", "100000")
    client = Client(home, "full")
    monkeypatch.setattr(client._teller, "keep_within", lambda _: None)
    return client, told(client)


def tell_with(client: Client) -> bounds.Tell:
    def tell(facts: Sequence[tuple[Fact, str]]) -> None:
        for fact, identity in facts:
            client.emit(fact, fact_id=identity)
        client.flush()

    return tell


def test_a_full_spool_thins_statistics_oldest_first_and_keeps_everything_else(
    home: Home, full: tuple[Client, str], store: GovernanceStore
) -> None:
    client, run = full
    folder = home.spool / client.agent
    before = waiting(folder)
    assert before > 100_000
    freed = keep_within(folder, Bounds(100_000), tell_with(client))
    assert freed > 0
    assert waiting(folder) <= 100_000
    client.close()
    ship_all(home.spool, store)
    assert verify(store, home).problems == ()
    assert len(store.find(ParamRecorded, run)) == 12
    assert store.find(AlertRaised) == []
    kept = sum(len(points) for points in [store.points(run, "latency", 0, 1 << 62)])
    gaps = [found.fact for found in store.find(GapNoted, run)]
    assert kept < 12 * POINTS
    assert kept + sum(gap.count for gap in gaps) == 12 * POINTS
    assert {gap.what for gap in gaps} == {"points of statistics"}
    sizes = [sum(int(str(each["n"])) for each in found.fact.series) for found in store.find(StatisticsRecorded, run)]
    assert sizes[0] < POINTS  # the oldest
    assert sizes[-1] == POINTS  # the newest
    inquiry = Inquiry(store, home)
    inquiry.concerns(run)
    assert any("points of statistics" in hole.what for hole in inquiry.holes())


def test_signatures_are_added_up_when_statistics_are_not_enough(
    home: Home, full: tuple[Client, str], store: GovernanceStore
) -> None:
    client, run = full
    folder = home.spool / client.agent
    keep_within(folder, Bounds(20_000), tell_with(client))
    agent = client.agent
    client.close()
    ship_all(home.spool, store)
    assert verify(store, home).problems == ()
    signatures = [found.fact for found in store.find(SignatureRecorded, run)]
    assert sum(sum(fact.counts) for fact in signatures) == 12 * 1000  # none of the values
    merged = sum(found.fact.count for found in store.find(GapNoted, run) if found.fact.what == "signatures")
    assert len(signatures) + merged == 12
    missing = [found.fact for found in store.find(GapNoted, agent) if found.fact.what == "facts"]
    assert sum(gap.count for gap in missing) == merged
    assert all(gap.first is not None and gap.last is not None for gap in missing)


def test_a_loss_is_told_before_it_happens_or_does_not_happen(home: Home, full: tuple[Client, str]) -> None:
    client, _ = full
    folder = home.spool / client.agent
    before = [(frame.record, frame.block) for frame in read_frames(folder)]

    def refuse(_: object) -> None:
        raise IonError("spool-unusable", "the disk is full")

    with pytest.raises(IonError):
        keep_within(folder, Bounds(100_000), refuse)
    assert [(frame.record, frame.block) for frame in read_frames(folder)] == before
    client.close()


def test_what_is_shipped_in_part_is_left_alone_and_so_is_the_segment_being_written(
    home: Home, full: tuple[Client, str]
) -> None:
    client, _ = full
    folder = home.spool / client.agent
    newest = folder / f"facts-{segment_numbers(folder)[-1]:08d}"
    content = newest.read_bytes()
    keep_within(folder, Bounds(1), lambda _: None)
    assert newest.read_bytes() == content
    client.close()


def test_what_is_too_old_is_given_up_though_there_is_room(
    home: Home, full: tuple[Client, str], store: GovernanceStore
) -> None:
    client, run = full
    folder = home.spool / client.agent
    for number in segment_numbers(folder)[:3]:
        os.utime(folder / f"facts-{number:08d}", (0, 0))
    keep_within(folder, Bounds(1 << 30), tell_with(client))
    client.close()
    ship_all(home.spool, store)
    assert store.find(GapNoted, run)
    assert verify(store, home).problems == ()


def test_a_spool_of_what_is_never_given_up_raises_one_alert(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ION_SPOOL_MAX_BYTES", "4000")
    client = Client(home, "full")
    run = client.node_run("ward/scores", kind="inference")
    for number in range(40):
        run.param("x", number)
    facts: list[Fact] = []
    for _ in range(2):
        keep_within(home.spool / client.agent, Bounds(4000), lambda told: facts.extend(fact for fact, _ in told))
    assert {fact.alert for fact in facts if isinstance(fact, AlertRaised)} == {"spool-full"}
    assert len(list(read_frames(home.spool / client.agent))) >= 41
    client.close()


def test_a_client_keeps_within_its_bounds_by_itself(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ION_SPOOL_MAX_BYTES", "100000")
    client = Client(home, "full")
    told(client)
    deadline = time.monotonic() + 60
    while waiting(home.spool / client.agent) > 110_000:  # its thread looks at each new segment
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("BYTES", "much"), ("BYTES", "0"), ("BYTES", "-5"), ("AGE", "old"), ("AGE", "0"), ("AGE", "nan")],
)
def test_a_bound_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"ION_SPOOL_MAX_{name}", value)
    with pytest.raises(IonError) as caught:
        Bounds.find()
    assert caught.value.code == "bad-spool-bound"
