"""Histograms count every value once and merge by adding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.agent import Histogram
from ion.errors import IonError


def test_values_on_edges_go_up_but_the_last_edge_is_inside() -> None:
    histogram = Histogram.of([0, 1, 2, 2.5, -0.1, 2.6, np.nan, np.inf, -np.inf], [0, 1, 2, 2.5])
    assert histogram == Histogram((0.0, 1.0, 2.0, 2.5), (1, 1, 2), below=2, above=2)
    assert histogram.total == 8


@pytest.mark.parametrize("edges", [[], [1], [1, 1], [2, 1], [[0, 1]], [0, np.nan], [0, np.inf]])
def test_edges_rise_and_are_finite(edges: list[float]) -> None:
    with pytest.raises(IonError) as caught:
        Histogram.of([1.0], edges)
    assert caught.value.code == "bad-histogram"


@pytest.mark.parametrize("values", [[5.0, 5.0], [1e17, 1e17 + 16], [0.0, np.inf, np.nan, 3.0], [-1e300, 1e300]])
def test_spanning_bins_hold_every_finite_value(values: list[float]) -> None:
    histogram = Histogram.spanning(np.array(values))
    assert len(histogram.counts) == 20
    assert sum(histogram.counts) == np.isfinite(values).sum()


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf]])
def test_nothing_spans_no_bins(values: list[float]) -> None:
    with pytest.raises(IonError) as caught:
        Histogram.spanning(np.array(values))
    assert caught.value.code == "bad-histogram"


def test_parts_add_up_to_the_whole() -> None:
    values, edges = np.linspace(-3, 3, 101), [-1.0, 0.0, 0.5, 1.0]
    assert Histogram.of(values[:30], edges).merged(Histogram.of(values[30:], edges)) == Histogram.of(values, edges)
    with pytest.raises(IonError):
        Histogram.of(values, edges).merged(Histogram.of(values, [0, 1]))


@given(
    st.integers(-60, 60),
    st.integers(1, 300),
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), max_size=30),
    st.lists(st.tuples(st.integers(0, 300), st.integers(-2, 2)), max_size=30),
)
def test_bins_whose_width_is_a_power_of_two_count_as_any_other_bins_do(
    power: int, bins: int, anywhere: list[float], near_edges: list[tuple[int, int]]
) -> None:
    edges = np.arange(bins + 1) * 2.0**power
    values = [value for value in anywhere if abs(value) <= edges[-1]] if power % 2 else anywhere
    for edge, steps in near_edges:
        value = min(edge, bins) * 2.0**power
        for _ in range(abs(steps)):
            value = np.nextafter(value, np.inf if steps > 0 else -np.inf)
        if power % 2 == 0 or 0 <= value <= edges[-1]:
            values.append(value)
    told = Histogram.of(values, edges)
    known = [value for value in values if not np.isnan(value)]
    inside = [value for value in known if edges[0] <= value <= edges[-1]]
    slots = [min(int(np.searchsorted(edges, value, "right")) - 1, bins - 1) for value in inside]
    assert told.counts == tuple(slots.count(slot) for slot in range(bins))
    assert (told.below, told.above) == (
        sum(value < edges[0] for value in known),
        sum(value > edges[-1] for value in known),
    )
