"""A ``logging`` handler whose records become facts: in batches, bounded, without the text of exceptions."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from ion.agent.redaction import redacted
from ion.errors import IonError
from ion.facts import GapNoted, LogsRecorded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ion.agent.run import NodeRun

_LONGEST_MESSAGE = 2_000
_MOST_WAITING = 10_000
_PER_FACT = 500
_SECONDS = 0.25


class LogHandler(logging.Handler):
    """Records of ``level`` and above become `LogsRecorded` facts of ``run``; a list append for who logs.

    Of an exception only the kind is recorded, unless ``exceptions``: its text may hold rows and paths. Messages
    lose what looks like a secret or an absolute path (`ion.agent.redaction`). Over ``per_second`` records in one
    second, and whatever cannot be formatted, are a counted gap. What ion itself logs is left out; so is
    everything after the end of the run.

    Args:
        run: whose log it is; its end takes along what waits.
        level: as everywhere in ``logging``. The level of the logger itself comes before it.
        per_second: at most so many entries for each second of the records' own clock.
        exceptions: record the text of exceptions, too, without what looks like a secret or a path.
    """

    def __init__(
        self, run: NodeRun, level: int | str = logging.INFO, *, per_second: int = 100, exceptions: bool = False
    ) -> None:
        super().__init__(level)
        self._run = run
        self._per_second = per_second
        self._exceptions = exceptions
        self._inside = threading.local()
        self._begin()
        run.before_end(self._tell)

    def _begin(self) -> None:
        """Start with nothing waiting: when made, and in a forked child, whose parent tells what waits."""
        self._pid = os.getpid()
        self._waiting: deque[dict[str, object]] = deque()
        self._lost: dict[str, tuple[int, int, int]] = {}
        self._second, self._in_second = 0, 0
        self._counting = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def attached(self, logger: str = "") -> Iterator[Self]:
        """Listen to a logger (by default to all of them) for the length of a ``with`` block."""
        listened = logging.getLogger(logger or None)
        listened.addHandler(self)
        try:
            yield self
        finally:
            listened.removeHandler(self)
            self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; called by ``logging``, under the handler's lock. Never writes, never raises."""
        if record.name.partition(".")[0] == "ion" or getattr(self._inside, "telling", False) or self._run.status:
            return
        if os.getpid() != self._pid:
            self._begin()
        if self._stopping.is_set():
            return
        us = int(record.created * 1_000_000)
        second = us // 1_000_000
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        if self._in_second > self._per_second:
            self._lose(f"more than {self._per_second} log records in a second", us, us)
        elif len(self._waiting) >= _MOST_WAITING:
            self._lose("they could not be spooled", us, us)
        else:
            try:
                self._waiting.append(self._entry(record, us))
            except Exception:  # noqa: BLE001 - whatever a message's own arguments do, the program goes on
                self._lose("the message could not be formatted", us, us)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="ion-logs", daemon=True)
            self._thread.start()
            atexit.register(self.close)  # before the client, which was made earlier, closes

    def _entry(self, record: logging.LogRecord, us: int) -> dict[str, object]:
        text = redacted(record.getMessage())
        entry: dict[str, object] = {"us": us, "level": record.levelname, "logger": _plain(record.name[:200])}
        if record.exc_info and record.exc_info[0]:
            entry["exception"] = record.exc_info[0].__name__
            if self._exceptions:
                text = f"{text}: {redacted(str(record.exc_info[1]))}"
        if len(text) > _LONGEST_MESSAGE:
            entry["cut"] = len(text) - _LONGEST_MESSAGE
        entry["message"] = _plain(text[:_LONGEST_MESSAGE])
        return entry

    def _lose(self, reason: str, first: int, last: int, count: int = 1) -> None:
        with self._counting:
            already, since, until = self._lost.get(reason, (0, first, last))
            self._lost[reason] = (already + count, min(since, first), max(until, last))

    def _work(self) -> None:
        while not self._stopping.wait(_SECONDS) and not self._run.status:
            self.flush()
        self.flush()  # what came in while the run ended
        atexit.unregister(self.close)

    def flush(self) -> None:
        """Tell what waits; what cannot be spooled goes on waiting."""
        with suppress(IonError, OSError):
            self._tell()

    def _tell(self) -> None:
        if os.getpid() != self._pid:
            return
        with self._run.client.lock:
            self._inside.telling = True  # whatever is logged from in here would be told again and again
            try:
                self._tell_entries()
                self._tell_lost()
            finally:
                self._inside.telling = False

    def _tell_entries(self) -> None:
        while self._waiting:
            entries = [self._waiting[index] for index in range(min(_PER_FACT, len(self._waiting)))]
            self._run.emit(LogsRecorded(run=self._run.id, entries=entries))
            for _ in entries:
                self._waiting.popleft()

    def _tell_lost(self) -> None:
        for reason in list(self._lost):
            with self._counting:
                count, first, last = self._lost.pop(reason)
            gap = GapNoted(scope=self._run.id, what="logs", count=count, reason=reason, first=first, last=last)
            try:
                self._run.emit(gap)
            except (IonError, OSError):
                self._lose(reason, first, last, count)
                raise

    def close(self) -> None:
        """Tell what waits and take no more; harmless twice."""
        self._stopping.set()
        self.flush()
        atexit.unregister(self.close)
        super().close()


def _plain(text: str) -> str:
    """Return the text without lone surrogates: a fact that cannot be written would hold up all that wait."""
    return text.encode("utf-8", "replace").decode("utf-8")
