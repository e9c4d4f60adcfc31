"""Histograms with declared bins: mergeable across workers by adding counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.values import dataclass

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


_MOST_ON_GRID = 255
_SMALLEST_STEP = 2.0**-1000  # its inverse is a float, too


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts[i]`` values in ``[edges[i], edges[i+1])`` (the last bin closed), plus those outside."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    below: int = 0
    above: int = 0

    @classmethod
    def of(cls, values: ArrayLike, edges: ArrayLike) -> Histogram:
        """Count ``values`` (any shape, NaN ignored) into the bins between ``edges`` (ascending).

        Raises:
            IonError: ``bad-histogram`` when fewer than two edges are given, or they are not finite and rising.
        """
        import numpy as np

        bounds = np.asarray(edges, dtype=float)
        if bounds.ndim != 1 or len(bounds) < 2 or not _rising(bounds):  # noqa: PLR2004 - one bin needs two edges
            raise IonError("bad-histogram", "histogram edges must be at least two rising finite numbers")
        data = np.asarray(values, dtype=float).ravel()
        data = data[~np.isnan(data)] if np.isnan(data).any() else data
        on_grid = _on_grid(data, bounds)
        if on_grid is not None:
            return cls(tuple(map(float, bounds)), tuple(on_grid))
        found = np.bincount(np.searchsorted(bounds, data, side="right"), minlength=len(bounds) + 1).tolist()
        below, *counts, above = found
        last = int((data == bounds[-1]).sum())  # it belongs to the last bin
        counts[-1] += last
        return cls(tuple(bounds.tolist()), tuple(counts), below, above - last)

    @classmethod
    def spanning(cls, values: np.ndarray, bins: int = 20) -> Histogram:
        """Count ``values`` into ``bins`` equal bins from their finite minimum to their finite maximum.

        Raises:
            IonError: ``bad-histogram`` when no value is finite.
        """
        import numpy as np

        data = np.asarray(values, dtype=float)
        data = data[np.isfinite(data)]
        if not data.size:
            raise IonError("bad-histogram", "there is no finite value to span the bins")
        low, high = float(data.min()), float(data.max())
        # Equal values, or so close that floats between them run out: a bin has to have a width.
        width = max(high - low, 1.0 if high == low else 0.0, abs(low) * bins * 1e-12)
        return cls.of(values, np.linspace(low, max(high, low + width), bins + 1))

    @property
    def total(self) -> int:
        """How many values were counted, outside ones included."""
        return sum(self.counts) + self.below + self.above

    def merged(self, other: Histogram) -> Histogram:
        """Return the sum of two histograms over the same bins.

        Raises:
            IonError: ``bad-histogram`` when the bins differ.
        """
        if self.edges != other.edges:
            raise IonError("bad-histogram", "only histograms over the same bins can be merged")
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Histogram(self.edges, counts, self.below + other.below, self.above + other.above)


def _on_grid(data: NDArray[np.float64], bounds: NDArray[np.float64]) -> list[int] | None:
    """Count values that all lie between 0 and the last edge, where the edges are the multiples of a power of two.

    There the bin of a value is exactly its whole multiple: no search is needed, which is most of the cost. Else None.
    """
    import numpy as np

    bins = len(bounds) - 1
    scale = 1.0 / bounds[1] if bounds[0] == 0.0 and bounds[1] > _SMALLEST_STEP else 0.0
    if not data.size or bins > _MOST_ON_GRID or not scale or np.frexp(scale)[0] != 0.5:  # noqa: PLR2004 - of a power of two
        return None
    if not np.array_equal(bounds * scale, np.arange(bins + 1)) or data.min() < 0.0 or data.max() > bounds[-1]:
        return None
    counts = np.bincount((data * scale).astype(np.uint8), minlength=bins + 1)
    counts[bins - 1] += counts[bins]  # the last bin is closed
    return [int(count) for count in counts[:bins]]


def _rising(bounds: NDArray[np.float64]) -> bool:
    import numpy as np

    return bool(np.isfinite(bounds).all() and (np.diff(bounds) > 0).all())
