"""The outbox: what was not told yet is told on each channel, until it is delivered or given up.

What is to be told follows from the facts after a position, what was told is itself a fact
(`NotificationSent`): nothing is lost by a restart. A crash between the two tells it again under the same
delivery id. Between attempts a channel rests, each time about twice as long; another channel does not wait for it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ion.clock import now_us
from ion.decision.notices import UNDELIVERED, Notice, notices
from ion.facts import AlertRaised, NotificationSent
from ion.ids import observed_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ion.store import GovernanceStore

GIVE_UP_US = 24 * 3_600_000_000
FIRST_REST_US = 5_000_000
LONGEST_REST_US = 900_000_000
WINDOW = 50
"""How many notices are under way on a channel at once."""
PER_ROUND = 20
"""How many are sent in one round, lest a burst of facts becomes a burst of messages."""


class Unavailable(Exception):  # noqa: N818 - it is no error of the one who sends
    """The channel takes nothing just now, whatever it is; ``rest_us`` is how long it asks to be left alone."""

    def __init__(self, reason: str, rest_us: int = 0) -> None:
        super().__init__(reason)
        self.rest_us = rest_us


class Declined(Exception):  # noqa: N818 - as above
    """The channel works and does not take this message."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a channel sends. ``delivery`` is the same however often it is sent, so that a receiver can tell."""

    delivery: str
    fact: str
    event: str
    us: int
    text: str
    url: str


class Channel(Protocol):
    """Something that tells people."""

    @property
    def name(self) -> str:
        """What it is called in facts."""

    def send(self, message: Message) -> None:
        """Deliver a message; returns when the other side took it.

        Raises:
            Unavailable: try again later, with all messages.
            Declined: try this one again later.
        """


@dataclass(slots=True)
class Tried:
    """How often one notice was tried, since when, and when it is next (µs)."""

    attempts: int
    since: int
    next_us: int


