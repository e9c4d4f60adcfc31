"""The policy sensor: sees a candidate, has it decided, and reports the decision to Dagster.

It long-polls inside its tick: the sensor daemon looks every five seconds, a tick that waits 4.8 s
on the store's head leaves no gap, so a decision takes tenths of a second, not seconds.
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
    from ion.decision import Governor
    from ion.store import Candidate

TICK_SECONDS = 4.8
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


_evaluations = Evaluations()


@dg.sensor(
    name="promotion",
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Decides new candidates by their ION's policy set and promotes what is approved.",
)
def promotion(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Decide, promote and report until the tick's time is over."""
    governor = open_governor(Home.find(), context.instance)
    try:
        reported = watch(governor, context.instance, int(context.cursor or 0), TICK_SECONDS)
    finally:
        governor.store.close()
    problems, _evaluations.problems = _evaluations.problems, []
    return dg.SensorResult(cursor=str(reported), skip_reason="; ".join(problems) or None)


def watch(governor: Governor, instance: dg.DagsterInstance, reported: int, seconds: float) -> int:
    """Decide candidates for ``seconds``; returns the position up to which decisions are reported.

    At first every undecided candidate is looked at, afterwards only those that may just have become
    eligible: a training that failed stays undecided for ever, and must not cost more with each fact.
    """
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
        if time.monotonic() >= deadline:
            return reported
        time.sleep(POLL_SECONDS)


def _young(governor: Governor, candidates: list[Candidate]) -> list[Candidate]:
    """Return those that may have become eligible: their run's end and Dagster's event come after them."""
    limit = now_us() - _YOUNG_US
    return [c for c in candidates if governor.store.record_at(c.position).stamp.us > limit]
