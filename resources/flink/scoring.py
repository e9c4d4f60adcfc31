"""The scorer as a Flink operator: stateless but for its epoch, which is never restored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pyflink.common import Types
from pyflink.datastream import OutputTag, ProcessFunction

from resources.flink.rows import Unscorable, parse_patient, quoted
from resources.flink.serving import shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyflink.common import Row
    from pyflink.datastream import RuntimeContext

    from resources.flink.serving import Epoch, SubtaskServing
    from resources.flink.settings import JobSettings

SET_ASIDE = OutputTag("set-aside", Types.STRING())


class ScorePatients(ProcessFunction):  # type: ignore[misc]  # pyflink ships no types
    """Turns ``(path, line, text)`` into a prediction row, or into a set-aside row on `SET_ASIDE`."""

    _serving: SubtaskServing

    def __init__(self, settings: JobSettings, run: str) -> None:
        self._run = run
        self._inbox = f"{settings.folders.inbox}/"
        self._subject = bool(settings.subject)
        self._path = self._file = ""
        self._epoch: Epoch | None = None

    def open(self, runtime_context: RuntimeContext) -> None:
        """Join this process's serving: a fresh epoch on every open and every restore."""
        index, attempt = runtime_context.get_index_of_this_subtask(), runtime_context.get_attempt_number()
        self._serving = shared(self._run).join(index, attempt)

    def close(self) -> None:
        """Close the epoch."""
        shared(self._run).leave(self._serving, "stopped")

    def process_element(self, value: Row, _context: ProcessFunction.Context) -> Iterator[object]:
        """Score one row. Nothing in a row can fail the job."""
        path, line, text = value
        if self._subject and text:
            text = text.partition(",")[2]
        serving = self._serving
        epoch = serving.epoch or serving.current()
        if epoch is not self._epoch:
            self._begin(epoch)
        values = parse_patient(text, self._width)
        if isinstance(values, Unscorable):
            yield SET_ASIDE, f"{epoch.id},{line},{values.reason},{self._name(path)}"
            return
        with serving.lock:  # in place, and itself: a call or a condition would cost more than all else here
            if here := serving.epoch is epoch:
                score = self._score(values)
                seq = epoch.seq
                epoch.seq = seq + 1
        if not here:
            epoch, seq, score = serving.score(values)
            self._begin(epoch)
        label = self._labels[self._label(score)]
        us = time.time_ns() // 1000
        yield f"{self._head}{seq}{self._middle}{line},{us},{score!r},{label},{self._name(path)}"

    def _begin(self, epoch: Epoch) -> None:
        """Take what every row of an epoch needs out of it once."""
        self._epoch = epoch
        scorer = epoch.admitted.scorer
        self._width, self._label, self._score = len(scorer.features), scorer.label, scorer.score_row
        self._labels = epoch.labels
        self._head, self._middle = f"{epoch.id},", f",{epoch.admitted.model},"

    def _name(self, path: str) -> str:
        if path != self._path:  # its rows come one after the other
            self._path, self._file = path, quoted(path.removeprefix(self._inbox))
        return self._file
