"""A node run: everything one execution of a node tells about itself."""

from __future__ import annotations

import os
import platform
from collections import deque
from math import isfinite
from typing import TYPE_CHECKING, Self

from ion.agent.figures import Figures
from ion.agent.holdings import Holdings
from ion.clock import now_us
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
    StatisticsRecorded,
    TrialRecorded,
)
from ion.ids import checked_node, new_id, observed_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from ion.agent.client import Client

_POINTS_PER_FACT = 100_000


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
        self._points: deque[tuple[str, str, int, float]] = deque()
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
        """Add one point to a time series; kept in memory until the next flush (50 ms).

        Raises:
            IonError: ``run-ended``.
        """
        if self.status:
            raise IonError("run-ended", f"the run {self.id} has ended; it has no further statistics")
        self._points.append((series, epoch, now_us(), float(value)))
        if self.client.asleep:
            self.client.wake()

    @property
    def has_points(self) -> bool:
        """Whether statistics wait to be packed."""
        return bool(self._points)

    def pack_statistics(self) -> None:
        """Spool the waiting points, one fact per series. Non-finite points become a gap.

        Raises:
            IonError: ``spool-unusable``; the points not yet spooled wait for the next time.
        """
        with self.client.lock:  # two threads would each take some points, and find none where one was
            grouped: dict[tuple[str, str, bool], list[tuple[int, float]]] = {}
            for _ in range(len(self._points)):
                series, epoch, us, value = self._points.popleft()
                grouped.setdefault((series, epoch, isfinite(value)), []).append((us, value))
            try:
                while grouped:
                    name = next(iter(grouped))
                    self._spool_points(*name, grouped[name])
                    del grouped[name]
            finally:
                for (series, epoch, _), points in grouped.items():
                    self._points.extendleft((series, epoch, us, value) for us, value in reversed(points))

    def _spool_points(self, series: str, epoch: str, finite: bool, points: list[tuple[int, float]]) -> None:  # noqa: FBT001
        if not finite:
            self.gap(f"statistic {series}", len(points), "the value was not finite")
            return
        for first in range(0, len(points), _POINTS_PER_FACT):
            part = points[first : first + _POINTS_PER_FACT]
            times, values = [us for us, _ in part], [value for _, value in part]
            self.emit(StatisticsRecorded(run=self.id, series=series, epoch=epoch, times=times, values=values))

    def drop_points(self) -> None:
        """Forget the waiting points: in a forked child, whose parent tells them."""
        self._points.clear()

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
