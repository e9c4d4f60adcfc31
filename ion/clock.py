"""The one place for time: wall-clock microseconds and a hybrid logical clock.

Source: Kulkarni et al., "Logical Physical Clocks" (OPODIS 2014).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_AHEAD_US = 60_000_000
"""A remote time further ahead than this never advances the local clock."""


def now_us() -> int:
    """Return wall-clock microseconds since the Unix epoch (UTC)."""
    return time.time_ns() // 1000


now_s = time.time
"""Wall-clock seconds since the Unix epoch (UTC), exact to a microsecond: for where `now_us` would cost too much."""


def rfc3339(us: int) -> str:
    """Return ``us`` as RFC 3339 in UTC with microseconds."""
    seconds, micros = divmod(us, 1_000_000)
    stamp = datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{micros:06d}Z"


@dataclass(frozen=True, slots=True, order=True)
class Stamp:
    """A hybrid logical time: microseconds, then a counter that orders equal microseconds."""

    us: int
    counter: int = 0


class Clock:
    """A hybrid logical clock; thread-safe; never goes back while the process lives."""

    def __init__(self, wall: Callable[[], int] = now_us, since: Stamp = Stamp(0)) -> None:
        self._wall = wall
        self._last = since
        self._lock = threading.Lock()

    @property
    def last(self) -> Stamp:
        """The latest stamp given or seen."""
        return self._last

    def tick(self) -> Stamp:
        """Return the stamp of a local event, later than every stamp seen before."""
        with self._lock:
            wall = self._wall()
            last = self._last
            self._last = Stamp(wall) if wall > last.us else Stamp(last.us, last.counter + 1)
            return self._last

    def observe(self, remote: Stamp) -> bool:
        """Take a remote stamp into account; False (and no effect) when it is over 60 s ahead."""
        with self._lock:
            if remote.us > self._wall() + MAX_AHEAD_US:
                return False
            self._last = max(self._last, remote)
            return True
