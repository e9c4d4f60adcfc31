"""A node run: everything one execution of a node tells about itself."""

from __future__ import annotations

import os
import platform
from collections import deque
from typing import TYPE_CHECKING, Self

from ion.agent.figures import Figures
from ion.agent.holdings import Holdings
from ion.agent.statistics import Waiting, finite, leaves, statistics_fact
from ion.clock import now_s
from ion.errors import IonError
from ion.facts import (
    AlertRaised,
    ComponentRan,
    EventRecorded,
    GapNoted,
    MessageReceived,
    MessageSent,
    NodeRunEnded,
    NodeRunStarted,
    ParamRecorded,
    TrialRecorded,
)
from ion.ids import checked_node, new_id, observed_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import ArrayLike

    from ion.agent.client import Client
    from ion.agent.statistics import Column


class NodeRun(Figures, Holdings):
    """One execution of a node. Leaving the ``with`` block ends it, as failed on an exception.

    ``code`` is the state of its source, ``inputs`` the digests of the datasets it has read, by name.
    """

    def __init__(  # noqa: PLR0913 - what a run is started with
        self,
        client: Client,
        node: str,
        *,
        kind: str,
        code: Mapping[str, object] | None,
        config: Mapping[str, object] | None,
        engine: str,
        engine_run: str,
        run_id: str,
        submitter: str = "",
    ) -> None:
        self.client = client
        self.id = run_id or new_id()
        self.node = checked_node(node)
        self.code = dict(code or {})
        self.inputs: dict[str, str] = {}
        self.status = ""
        self._before_end: list[Callable[[], None]] = []
        self._waiting = Waiting()
        self._single = self._waiting.single
        self.emit(
            NodeRunStarted(
                run=self.id,
                node=node,
                node_kind=kind,
                code=self.code,
                config=dict(config or {}),
                environment=environment(),
                engine=engine,
                engine_run=engine_run,
                submitter=submitter,
            ),
            fact_id=observed_id("node run started", self.id),
        )

    def param(self, name: str, value: object, component: str = "") -> None:
        """Record a parameter (any JSON value) of the run or of one component."""
        self.emit(ParamRecorded(run=self.id, name=name, value=value, component=component))

    def stat(self, series: str, value: float, *, epoch: str = "") -> None:
        """Add one point to a time series, at this moment; kept in memory until the next flush (a second).

        Raises:
            IonError: ``run-ended``.
        """
        if self.status:
            raise self._ended()
        try:
            points = self._single[series, epoch]
        except KeyError:
            points = self._single.setdefault((series, epoch), deque())
        points.append((now_s(), float(value)))
        if self.client.idle:
            self.client.wake()

    def stats_many(self, series: str, values: ArrayLike, times: ArrayLike | None = None, *, epoch: str = "") -> None:
        """Add points to a time series: ``values`` and, in µs UTC, ``times`` (by default this moment for all).

        Raises:
            IonError: ``run-ended``, ``bad-statistic``.
        """
        if self.status:
            raise self._ended()
        self._waiting.add_many(series, epoch, values, times)
        if self.client.idle:
            self.client.wake()

    def _ended(self) -> IonError:
        return IonError("run-ended", f"the run {self.id} has ended; it has no further statistics")

    @property
    def has_points(self) -> bool:
        """Whether statistics wait to be packed."""
        return bool(self._waiting)

    def pack_statistics(self) -> None:
        """Spool the waiting points, as few facts as may be. Non-finite points become a gap.

        Raises:
            IonError: ``spool-unusable``; the points not yet spooled wait for the next time.
        """
        with self.client.lock:  # two threads would each take some points, and find none where one was
            waiting = self._waiting.take()
            told = 0
            try:
                columns = []
                for column in waiting:
                    kept, lost = finite(column)
                    if lost:
                        self.gap(f"statistic {column.series}", lost, "the value was not finite")
                    columns.append(kept)
                waiting = columns
                parts = list(leaves(waiting))
                waiting = [column for part in parts for column in part]
                for part in parts:
                    self._spool(part)
                    told += len(part)
            finally:
                self._waiting.give_back(waiting[told:])

    def _spool(self, part: Sequence[Column]) -> None:
        fact, block = statistics_fact(self.id, part[0].epoch, {column.series: column.points for column in part})
        self.emit(fact, block=block)

    def drop_points(self) -> None:
        """Forget the waiting points: in a forked child, whose parent tells them."""
        self._waiting.clear()

    def trial(self, params: Mapping[str, object], metrics: Mapping[str, float], *, selected: bool) -> None:
        """Record one setting of a hyper-parameter search."""
        self.emit(TrialRecorded(run=self.id, params=dict(params), metrics=dict(metrics), selected=selected))

    def component(self, name: str, kind: str, details: Mapping[str, object] | None = None) -> None:
        """Record that a level-1 component ran."""
        self.emit(ComponentRan(run=self.id, component=name, component_kind=kind, details=dict(details or {})))

    def send(self, receiver: str, message_kind: str, subject: str) -> str:
        """Record that this run sent a message to node ``receiver``; returns the message id."""
        message = new_id()
        self.emit(
            MessageSent(
                message=message,
                run=self.id,
                sender=self.node,
                receiver=checked_node(receiver),
                message_kind=message_kind,
                subject=subject,
            )
        )
        return message

    def received(self, message: str) -> None:
        """Record that this run took a message."""
        self.emit(MessageReceived(message=message, run=self.id, receiver=self.node))

    def alert(self, alert: str, message: str) -> None:
        """Raise something a person should look at."""
        self.emit(AlertRaised(scope=self.id, alert=alert, message=message))

    def event(self, name: str, **attributes: object) -> None:
        """Record that something happened; attributes are JSON values, and no rows of data."""
        self.emit(EventRecorded(run=self.id, name=name, attributes=attributes))

    def gap(self, what: str, count: int, reason: str) -> None:
        """Note a counted hole in what this run tells."""
        self.emit(GapNoted(scope=self.id, what=what, count=count, reason=reason))

    def before_end(self, act: Callable[[], None]) -> None:
        """Call ``act`` when the run is about to end, for what is still to be told."""
        self._before_end.append(act)

    def end(self, status: str = "succeeded", error: str = "") -> None:
        """End the run (``succeeded``, ``failed``, ``stopped``, ``halted``); ending twice is harmless."""
        if self.status:
            return
        if status not in {"succeeded", "failed", "stopped", "halted"}:
            raise IonError("bad-status", f"unknown run status {status!r}")
        for act in self._before_end:
            act()
        self.status = status
        try:
            self.pack_statistics()
            self.emit(NodeRunEnded(run=self.id, status=status, error=error[:2000]))
        except IonError:
            self.status = ""  # not told: the run has not ended for anybody else
            raise
        self.client.ship()
        self.client.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.end()
        else:
            self.end("failed", failure(error))


def failure(error: BaseException) -> str:
    """Return what a fact may say of an exception: its kind, not its text, which may hold rows and paths."""
    return f"IonError {error.code}" if isinstance(error, IonError) else type(error).__name__


def environment() -> dict[str, object]:
    """Return what is known of the interpreter and the machine's kind; no host name, no path."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processors": os.cpu_count() or 0,
    }
