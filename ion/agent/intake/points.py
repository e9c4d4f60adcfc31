"""Statistics that are told with their times and an id: facts of their own, so that telling them again adds no point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.agent.intake.telling import Telling
from ion.agent.statistics import Column, leaves, statistics_fact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def statistics(
    run: str, points: Mapping[str, tuple[Sequence[int], Sequence[float]]], *, epoch: str = ""
) -> tuple[Telling, ...]:
    """Return the tellings of series by name, each as equally long times (µs UTC) and finite values."""
    return tuple(_tellings(run, points, epoch))


def _tellings(run: str, points: Mapping[str, tuple[Sequence[int], Sequence[float]]], epoch: str) -> Iterator[Telling]:
    import numpy as np

    from ion.points import Points

    columns = [
        Column(name, epoch, Points(np.array(times, np.int64), np.array(values, np.float64)))
        for name, (times, values) in points.items()
    ]
    for part in leaves(columns):
        fact, block = statistics_fact(run, epoch, {column.series: column.points for column in part})
        yield Telling(fact, block=block)
