"""Columns of points for any times and values, and for any bytes that are none."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ion.errors import IonError
from ion.points import Points, read_block, read_column, write_column

INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(
    st.floats(width=64),
    st.integers(-(10**9), 10**9).map(float),
    st.integers(-(10**6), 10**6).map(lambda number: number / 100),
)


@given(st.lists(st.tuples(INTEGERS, VALUES), max_size=200))
def test_any_points_come_back_bit_for_bit(told: list[tuple[int, float]]) -> None:
    points = Points(np.array([us for us, _ in told], np.int64), np.array([value for _, value in told], float))
    read = read_column(write_column(points))
    assert read.times.tobytes() == points.times.tobytes()
    assert read.values.tobytes() == points.values.tobytes()


@given(st.binary(max_size=200))
def test_any_bytes_are_points_or_refused(data: bytes) -> None:
    for read in (read_column, read_block):
        with suppress(IonError):
            read(data)


@given(st.lists(st.tuples(INTEGERS, VALUES), min_size=1, max_size=50), st.data())
def test_a_changed_byte_never_gives_the_same_digest_to_other_points(
    told: list[tuple[int, float]], data: st.DataObject
) -> None:
    points = Points(np.array([us for us, _ in told], np.int64), np.array([value for _, value in told], float))
    column = bytearray(write_column(points))
    place = data.draw(st.integers(0, len(column) - 1))
    column[place] ^= data.draw(st.integers(1, 255))
    try:
        read = read_column(bytes(column))
    except IonError:
        return
    same = read.times.tobytes() == points.times.tobytes() and read.values.tobytes() == points.values.tobytes()
    assert same == (read.digest() == points.digest())
