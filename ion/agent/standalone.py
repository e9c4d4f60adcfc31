"""The stand-alone agent: carries what every program of a host has spooled, and tells how it fares itself."""

from __future__ import annotations

import fcntl
import os
import random
import re
import threading
import time
from typing import TYPE_CHECKING

from ion.agent.bounds import Bounds, keep_within
from ion.agent.client import Client
from ion.agent.files import open_within
from ion.agent.hands import ship_home
from ion.agent.segments import has_writer, is_shipped, segment_name, segment_numbers
from ion.errors import IonError
from ion.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.agent.receiver import Receiver
    from ion.facts import Fact
    from ion.home import Home

ION = "agents"
"""Each stand-alone agent is a node of this ION, ``agents/<name>``; each of its lives is a run of kind ``agent``."""

HEARTBEAT_SECONDS = 15.0
LAG, SPOOL_BYTES = "lag_seconds", "spool_bytes"
"""The statistics of each heartbeat."""

_POLL_SECONDS = 0.25
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 60.0
_LOCK = ".agent"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,49}\Z")
_MOST_IDENTITY = 100


class Standalone:
    """Ships ``home.spool`` to a receiver until stopped. One per spool: another is refused.

    Args:
        home: its spool is shipped, and what hands told.
        receiver: where to.
        name: under which it tells of itself; by default one that stays with the spool.

    Raises:
        IonError: ``agent-busy``, ``bad-agent-name``, ``bad-spool-bound``, ``spool-unusable``, ``home-unusable``.
    """

    trouble = ""
    """Why nothing can be shipped now."""

    def __init__(self, home: Home, receiver: Receiver, name: str = "") -> None:
        if name and not _NAME.match(name):
            raise IonError("bad-agent-name", f"not an agent name: {name!r}", "use lower-case letters, digits and _")
        self._home = home.make()
        self._receiver = receiver
        self._bounds = Bounds.find()
        self._stopping = threading.Event()
        self._lock = self._locked()
        self._behind_since = time.monotonic()
        try:
            self.name = name or self._own_name()
            self._client = Client(home, f"agent-{self.name}")
        except BaseException:
            os.close(self._lock)
            raise
        self._run = self._client.node_run(f"{ION}/{self.name}", kind="agent")

    def _locked(self) -> int:
        try:
            self._home.spool.mkdir(parents=True, mode=0o700, exist_ok=True)
            handle = open_within(self._home.spool, _LOCK, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            told = f"cannot use the spool {self._home.spool}: {error.strerror}"
            raise IonError("spool-unusable", told, "its folder must be writable and on a local disk") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            told = f"another agent ships {self._home.spool}"
            raise IonError("agent-busy", told, "one agent per spool is enough; stop it first") from error
        return handle

    def _own_name(self) -> str:
        """Return the name kept in the lock's file: it stays with the spool and says nothing of the host."""
        kept = os.pread(self._lock, _MOST_IDENTITY, 0).decode("ascii", "replace").strip()
        if _NAME.match(kept):
            return kept
        made = f"agent_{new_id()[-8:]}"
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, made.encode(), 0)
        return made

    def tell(self, fact: Fact) -> str:
        """Tell a fact as this agent; raises as `Client.emit`."""
        return self._client.emit(fact)

    def stop(self) -> None:
        """Let `run` end soon; safe in a signal handler."""
        self._stopping.set()

    def run(self, *, once: bool = False) -> int:
        """Ship until stopped, or with ``once`` what waits now; returns the number of facts shipped.

        While the receiver does not answer, it is asked less and less often: up to once a minute, at random moments.
        """
        shipped, wait, heartbeat, look = 0, 0.0, 0.0, 0.0
        try:
            while not self._stopping.is_set():
                if time.monotonic() >= heartbeat:
                    self._beat()
                    heartbeat = time.monotonic() + HEARTBEAT_SECONDS
                if time.monotonic() >= look:
                    self._look_at_bounds()
                    look = time.monotonic() + _LONGEST_WAIT_SECONDS
                shipped += self._ship()
                if once:
                    break
                wait = _next_wait(wait) if self.trouble else 0.0
                self._pause(wait, heartbeat)
        finally:
            shipped += self._end()
        return shipped

    def _pause(self, wait: float, heartbeat: float) -> None:
        """Wait for a part of ``wait``, by chance, so that agents do not come together; beat meanwhile."""
        due = time.monotonic() + (wait * random.uniform(0.5, 1.0) if wait else _POLL_SECONDS)  # noqa: S311
        while (now := time.monotonic()) < due and not self._stopping.is_set():
            if now >= heartbeat:
                self._beat()
                heartbeat = now + HEARTBEAT_SECONDS
            self._stopping.wait(min(due, heartbeat) - now)

    def waiting(self) -> int:
        """Return how many bytes wait in segments that are not wholly shipped, this agent's own left out."""
        total = 0
        for folder in self._home.spool.iterdir():
            if folder.is_dir() and folder.name != self._client.agent and not is_shipped(folder):
                for number in segment_numbers(folder):
                    try:
                        total += (folder / segment_name(number)).stat().st_size
                    except FileNotFoundError:
                        continue
        return total

    def _ship(self) -> int:
        try:
            shipped = ship_home(self._home, self._receiver)
        except Exception as error:  # noqa: BLE001 - whatever it is: it waits in the spool, and is tried again
            self.trouble = str(error) or type(error).__name__
            return 0
        self.trouble = ""
        self._behind_since = time.monotonic()
        return shipped

    def _beat(self) -> None:
        self._run.stat(LAG, time.monotonic() - self._behind_since if self.trouble else 0.0)
        self._run.stat(SPOOL_BYTES, self.waiting())
        try:
            self._client.flush()
        except IonError as error:
            self.trouble = str(error)

    def _look_at_bounds(self) -> None:
        for folder in sorted(self._home.spool.iterdir()):
            try:
                if folder.is_dir() and segment_numbers(folder):
                    keep_within(folder, self._bounds, self._tell, ended=not has_writer(folder))
            except (IonError, OSError) as error:
                self.trouble = str(error)

    def _tell(self, facts: Sequence[tuple[Fact, str]]) -> None:
        for fact, identity in facts:
            self._client.emit(fact, fact_id=identity)
        self._client.flush()

    def _end(self) -> int:
        """Say that the agent stops, and ship that, too, if it can be."""
        try:
            self._run.end("stopped" if self._stopping.is_set() else "succeeded")
            self._client.close()
            return self._ship()
        finally:
            os.close(self._lock)


def is_shipping(home: Home) -> bool:
    """Tell whether an agent ships this spool now."""
    try:
        handle = open_within(home.spool, _LOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _next_wait(wait: float) -> float:
    return min(max(_FIRST_WAIT_SECONDS, 2 * wait), _LONGEST_WAIT_SECONDS)
