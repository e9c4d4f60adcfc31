"""Statistics that are told with their times and an id: one fact each, so that telling it again adds no point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.agent.intake.telling import Telling
from ion.facts import StatisticsRecorded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def statistics(
    run: str, points: Mapping[str, tuple[Sequence[int], Sequence[float]]], *, epoch: str = ""
) -> tuple[Telling, ...]:
    """Return the tellings of series by name, each as equally long times (µs) and finite values."""
    return tuple(
        Telling(StatisticsRecorded(run=run, series=name, epoch=epoch, times=list(times), values=list(values)))
        for name, (times, values) in points.items()
    )