@dataclass(slots=True)
class ChannelState:
    """What a channel has done: everything up to ``after``, and what was tried of the rest."""

    after: int
    rest_until: int = 0
    failing_since: int = 0
    failures: int = 0
    tried: dict[str, Tried] = field(default_factory=dict)

    @classmethod
    def from_json(cls, kept: Mapping[str, object]) -> ChannelState:
        """Read what ``dataclasses.asdict`` gave.

        Raises:
            KeyError, TypeError: it is something else.
        """
        tried = kept["tried"]
        known = {str(fact): Tried(**item) for fact, item in tried.items()} if isinstance(tried, dict) else {}
        numbers = {name: int(str(kept[name])) for name in ("after", "rest_until", "failing_since", "failures")}
        return cls(**numbers, tried=known)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did, for whoever looks at the sensor."""

    delivered: int = 0
    given_up: int = 0
    waiting: int = 0
    problem: str = ""


class Outbox:
    """Tells one channel what there is to tell.

    Args:
        store: where facts are read and written.
        channel: who is told.
        page: address of the governance page, for links.
        clock: wall clock, microseconds UTC.
        jitter: a factor around 1 for each rest, so that many do not come back at once.
    """

    def __init__(
        self,
        store: GovernanceStore,
        channel: Channel,
        page: str,
        *,
        clock: Callable[[], int] = now_us,
        jitter: Callable[[], float] = lambda: random.uniform(0.7, 1.3),  # noqa: S311 - no secret depends on it
    ) -> None:
        self._store = store
        self._channel = channel
        self._page = page.rstrip("/")
        self._clock = clock
        self._jitter = jitter

    def round(self, state: ChannelState) -> Round:
        """Tell what is due; ``state`` says afterwards where the channel stands."""
        head = self._store.head().position
        found = notices(self._store, state.after, WINDOW)
        delivered = given_up = 0
        problem = ""
        waiting: list[Notice] = []
        for notice in found:
            if notice.not_on == self._channel.name or self._is_told(notice):
                continue
            if self._is_over(state, notice):
                self._record(state, notice, delivered=False)
                given_up += 1
            elif delivered >= PER_ROUND or not self._is_due(state, notice):
                waiting.append(notice)
            elif problem_now := self._try(state, notice):
                problem = problem_now
                waiting.append(notice)
            else:
                delivered += 1
        open_facts = {notice.fact for notice in waiting}
        state.tried = {fact: tried for fact, tried in state.tried.items() if fact in open_facts}
        if waiting:
            state.after = waiting[0].position - 1
        else:
            state.after = found[-1].position if len(found) == WINDOW else max(state.after, head)
        return Round(delivered, given_up, len(waiting), problem)

    def _is_told(self, notice: Notice) -> bool:
        return any(sent.fact.channel == self._channel.name for sent in self._store.find(NotificationSent, notice.fact))

    def _is_due(self, state: ChannelState, notice: Notice) -> bool:
        now, tried = self._clock(), state.tried.get(notice.fact)
        return _over(state.rest_until, now) and (tried is None or _over(tried.next_us, now))

    def _is_over(self, state: ChannelState, notice: Notice) -> bool:
        """Return whether to give up: this one was declined, or the channel has been dead, for a day."""
        now, tried = self._clock(), state.tried.get(notice.fact)
        dead = bool(state.failing_since) and now - state.failing_since > GIVE_UP_US and now - notice.us > GIVE_UP_US
        return dead or (tried is not None and now - tried.since > GIVE_UP_US)

    def _try(self, state: ChannelState, notice: Notice) -> str:
        """Send once; returns what went wrong."""
        now = self._clock()
        tried = state.tried.setdefault(notice.fact, Tried(0, now, 0))
        tried.attempts += 1
        delivery = observed_id("notification", notice.fact, self._channel.name)
        message = Message(delivery, notice.fact, notice.event, notice.us, notice.text, self._page + notice.place)
        try:
            self._channel.send(message)
        except Unavailable as reason:
            state.failures += 1
            state.failing_since = state.failing_since or now
            state.rest_until = now + max(min(reason.rest_us, LONGEST_REST_US), self._rest(state.failures))
            return f"not available: {reason}"
        except Declined as reason:
            state.failures = state.failing_since = state.rest_until = 0
            tried.next_us = now + self._rest(tried.attempts)
            return f"declined: {reason}"
        state.failures = state.failing_since = state.rest_until = 0
        self._record(state, notice, delivered=True)
        return ""

    def _rest(self, failures: int) -> int:
        longest: float = min(FIRST_REST_US * 2.0 ** min(failures - 1, 30), LONGEST_REST_US)
        return int(longest * self._jitter())

    def _record(self, state: ChannelState, notice: Notice, *, delivered: bool) -> None:
        """Say in a fact that it was told or given up; once, whoever else does so at the same time."""
        tried, channel = state.tried.pop(notice.fact, None), self._channel.name
        sent = NotificationSent(
            subject=notice.fact,
            event=notice.event,
            channel=channel,
            attempts=tried.attempts if tried else 0,
            delivered=delivered,
        )
        with self._store.command() as command:
            if any(known.fact.channel == channel for known in command.find(NotificationSent, notice.fact)):
                return
            command.record(sent, observed_id("notified", notice.fact, channel))
            if not delivered:
                day = str(self._clock() // GIVE_UP_US)
                alert = AlertRaised(
                    scope=f"notifications/{channel}",
                    alert=UNDELIVERED,
                    message=f"the channel {channel} took nothing for a day; what it was to tell is on the page",
                    about=channel,
                )
                identity = observed_id("alert", UNDELIVERED, channel, day)
                if not any(known.id == identity for known in command.find(AlertRaised, channel)):
                    command.record(alert, identity)


def _over(us: int, now: int) -> bool:
    """Return whether a rest is over; one that a clock set back has made endless is."""
    return us <= now or us - now > 2 * LONGEST_REST_US
