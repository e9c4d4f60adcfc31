"""The client: what a program uses to tell facts, at the cost of a list append or a file write.

A client is an agent. It spools to its own file and never waits for the store; with ``ship=True``
a thread of the same process carries the spool to the store (the embedded agent), otherwise
somebody else on the host does.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from ion.agent.receiver import OwnReceiver
from ion.agent.run import NodeRun
from ion.agent.segments import is_shipped
from ion.agent.shipping import ship_agent
from ion.agent.teller import Teller, check_name
from ion.clock import Clock
from ion.errors import IonError
from ion.facts import GapNoted
from ion.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.agent.receiver import Receiver
    from ion.facts import Fact
    from ion.home import Home

_FLUSH_SECONDS = 0.05
_STATISTICS_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 5.0


class Client:
    """One agent: spools facts, flushes them within 50 ms, statistics within a second; ships them when given a receiver.

    Raises:
        IonError: ``home-unusable``, ``spool-unusable``, ``bad-agent-name`` or ``bad-spool-bound``.
    """

    last_trouble = ""
    """Why flushing or shipping last had to wait; the facts stay in the spool."""

    def __init__(self, home: Home, name: str, receiver: Receiver | None = None) -> None:
        check_name(name)
        self.home = home.make()
        self._receiver = receiver
        self.lock = threading.RLock()
        """Held while facts that belong together are told."""
        self._shipping = threading.Lock()
        self._clock = Clock()
        self._runs: list[NodeRun] = []
        self._ended: list[NodeRun] = []
        self._closed = False
        self._teller = Teller(home, name)
        self._open()
        _clients.add(self)

    def _open(self) -> None:
        self._pid = os.getpid()
        self._dirty = self._waiting = False
        self._stopping = threading.Event()
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self.asleep = self.idle = False
        self._packed = 0.0
        self._thread = threading.Thread(target=self._work, name="ion-agent", daemon=True)
        self._thread.start()

    @property
    def agent(self) -> str:
        """Under which name facts are told now; another one after a fork, or when the disk failed."""
        return self._teller.agent

    @property
    def closed(self) -> bool:
        """Whether the agent has ended."""
        return self._closed

    def emit(self, fact: Fact, *, block: bytes = b"", fact_id: str = "") -> str:
        """Spool a fact (and the ciphertext block it names) and return its id.

        The bytes are in the operating system when this returns, durable after `flush`. Give a
        ``fact_id`` (`ion.ids.observed_id`) when the same thing may be told twice.

        Raises:
            IonError: ``not-canonical``, ``bad-fact``, ``fact-too-large``, ``spool-unusable``, ``client-closed``.
        """
        with self.lock:
            if self._closed:
                raise IonError("client-closed", f"the agent {self.agent} has ended", "open another client")
            if os.getpid() != self._pid:  # a forked child is an agent of its own
                self._teller.open()
                self._open()
            identity = fact_id or new_id()
            self._teller.tell(fact, identity, block, self._clock)
            self._dirty = True
            if self.asleep:
                self.wake()
            return identity

    def _sync(self) -> None:
        self._teller.sync(self._clock)
        self._dirty = False
        self._waiting = self._receiver is not None

    def wake(self) -> None:
        """Tell the sleeping agent that there is something to flush; safe in a signal handler."""
        self.asleep = self.idle = False
        self._wakes.put(None)

    def node_run(
        self,
        node: str,
        *,
        kind: str,
        code: Mapping[str, object] | None = None,
        config: Mapping[str, object] | None = None,
        engine: str = "",
        engine_run: str = "",
        run_id: str = "",
        submitter: str = "",
    ) -> NodeRun:
        """Start a run of ``ion/node``; use it in a ``with`` block, or call its ``end``.

        Processes that are parts of one execution give the same ``run_id``. ``submitter`` is who asked for it.
        """
        run = NodeRun(
            self,
            node,
            kind=kind,
            code=code,
            config=config,
            engine=engine,
            engine_run=engine_run,
            run_id=run_id,
            submitter=submitter,
        )
        with self.lock:
            self._runs.append(run)
        return run

    def flush(self) -> None:
        """Make everything told so far durable (fdatasync).

        Raises:
            IonError: ``spool-unusable``; statistics not yet spooled stay in memory.
        """
        self._flush(pack=True)

    def _flush(self, *, pack: bool) -> None:
        with self.lock:
            if self._closed or os.getpid() != self._pid:
                return
            self._check_place()
            if pack:
                self._pack()
            if self._dirty or self._teller.waits:
                self._sync()

    def _pack(self) -> None:
        """Spool the points that wait in memory."""
        ended = list(self._ended)
        for run in [*self._runs, *ended]:
            run.pack_statistics()
        self._ended = [run for run in self._ended if run not in ended or run.has_points]
        self._packed = time.monotonic()

    def ship(self) -> bool:
        """Flush and carry the spool to the receiver now; False when that must wait.

        Never raises: `last_trouble` says why something waits.
        """
        return self._flush_and_ship(pack=True)

    def _flush_and_ship(self, *, pack: bool) -> bool:
        try:
            self._flush(pack=pack)
            shipped = self._ship()
        except Exception as error:  # noqa: BLE001 - any trouble of disk or store waits in memory or spool
            self.last_trouble = str(error)
            return False
        self.last_trouble = ""
        return shipped

    def _ship(self) -> bool:
        receiver = self._receiver
        if receiver is None or os.getpid() != self._pid:
            return False
        folder = self.home.spool / self.agent
        with self._shipping:  # another thread may be past what was told last: wait, then look again
            for former in list(self._teller.former):
                ship_agent(self.home.spool / former, receiver, wait=True)
                self._teller.former.remove(former)
            ship_agent(folder, receiver, wait=True)
            shipped = is_shipped(folder)
        with self.lock:
            self._waiting = self._dirty or not is_shipped(folder)
            if self._waiting and self.asleep:
                self.wake()
        return shipped

    def _check_place(self) -> None:
        """Become a new agent when somebody removed or set aside this one's spool, and tell the hole."""
        gone = self._teller.lost_place()
        if gone is None:
            return
        former, lost = gone
        reason = "its spool was removed while it was in use; at most this many facts had not been shipped"
        self.emit(GapNoted(scope=former, what="facts", count=lost, reason=reason))

    def close(self) -> None:
        """Flush, ship if possible, end the agent; harmless twice. What could not ship stays in its spool.

        Raises:
            IonError: ``spool-unusable`` when the last facts could not be made durable.
        """
        if self._closed or os.getpid() != self._pid:
            return
        self._stopping.set()
        self.wake()
        self._thread.join()
        try:
            self.flush()
        finally:
            with self.lock:
                self._closed = True
                self._teller.spool.close()
        try:
            self._ship()
        except Exception as error:  # noqa: BLE001 - as in ship()
            self.last_trouble = str(error)
        if isinstance(self._receiver, OwnReceiver):
            self._receiver.close()

    def _work(self) -> None:
        wait, due = _FLUSH_SECONDS, 0.0
        while True:
            self._sleep()
            if self._stopping.wait(_FLUSH_SECONDS):  # what is told together becomes durable together
                return
            pack = time.monotonic() >= self._packed + _STATISTICS_SECONDS
            with suppress(IonError, OSError):
                self._teller.keep_within(self)
            if time.monotonic() < due:  # the store is away: facts become durable as often as ever
                with suppress(IonError, OSError):
                    self._flush(pack=pack)
                continue
            done = self._flush_and_ship(pack=pack)
            behind = self._receiver is not None and not done
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS) if behind else _FLUSH_SECONDS
            due = time.monotonic() + wait if behind else 0.0

    def _sleep(self) -> None:
        """Return when a fact is told, at once when one waits already, and when waiting statistics are due."""
        self.asleep = self.idle = True  # before looking: whatever is told from here on wakes
        if not (self._dirty or self._waiting or self._teller.unlooked):
            if any(run.has_points for run in [*self._runs, *self._ended]):
                self.idle = False  # further points change nothing
                with suppress(Empty):
                    self._wakes.get(timeout=max(0.0, self._packed + _STATISTICS_SECONDS - time.monotonic()))
            else:
                self._wakes.get()
        self.asleep = self.idle = False

    def forget(self, run: NodeRun) -> None:
        """Stop packing statistics of an ended run, after what other threads are just adding."""
        with self.lock:
            if run in self._runs:
                self._runs.remove(run)
                self._ended.append(run)

    def after_fork(self) -> None:
        """Let go of the parent's agent in a forked child, which becomes its own when it first tells something."""
        self.lock, self._shipping = threading.RLock(), threading.Lock()
        self._clock = Clock(since=self._clock.last)
        if isinstance(self._receiver, OwnReceiver):
            self._receiver.after_fork()
        self._teller.forget()  # or the parent's spool would look alive as long as the child lives
        self._dirty = self._waiting = self.asleep = self.idle = False
        self._wakes = SimpleQueue()
        for run in [*self._runs, *self._ended]:
            run.drop_points()  # the parent has them too, and tells them


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _after_fork() -> None:
    for client in list(_clients):
        client.after_fork()


os.register_at_fork(after_in_child=_after_fork)
