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

from ion.agent import ship_hands
from ion.clock import now_us
from ion.dagster.governing import open_governor
from ion.dagster.reporting import report_decisions
from ion.decision import Reason
from ion.decision.listening import Listening
from ion.home import Home

if TYPE_CHECKING:
    from dagster._core.instance import InstanceRef

    from ion.decision import Governor
    from ion.store import Candidate

TICK_SECONDS = 4.5
BETWEEN_SECONDS = 10.0
"""Longer than until the daemon's next look. After it, a sensor that was switched off decides nothing more."""
POLL_SECONDS = 0.05
HANDS_SECONDS = 0.2
"""How often facts are taken over from other users (docs/how-to/separate-hands.md)."""
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
    home, taken = Home.find(), 0.0
    deadline = time.monotonic() + seconds
    seen, listening = -1, _listening(home)
    waiting: list[Candidate] = []
    while True:
        if time.monotonic() - taken > HANDS_SECONDS:
            _take_over(home, governor)
            taken = time.monotonic()
        head = governor.store.head().position
        if head != seen:
            spoke = listening.listen(governor)
            waiting = [*governor.store.candidates(undecided_only=True), *listening.about]
            _evaluations.problems += listening.take_problems()
        for candidate in _open(governor, listening, waiting, all_of_them=seen < 0, spoke=head != seen and spoke):
            _evaluations.start(governor, candidate, PATIENCE_SECONDS)
        _evaluations.settle(governor, waiting, PATIENCE_SECONDS)
        if head != seen:
            reported = report_decisions(governor.store, instance, reported)
            seen = head
        if time.monotonic() >= deadline or over.wait(POLL_SECONDS):
            return reported


def _take_over(home: Home, governor: Governor) -> None:
    try:
        ship_hands(home, governor.store)
    except Exception as error:  # noqa: BLE001 - what is in the store can be decided all the same
        if (problem := f"hands: {error}") not in _evaluations.problems:
            _evaluations.problems.append(problem)


def _open(
    governor: Governor, listening: Listening, candidates: list[Candidate], *, all_of_them: bool, spoke: bool
) -> list[Candidate]:
    """Return those that may have become eligible, and those decided about whom people have said more.

    The end of a run and Dagster's event come after candidates, so a young one is asked again and again.
    """
    limit = now_us() - _YOUNG_US
    found: list[Candidate] = []
    for candidate in candidates:
        if not candidate.verdict:
            young = all_of_them or governor.store.record_at(candidate.position).stamp.us > limit
            found += [candidate] if young else []
        elif all_of_them or spoke:
            found += [candidate] if listening.waits(governor, candidate) else []
    return found


def _listening(home: Home) -> Listening:
    """Return who listens for a deployment, as long as this process lives: what was heard is not heard again."""
    return _listens.setdefault(home, Listening())


_listens: dict[Home, Listening] = {}
