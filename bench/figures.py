"""One measured figure: a JSON line, and a row of the table at the end."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from bench.sampling import quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure in ``unit`` from ``n`` samples; ``target`` is the most it should be, None where none is set.

    With ``least`` the target is the least that it should be.
    """

    name: str
    value: float
    unit: str
    n: int
    p50: float | None = None
    p99: float | None = None
    target: float | None = None
    reached: bool | None = None
    note: str = ""
    least: bool = False

    def line(self) -> str:
        """Return the JSON line."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Figure | None:
        """Return the figure in a line of output; None for any other line."""
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError):
            return None


def tell(
    name: str,
    value: float,
    unit: str,
    n: int,
    *,
    target: float | None = None,
    least: float | None = None,
    note: str = "",
) -> None:
    """Print a figure that is one number, at once: nothing is lost when a later benchmark fails.

    ``target`` is the most it should be; or ``least`` the least.
    """
    figure = Figure(name, _short(value), unit, n, note=note)
    if target is not None:
        figure = replace(figure, target=target, reached=value <= target)
    if least is not None:
        figure = replace(figure, target=least, reached=value >= least, least=True)
    print(figure.line(), flush=True)


def tell_samples(
    name: str, samples: Sequence[float], unit: str, share: float, *, target: float | None = None, note: str = ""
) -> None:
    """Print a quantile of samples, with p50 and p99 beside it."""
    value = quantile(samples, share)
    reached = None if target is None else value <= target
    middle, high = _short(quantile(samples, 0.5)), _short(quantile(samples, 0.99))
    figure = Figure(name, _short(value), unit, len(samples), middle, high, target, reached, note)
    print(figure.line(), flush=True)


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as aligned text."""
    rows = [("figure", "value", "unit", "n", "p50", "p99", "target", "reached", "note")]
    rows += [
        (
            figure.name,
            _text(figure.value),
            figure.unit,
            str(figure.n),
            _text(figure.p50),
            _text(figure.p99),
            "" if figure.target is None else f"{'>=' if figure.least else '<='} {_text(figure.target)}",
            {True: "yes", False: "NO", None: ""}[figure.reached],
            figure.note,
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numeric = {1, 3, 4, 5, 6}
    lines = [
        "  ".join(
            cell.rjust(width) if i in numeric else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in [lines[0], "-" * len(lines[0]), *lines[1:]])


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.{_DIGITS}g}"
