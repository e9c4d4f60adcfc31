"""The scorer as one would write it without ion, and the switch between it and the governed one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from pyflink.datastream import ProcessFunction

from resources.flink.rows import Unscorable, parse_patient, quoted
from resources.flink.scoring import SET_ASIDE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyflink.common import Row
    from pyflink.datastream import RuntimeContext

    from ion.serving import Scorer


class RowScorer(Protocol):
    """What turns one row of the stream into rows of output."""

    def process_element(self, value: Row, context: ProcessFunction.Context) -> Iterable[object]:
        """Return output rows."""


class PlainScorer:
    """Parses and scores as `resources.flink.scoring.ScorePatients` does; its rows name no epoch and no model."""

    def __init__(self, inbox: str, scorer: Scorer) -> None:
        self._inbox = f"{inbox}/"
        self._scorer = scorer
        self._labels = {name: quoted(str(name)) for name in scorer.classes}
        self._path = self._file = ""

    def process_element(self, value: Row, _context: ProcessFunction.Context) -> Iterator[object]:
        """Score one row."""
        path, line, text = value
        scorer = self._scorer
        values = parse_patient(text, len(scorer.features))
        if isinstance(values, Unscorable):
            yield SET_ASIDE, f"{line},{values.reason},{self._name(path)}"
            return
        score = scorer.score_row(values)
        label = self._labels[scorer.label(score)]
        us = time.time_ns() // 1000
        yield f"{line},{us},{score!r},{label},{self._name(path)}"

    def _name(self, path: str) -> str:
        if path != self._path:
            self._path, self._file = path, quoted(path.removeprefix(self._inbox))
        return self._file


class Switch:
    """Which scorer the running operator uses; exchanged between two rows."""

    def __init__(self, plain: RowScorer) -> None:
        self.plain = plain
        self.scorer = plain
        self.context: RuntimeContext | None = None
        self.rows = 0


_installed: list[Switch] = []


def install(switch: Switch) -> None:
    """Let the operator that Flink opens in this process use ``switch``."""
    _installed[:] = [switch]


class SwitchedScorer(ProcessFunction):  # type: ignore[misc] - pyflink ships no types
    """The operator: hands every row to the scorer in place."""

    def open(self, runtime_context: RuntimeContext) -> None:
        """Take the installed switch."""
        self._switch = _installed[0]
        self._switch.context = runtime_context

    def process_element(self, value: Row, context: ProcessFunction.Context) -> Iterable[object]:
        """Score one row with the scorer in place."""
        switch = self._switch
        switch.rows += 1
        return switch.scorer.process_element(value, context)
