"""Structured streaming queries of a session as statistics, events and alerts of a node run."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from pyspark.sql.streaming import StreamingQueryListener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.listener import (
        QueryIdleEvent,
        QueryProgressEvent,
        QueryStartedEvent,
        QueryTerminatedEvent,
    )

    from ion import NodeRun

_LONGEST_WAIT = 30.0
"""Seconds in which Spark tells of queries that have ended."""


class QueryListener(StreamingQueryListener):
    """Tells of every query that starts while it listens; see `listening`.

    Series are ``<query>/rows``, ``/input_rows_per_second``, ``/processed_rows_per_second``, ``/batch_ms`` and
    ``/state_rows``, each at the moment its batch began; ``<query>`` is the query's name, else its run id.
    """

    def __init__(self, run: NodeRun) -> None:
        self._run = run
        self._names: dict[str, str] = {}
        self._going: set[str] = set()
        self._changed = threading.Condition()

    def onQueryStarted(self, event: QueryStartedEvent) -> None:  # noqa: N802 - Spark's name
        """Note the query."""
        query = str(event.runId)
        with self._changed:
            self._names[query] = event.name or query
            self._going.add(query)
        self._event("streaming query started", query)

    def onQueryProgress(self, event: QueryProgressEvent) -> None:  # noqa: N802
        """Tell what one batch did."""
        progress = event.progress
        query = str(progress.runId)
        if self._run.status or query not in self._names:
            return
        at = round(datetime.fromisoformat(progress.timestamp).timestamp() * 1_000_000)
        told = {
            "rows": progress.numInputRows,
            "input_rows_per_second": progress.inputRowsPerSecond,
            "processed_rows_per_second": progress.processedRowsPerSecond,
            "batch_ms": progress.batchDuration,
            **({"state_rows": rows} if (rows := sum(each.numRowsTotal for each in progress.stateOperators)) else {}),
        }
        for series, value in told.items():
            self._run.stats_many(f"{self._names[query]}/{series}", [float(value)], [at])

    def onQueryIdle(self, event: QueryIdleEvent) -> None:  # noqa: N802
        """Nothing came: nothing to tell."""

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:  # noqa: N802
        """Tell that it ended; an error is an alert with its class, not its text, which may hold rows and paths."""
        query = str(event.runId)
        if query not in self._names:
            return
        if event.exception:
            kind = event.errorClassOnException or "an error"
            if not self._run.status:
                self._run.alert("streaming-query-failed", f"the query {self._names[query]} ended with {kind}")
        else:
            self._event("streaming query ended", query)
        with self._changed:
            self._going.discard(query)
            self._changed.notify_all()

    def _event(self, name: str, query: str) -> None:
        if not self._run.status:
            self._run.event(name, query=self._names[query], query_run=query)

    def told_of_ended(self, session: SparkSession, seconds: float = _LONGEST_WAIT) -> int:
        """Wait until Spark has told of every query that has ended; returns of how many it has not."""
        deadline = time.monotonic() + seconds
        while True:
            active = {str(query.runId) for query in session.streams.active}
            with self._changed:
                left = len(self._going - active)
                if not left or time.monotonic() > deadline:
                    return left
                self._changed.wait(0.2)


@contextmanager
def listening(session: SparkSession, run: NodeRun) -> Iterator[QueryListener]:
    """Tell of the streaming queries that start inside, as part of ``run``.

    Spark tells its listeners late: at the end this waits for what it has to say of queries that are over. What
    does not come is a gap. A query that still goes on is told of no longer.
    """
    listener = QueryListener(run)
    session.streams.addListener(listener)
    try:
        yield listener
    finally:
        untold = listener.told_of_ended(session)
        session.streams.removeListener(listener)
        if untold:
            run.gap("streaming queries", untold, "Spark did not tell how they ended")
