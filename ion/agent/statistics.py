"""Statistics on their way from a program to the spool: points in memory, then columns."""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.errors import IonError
from ion.facts import StatisticsRecorded
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike

    from ion.points import Points

_POINTS_PER_COLUMN = 1 << 14
_POINTS_PER_FACT = 1 << 20


@dataclass(frozen=True, slots=True)
class Column:
    """Points of one series of an epoch."""

    series: str
    epoch: str
    points: Points


class Waiting:
    """The points of a run that are not yet spooled."""

    def __init__(self) -> None:
        self.single: dict[tuple[str, str], deque[tuple[float, float]]] = {}
        """(seconds, value) by (series, epoch), as they are told one by one."""
        self._many: deque[Column] = deque()

    def __bool__(self) -> bool:
        return bool(self._many) or any(self.single.values())

    def add_many(self, series: str, epoch: str, values: ArrayLike, times: ArrayLike | None) -> None:
        """Add points at once; copies what it is given.

        Raises:
            IonError: ``bad-statistic`` when these are not two equally long columns of numbers.
        """
        import numpy as np

        from ion.points import Points

        hint = "give one-dimensional numbers, and as many times in microseconds UTC"
        try:
            column = np.array(values, dtype=np.float64)
            stamps = (
                np.full(column.shape, now_us())
                if times is None
                else np.array(times).astype(np.int64, casting="same_kind")
            )
        except (TypeError, ValueError) as error:
            raise IonError("bad-statistic", f"not points of {series!r}: {error}"[:300], hint) from error
        if column.ndim != 1 or stamps.shape != column.shape:
            shapes = f"{series!r} got values of shape {column.shape} and times of shape {stamps.shape}"
            raise IonError("bad-statistic", shapes, hint)
        self._many.append(Column(series, epoch, Points(stamps, column)))

    def take(self) -> list[Column]:
        """Take everything out, one column per series and epoch, in the order told."""
        import numpy as np

        from ion.points import Points

        taken: dict[tuple[str, str], list[Points]] = {}
        for _ in range(len(self._many)):
            column = self._many.popleft()
            taken.setdefault((column.series, column.epoch), []).append(column.points)
        for key, told in list(self.single.items()):
            count = len(told)
            if count:
                flat = np.fromiter(chain.from_iterable(told.popleft() for _ in range(count)), np.float64, 2 * count)
                taken.setdefault(key, []).append(Points(np.rint(flat[0::2] * 1e6).astype(np.int64), flat[1::2].copy()))
        return [Column(*key, Points.joined(parts)) for key, parts in taken.items()]

    def give_back(self, columns: Sequence[Column]) -> None:
        """Put back what could not be spooled, before what was told since."""
        self._many.extendleft(reversed(columns))

    def clear(self) -> None:
        """Forget everything: in a forked child, whose parent tells it."""
        self._many.clear()
        self.single.clear()


def finite(column: Column) -> tuple[Column, int]:
    """Return the finite points, and how many were none."""
    import numpy as np

    from ion.points import Points

    fine = np.isfinite(column.points.values)
    lost = int(len(fine) - np.count_nonzero(fine))
    if not lost:
        return column, 0
    return Column(column.series, column.epoch, Points(column.points.times[fine], column.points.values[fine])), lost


def leaves(columns: Sequence[Column]) -> Iterator[list[Column]]:
    """Yield what may stand together in one fact: one epoch, each series once, no more points than a frame takes."""
    from ion.points import Points

    together: list[Column] = []
    for column in sorted(columns, key=lambda column: column.epoch):
        for first in range(0, len(column.points), _POINTS_PER_COLUMN):
            part = slice(first, first + _POINTS_PER_COLUMN)
            points = Points(column.points.times[part], column.points.values[part])
            full = sum(len(other.points) for other in together) + len(points) > _POINTS_PER_FACT
            if together and (full or first or together[0].epoch != column.epoch):
                yield together
                together = []
            together.append(Column(column.series, column.epoch, points))
    if together:
        yield together


def statistics_fact(run: str, epoch: str, series: Mapping[str, Points]) -> tuple[StatisticsRecorded, bytes]:
    """Return the fact about points told together, and the block that travels with it."""
    from ion.points import leaf_digest, write_block, write_column

    rows = [
        {"name": name, "n": len(points), "first": int(points.times[0]), "last": int(points.times[-1])}
        for name, points in series.items()
    ]
    digest = leaf_digest(points.digest() for points in series.values())
    block = write_block([write_column(points) for points in series.values()])
    return StatisticsRecorded(run=run, epoch=epoch, series=rows, digest=digest), block
