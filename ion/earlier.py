"""Bodies of facts as earlier versions wrote them, in today's form; what is hashed stays as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def in_todays_form(kind: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of a fact; the body itself where its form is today's.

    Raises:
        KeyError, TypeError, ValueError: it is of neither form.
    """
    if kind == "StatisticsRecorded" and "times" in body:
        return _statistics(**body)
    return body


def _statistics(*, run: str, series: str, times: list[int], values: list[float], epoch: str) -> dict[str, Any]:
    """Return what format 3 says of the points that a fact of format 2 holds itself, of one series."""
    import numpy as np

    from ion.points import Points, leaf_digest

    if len(times) != len(values) or not times or any(type(us) is not int for us in times):
        message = "times and values are not equally long columns of numbers"
        raise ValueError(message)
    points = Points(np.array(times, np.int64), np.array(values, np.float64))
    told = {"name": series, "n": len(times), "first": times[0], "last": times[-1]}
    return {"run": run, "epoch": epoch, "series": [told], "digest": leaf_digest([points.digest()])}
