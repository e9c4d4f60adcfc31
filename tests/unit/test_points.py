"""Columns of points: every bit comes back, few bytes are needed, and nothing else is taken for a column."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ion.agent import Client
from ion.agent.statistics import Column, leaves
from ion.errors import IonError
from ion.facts import GapNoted, StatisticsRecorded
from ion.home import Home
from ion.points import Points, leaf_digest, read_block, read_column, write_block, write_column
from ion.testing import MemoryReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMES = np.cumsum(np.full(1000, 1_000_000)) + 1_700_000_000_000_000
RANDOM = np.random.default_rng(7)


@pytest.fixture
def receiver() -> MemoryReceiver:
    return MemoryReceiver()


@pytest.fixture
def client(tmp_path: Path, receiver: MemoryReceiver) -> Iterator[Client]:
    opened = Client(Home(tmp_path), "test", receiver)
    yield opened
    opened.close()


def points(values: object, times: object = None) -> Points:
    column = np.asarray(values, float)
    return Points(TIMES[: len(column)] if times is None else np.asarray(times, np.int64), column)


@pytest.mark.parametrize(
    "told",
    [
        points([]),
        points([0.0]),
        points([-0.0, 0.0]),
        points([5e-324, 1.7976931348623157e308, -1.5]),
        points([float("nan"), float("inf"), float("-inf")]),
        points(RANDOM.random(1000)),
        points(np.round(RANDOM.random(1000), 4)),
        points([2.0**53, 1.0]),
        points([1.0, 2.0, 3.0], [2**63 - 1, -(2**63), 0]),
        points([1.0] * 3, [5, 5, 4]),
        points([0, -128, 127, 128, -129, 32767, -32768, 32768]),
    ],
    ids=["none", "one", "zeros", "extremes", "no numbers", "floats", "decimals", "large", "far", "back", "widths"],
)
def test_every_bit_of_a_column_comes_back(told: Points) -> None:
    read = read_column(write_column(told))
    assert read.times.tobytes() == told.times.tobytes()
    assert read.values.tobytes() == told.values.tobytes()
    assert read.digest() == told.digest()


def test_a_thousand_decimals_a_second_apart_take_a_few_bytes_each() -> None:
    assert len(write_column(points(np.round(RANDOM.random(1000), 4)))) < 3 * 1000
    assert len(write_column(points(np.ones(1000)))) < 100


def test_a_column_cut_short_or_with_another_head_is_refused() -> None:
    for values in ([0.5, 0.25], RANDOM.random(100)):
        column = write_column(points(values))
        for size in range(len(column)):
            with pytest.raises(IonError) as caught:
                read_column(column[:size])
            assert caught.value.code == "bad-points"
        for other in (column + b"\0", b"\2" + column[1:]):
            with pytest.raises(IonError):
                read_column(other)


def test_a_small_column_that_claims_many_points_takes_no_memory() -> None:
    with pytest.raises(IonError):
        read_column(struct.pack("<BI", 0, 2**32 - 1))
    with pytest.raises(IonError):
        read_column(struct.pack("<BI", 1, 1 << 24) + write_column(points(RANDOM.random(100)))[5:])


def test_a_block_gives_its_columns_back_and_no_part_of_one() -> None:
    columns = [write_column(points([1.0])), write_column(points([]))]
    assert read_block(write_block(columns)) == columns
    for cut in range(1, len(columns[1]) + 4):
        with pytest.raises(IonError):
            read_block(write_block(columns)[:-cut])


def test_a_block_of_many_columns_cannot_ask_for_much_memory_either() -> None:
    half = struct.pack("<BI", 1, 1 << 23)
    assert read_block(write_block([half] * 2)) == [half] * 2
    with pytest.raises(IonError):
        read_block(write_block([half] * 2 + [write_column(points([1.0]))]))


def test_the_digest_of_a_leaf_depends_on_values_times_and_order() -> None:
    one, other = points([1.0, 2.0]), points([1.0, 3.0])
    later = Points(one.times + 1, one.values)
    told = {
        leaf_digest(part.digest() for part in parts) for parts in ([one, other], [other, one], [later, other], [one])
    }
    assert len(told) == 4


def test_a_leaf_holds_one_epoch_and_each_series_once() -> None:
    many = points(RANDOM.random(1000))
    long = Points(np.tile(many.times, 40), np.tile(many.values, 40))
    columns = [Column("b", "later", many), Column("a", "", long), Column("b", "", many)]
    told = list(leaves(columns))
    assert all(len({column.epoch for column in leaf}) == 1 for leaf in told)
    assert all(len({column.series for column in leaf}) == len(leaf) for leaf in told)
    again = [column.points.values for leaf in told for column in leaf if column.series == "a"]
    assert np.concatenate(again).tobytes() == long.values.tobytes()


def test_points_told_at_once_come_back_with_their_times(client: Client, receiver: MemoryReceiver) -> None:
    with client.node_run("patient_tests/model", kind="training") as run:
        run.stat("loss", 0.5)
        run.stats_many("loss", [0.4, 0.3], [10, 20])
        run.stats_many("loss", np.array([0.2, float("nan")]))
        run.stats_many("loss", [0.1], epoch="e")
    (hole,) = receiver.facts(GapNoted)
    assert (hole.what, hole.count) == ("statistic loss", 1)
    assert [(fact.epoch, [row["n"] for row in fact.series]) for fact in receiver.facts(StatisticsRecorded)] == [
        ("", [4]),
        ("e", [1]),
    ]
    assert sorted(receiver.points()["loss"].values.tolist()) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert {10, 20} < set(receiver.points()["loss"].times.tolist())


@pytest.mark.parametrize(
    ("values", "times"),
    [("x", None), ([[1.0]], None), ([1.0], [1, 2]), ([1.0], [0.5]), ([1.0], ["x"]), (1.0, None)],
    ids=["text", "matrix", "lengths", "fraction", "no time", "number"],
)
def test_what_is_no_column_of_points_is_refused_at_once(client: Client, values: object, times: object) -> None:
    run = client.node_run("patient_tests/model", kind="training")
    with pytest.raises(IonError) as caught:
        run.stats_many("loss", values, times)  # type: ignore[arg-type]
    assert caught.value.code == "bad-statistic"
    run.stats_many("loss", [])
    run.end()


def test_statistics_become_durable_by_themselves(tmp_path: Path, receiver: MemoryReceiver) -> None:
    client = Client(Home(tmp_path / "h"), "test", receiver)
    run = client.node_run("patient_tests/model", kind="training")
    run.stat("loss", 0.5)
    run.stat("loss", 0.25)
    deadline = time.monotonic() + 30
    while not receiver.facts(StatisticsRecorded) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert receiver.points()["loss"].values.tolist() == [0.5, 0.25]
    client.close()
