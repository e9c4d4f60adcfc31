"""Quantiles of samples, and the mean of paired differences with its confidence bound; no library needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_STEPS = 2000
_WIDEST = 1000.0


def quantile(samples: Sequence[float], share: float) -> float:
    """Return the nearest-rank quantile: the smallest sample with at least ``share`` of all at or below it.

    It never interpolates downwards: the p99 of fewer than a hundred samples is their maximum.

    Raises:
        ValueError: no samples, or a share outside (0, 1].
    """
    if not samples or not 0.0 < share <= 1.0:
        raise ValueError(f"no quantile {share} of {len(samples)} samples")
    return sorted(samples)[math.ceil(share * len(samples)) - 1]


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean of ``with - without`` over pairs, and the one-sided upper confidence bound of that mean."""

    pairs: int
    mean: float
    deviation: float
    upper: float

    @classmethod
    def of(cls, pairs: Sequence[tuple[float, float]], confidence: float = 0.95) -> PairedDifference:
        """Return the difference of ``(without, with)`` pairs, by Student's t on the differences.

        Raises:
            ValueError: fewer than two pairs have no deviation.
        """
        differences = [second - first for first, second in pairs]
        count = len(differences)
        if count < 2:  # noqa: PLR2004 - one degree of freedom at least
            raise ValueError("a confidence bound needs two pairs or more")
        mean = math.fsum(differences) / count
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in differences) / (count - 1))
        margin = student_t(confidence, count - 1) * deviation / math.sqrt(count)
        return cls(count, mean, deviation, mean + margin)


@lru_cache
def student_t(probability: float, degrees: int) -> float:
    """Return the quantile of Student's t distribution, for ``probability`` in [0.5, 1).

    Bisection on the distribution function, which is the density integrated from 0 by Simpson's rule
    after x = tan(u), so that the tail is a finite interval.

    Raises:
        ValueError: outside that range, or no degree of freedom.
    """
    if not 0.5 <= probability < 1.0 or degrees < 1:  # noqa: PLR2004 - the upper half
        raise ValueError(f"no t quantile of {probability} with {degrees} degrees of freedom")
    low, high = 0.0, _WIDEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _distribution(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def _distribution(x: float, degrees: int) -> float:
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    scale = math.exp(log_scale)
    width = math.atan(x) / _STEPS
    total = 0.0
    for step in range(_STEPS + 1):
        slope = math.tan(step * width)
        density = scale * (1 + slope * slope / degrees) ** (-(degrees + 1) / 2) * (1 + slope * slope)
        total += density * (1 if step in {0, _STEPS} else 4 if step % 2 else 2)
    return 0.5 + total * width / 3
