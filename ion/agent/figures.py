"""Shaped figures of a node run: vectors, tables, matrices and lines; small ones, checked when they are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Protocol

from ion.agent.telling import Telling
from ion.errors import IonError
from ion.facts import FigureRecorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

MOST_CELLS = 10_000
"""Numbers and texts in one figure."""
_LONGEST_TEXT = 200


class Frame(Protocol):
    """What a table is read from beside a mapping: a pandas or Polars frame."""

    @property
    def columns(self) -> Iterable[object]:
        """Names of the columns."""
        ...

    def __getitem__(self, name: object, /) -> Iterable[object]:
        """Return a column."""
        ...


class Figures(Telling):
    """Figures are facts of their own, one each; a number that changes with time is a statistic instead."""

    def vector(self, name: str, values: ArrayLike, *, epoch: str = "") -> None:
        """Record a list of numbers, e.g. the importance of each feature.

        Raises:
            IonError: ``bad-figure`` for another shape, NaN or an infinity; ``figure-too-large`` over 10,000 numbers.
        """
        self._figure(name, "vector", {"values": _numbers(name, values)}, epoch)

    def table(self, name: str, columns: Frame | Mapping[str, Iterable[object]], *, epoch: str = "") -> None:
        """Record equally long columns of numbers, texts (up to 200 characters), booleans and None (missing).

        A table is for what a person reads. The rows of a dataset are no figure: `NodeRun.dataset` keeps them by digest.

        Raises:
            IonError: ``bad-figure``, ``figure-too-large`` over 10,000 cells.
        """
        keys: Iterable[object] = columns if isinstance(columns, Mapping) else columns.columns
        told = [{"name": _text(name, key), "values": _cells(name, columns[key])} for key in keys]  # type: ignore[index]
        _require_equal(name, [len(column["values"]) for column in told], "columns")
        self._figure(name, "table", {"columns": told}, epoch)

    def matrix(
        self, name: str, values: ArrayLike, rows: Sequence[object], columns: Sequence[object], *, epoch: str = ""
    ) -> None:
        """Record a matrix of numbers under its labels, e.g. a confusion matrix.

        Of a confusion matrix, ``rows`` are what was true and ``columns`` what was said.

        Raises:
            IonError: ``bad-figure`` when ``values`` is not rows x columns or holds NaN; ``figure-too-large``.
        """
        lines = _list(name, values)
        if len(lines) != len(rows) or any(not isinstance(row, list) or len(row) != len(columns) for row in lines):
            raise IonError(
                "bad-figure",
                f"{name} is not a matrix of {len(rows)} rows and {len(columns)} columns",
                "give as many labels as there are rows and columns",
            )
        figure = {
            "rows": [_text(name, label) for label in rows],
            "columns": [_text(name, label) for label in columns],
            "values": [_numbers(name, row) for row in lines],
        }
        self._figure(name, "matrix", figure, epoch)

    def lines(self, name: str, lines: Mapping[str, tuple[ArrayLike, ArrayLike]], *, epoch: str = "") -> None:
        """Record lines through points (x, y), by label: e.g. a ROC curve for each class.

        Raises:
            IonError: ``bad-figure`` when x and y differ in length or hold NaN; ``figure-too-large``.
        """
        told = []
        for label, (x, y) in lines.items():
            across, up = _numbers(name, x), _numbers(name, y)
            _require_equal(name, [len(across), len(up)], f"x and y of {label}")
            told.append({"label": _text(name, label), "x": across, "y": up})
        self._figure(name, "lines", {"lines": told}, epoch)

    def _figure(self, name: str, shape: str, figure: Mapping[str, object], epoch: str) -> None:
        cells = _count(figure)
        if cells > MOST_CELLS:
            raise IonError(
                "figure-too-large",
                f"{name} has {cells} cells; a figure has at most {MOST_CELLS}",
                "thin it out, record a series with stats_many, or keep the rows with run.dataset",
            )
        self.emit(FigureRecorded(run=self.id, name=name, shape=shape, figure=dict(figure), epoch=epoch))


def _count(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(_count(member) for member in value.values())
    return sum(_count(member) for member in value) if isinstance(value, list) else 1


def _list(name: str, values: object) -> list[object]:
    """Return a sequence or array as a list of Python's own values."""
    plain = values.tolist() if hasattr(values, "tolist") else values
    if hasattr(plain, "to_list"):  # a column of a frame that is no array
        plain = plain.to_list()
    if isinstance(plain, str | bytes | Mapping) or not isinstance(plain, Iterable):
        raise IonError("bad-figure", f"{name} holds a {type(values).__name__}, not a list", "give a sequence")
    return [member.tolist() if hasattr(member, "tolist") else member for member in plain]


def _numbers(name: str, values: object) -> list[float]:
    numbers: list[float] = []
    for value in _list(name, values):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise IonError("bad-figure", f"{name} holds a {type(value).__name__} where a number belongs")
        numbers.append(_finite(name, value))
    return numbers


def _cells(name: str, values: object) -> list[object]:
    cells: list[object] = []
    for value in _list(name, values):
        if isinstance(value, str):
            cells.append(_text(name, value))
        elif value is None or isinstance(value, bool):
            cells.append(value)
        elif isinstance(value, int | float):
            cells.append(_finite(name, value))
        else:
            raise IonError(
                "bad-figure",
                f"{name} holds a {type(value).__name__}",
                "a cell is a number, a text, true, false or None; write times as text",
            )
    return cells


def _finite(name: str, value: float) -> float:
    if isfinite(value):
        return value
    raise IonError(
        "bad-figure",
        f"{name} holds {value!r}, which is no number",
        "leave it out, say None in a table, or count what is missing with run.gap",
    )


def _text(name: str, value: object) -> str:
    text = str(value)
    if len(text) > _LONGEST_TEXT:
        raise IonError("bad-figure", f"{name} holds a text of {len(text)} characters", f"at most {_LONGEST_TEXT}")
    return text


def _require_equal(name: str, lengths: Sequence[int], what: str) -> None:
    if len(set(lengths)) > 1:
        raise IonError("bad-figure", f"{name}: {what} have {', '.join(map(str, lengths))} values", "make them equal")
