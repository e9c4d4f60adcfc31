"""The policy sensor: sees a candidate, has it decided, and reports the decision to Dagster.

It long-polls inside its tick: the sensor daemon looks every five seconds, and a tick that waits almost
as long on the store's head decides in tenths of a second, not seconds. Between two ticks, and for the five
seconds more that a tick which was late costs, a thread of the code server goes on.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dagster as dg

from ion.clock import now_us
from ion.dagster.governing import open_governor
from ion.dagster.reporting import report_decisions
from ion.decision import Reason
from ion.home import Home

if TYPE_CHECKING:
    from dagster._core.instance import InstanceRef

    from ion.decision import Governor
    from ion.store import Candidate

TICK_SECONDS = 4.5
BETWEEN_SECONDS = 10.0
"""Longer than until the daemon's next look. After it, a sensor that was switched off decides nothing more."""
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 60.0
"""A policy that has not answered by then has not approved."""

_YOUNG_US = 600_000_000
"""A candidate younger than this may still be waiting for Dagster's materialization event."""


@dataclass(slots=True)
class _Evaluation:
    thread: threading.Thread
    deadline: float


@dataclass(slots=True)
class Evaluations:
    """Evaluations under way, one thread each: a hung policy holds up nobody else's decision."""

    problems: list[str] = field(default_factory=list)
    _running: dict[tuple[str, str], _Evaluation] = field(default_factory=dict)

    def start(self, governor: Governor, candidate: Candidate, patience: float) -> None:
        """Consider a candidate unless that is already under way."""
        key = (candidate.model, candidate.run)
        if key not in self._running:
            self._running[key] = _Evaluation(self._begin(governor, candidate, None), time.monotonic() + patience)

    def settle(self, governor: Governor, candidates: list[Candidate], patience: float) -> None:
        """Forget what has ended; deny those of ``candidates`` not answered within ``patience`` seconds."""
        waiting = {(candidate.model, candidate.run): candidate for candidate in candidates}
        for key, evaluation in list(self._running.items()):
            if not evaluation.thread.is_alive():
                del self._running[key]
            elif key in waiting and time.monotonic() > evaluation.deadline:
                evaluation.deadline = time.monotonic() + patience  # should the denial fail, too
                silent = Reason("deadline", "reject", f"the policy set did not answer within {patience:.0f} s")
                self._begin(governor, waiting[key], silent)

    def _begin(self, governor: Governor, candidate: Candidate, instead: Reason | None) -> threading.Thread:
        thread = threading.Thread(target=self._consider, args=(governor, candidate, instead), daemon=True)
        thread.start()
        return thread

    def _consider(self, governor: Governor, candidate: Candidate, instead: Reason | None) -> None:
        try:
            governor.consider(candidate, instead=instead)
        except Exception as error:  # noqa: BLE001 - the next tick tries again, and the tick says why
            self.problems.append(f"{candidate.model[:19]}…: {error}")


class Relay:
    """Goes on watching from the end of one tick until the next takes over, or the ticks stop coming."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def take_over(self) -> None:
        """End the watch between ticks; nobody watches when this returns."""
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._thread = None

    def hand_over(self, instance: dg.DagsterInstance, reported: int, seconds: float) -> None:
        """Watch for at most ``seconds``, on an instance of its own: the tick's is closed with the tick."""
        self._over = threading.Event()
        arguments = (Home.find(), instance.get_ref(), reported, seconds, self._over)
        self._thread = threading.Thread(target=_watch_between, args=arguments, daemon=True)
        self._thread.start()


def _watch_between(home: Home, reference: InstanceRef, reported: int, seconds: float, over: threading.Event) -> None:
    try:
        with dg.DagsterInstance.from_ref(reference) as instance:
            governor = open_governor(home, instance)
            try:
                watch(governor, instance, reported, seconds, over)
            finally:
                governor.store.close()
    except Exception as error:  # noqa: BLE001 - the next tick does the same, and says what is wrong
        _evaluations.problems.append(f"between ticks: {error}")


_evaluations = Evaluations()
_relay = Relay()


@dg.sensor(
    name="promotion",
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Decides new candidates by their ION's policy set and promotes what is approved.",
)
def promotion(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Decide, promote and report until the tick's time is over."""
    _relay.take_over()
    governor = open_governor(Home.find(), context.instance)
    try:
        reported = watch(governor, context.instance, int(context.cursor or 0), TICK_SECONDS)
    finally:
        governor.store.close()
    _relay.hand_over(context.instance, reported, BETWEEN_SECONDS)
    problems, _evaluations.problems = _evaluations.problems, []
    return dg.SensorResult(cursor=str(reported), skip_reason="; ".join(problems) or None)


def watch(
    governor: Governor, instance: dg.DagsterInstance, reported: int, seconds: float, over: threading.Event | None = None
) -> int:
    """Decide candidates for ``seconds``; returns the position up to which decisions are reported.

    At first every undecided candidate is looked at, afterwards only those that may just have become
    eligible: a training that failed stays undecided for ever, and must not cost more with each fact.
    """
    over = over or threading.Event()
    deadline = time.monotonic() + seconds
    seen = -1
    waiting: list[Candidate] = []
    while True:
        head = governor.store.head().position
        if head != seen:
            waiting = governor.store.candidates(undecided_only=True)
        for candidate in waiting if seen < 0 else _young(governor, waiting):
            _evaluations.start(governor, candidate, PATIENCE_SECONDS)
        _evaluations.settle(governor, waiting, PATIENCE_SECONDS)
        if head != seen:
            reported = report_decisions(governor.store, instance, reported)
            seen = head
        if time.monotonic() >= deadline or over.wait(POLL_SECONDS):
            return reported


def _young(governor: Governor, candidates: list[Candidate]) -> list[Candidate]:
    """Return those that may have become eligible: their run's end and Dagster's event come after them."""
    limit = now_us() - _YOUNG_US
    return [c for c in candidates if governor.store.record_at(c.position).stamp.us > limit]
