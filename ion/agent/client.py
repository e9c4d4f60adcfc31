"""The client: what a program uses to tell facts, at the cost of a list append or a file write.

A client is an agent. It spools to its own file and never waits for the store; with ``ship=True``
a thread of the same process carries the spool to the store (the embedded agent), otherwise
somebody else on the host does.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING

from ion.agent.run import NodeRun
from ion.agent.shipping import ship_agent
from ion.agent.spool import SpoolWriter
from ion.clock import Clock
from ion.errors import IonError
from ion.facts import write_record
from ion.home import Home
from ion.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.agent.shipping import Receiver
    from ion.facts import Fact

_FLUSH_SECONDS = 0.05


class Client:
    """One agent: spools facts, flushes every 50 ms, and ships them when given a receiver."""

    def __init__(self, home: Home, name: str, receiver: Receiver | None = None) -> None:
        """Start the agent ``name`` under ``home``.

        Raises:
            IonError: ``home-unusable`` or ``spool-unusable``.
        """
        self.home = home.make()
        self._name = name
        self._receiver = receiver
        self._lock = threading.RLock()
        self._clock = Clock()
        self._runs: list[NodeRun] = []
        self._stopping = threading.Event()
        self._open()

    def _open(self) -> None:
        self.agent = f"{self._name}-{new_id()}"
        self._pid = os.getpid()
        self._seq = 0
        self._dirty = False
        self._spool = SpoolWriter(self.home.spool, self.agent)
        self._thread = threading.Thread(target=self._work, name="ion-agent", daemon=True)
        self._thread.start()

    def emit(self, fact: Fact, *, block: bytes = b"", fact_id: str = "") -> str:
        """Spool a fact (and the ciphertext block it names) and return its id.

        The bytes are in the operating system when this returns, durable after `flush`. Give a
        ``fact_id`` (`ion.ids.observed_id`) when the same thing may be told twice.

        Raises:
            IonError: ``not-canonical``, ``spool-unusable``.
        """
        with self._lock:
            if os.getpid() != self._pid:  # a forked child is an agent of its own
                self._open()
            identity = fact_id or new_id()
            record = write_record(
                fact, fact_id=identity, agent=self.agent, seq=self._seq, stamp=self._clock.tick()
            )
            self._spool.append(record.raw, block)
            self._seq += 1
            self._dirty = True
            return identity

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
    ) -> NodeRun:
        """Start a run of ``ion/node``; use it in a ``with`` block, or call its ``end``.

        Processes that are parts of one execution give the same ``run_id``.
        """
        run = NodeRun(
            self, node, kind=kind, code=code, config=config, engine=engine,
            engine_run=engine_run, run_id=run_id,
        )
        with self._lock:
            self._runs.append(run)
        return run

    def flush(self) -> None:
        """Make everything told so far durable (fdatasync)."""
        with self._lock:
            for run in self._runs:
                run.pack_statistics()
            if self._dirty:
                self._spool.sync()
                self._dirty = False

    def ship(self) -> bool:
        """Flush and carry the spool to the receiver now; False when that must wait."""
        self.flush()
        return self._carry()

    last_trouble = ""
    """Why shipping last had to wait; the facts stay in the spool."""

    def close(self) -> None:
        """Flush, ship if possible, end the agent. What could not ship stays in its spool."""
        self._stopping.set()
        self._thread.join()
        self.flush()
        self._spool.close()
        self._carry()

    def _carry(self) -> bool:
        if self._receiver is None:
            return False
        try:
            ship_agent(self.home.spool / self.agent, self._receiver, wait=True)
        except Exception as error:  # noqa: BLE001 - any trouble of the store waits in the spool
            self.last_trouble = str(error)
            return False
        self.last_trouble = ""
        return True

    def _work(self) -> None:
        while not self._stopping.wait(_FLUSH_SECONDS):
            if self._dirty or self.last_trouble or any(run.has_points for run in list(self._runs)):
                self.ship()

    def forget(self, run: NodeRun) -> None:
        """Stop packing statistics of an ended run."""
        with self._lock:
            if run in self._runs:
                self._runs.remove(run)


def open_client(home: Home | None = None, *, name: str = "agent", ship: bool = True) -> Client:
    """Open a client under ``home`` (default: `Home.find`).

    With ``ship`` the facts go straight to the store at the home's ``store_url`` (needs the extra
    ``store``); without, they stay in the spool until another agent of this host ships them.

    Raises:
        IonError: ``extra-missing`` when ``ship`` is asked for without SQLAlchemy.
    """
    found = home or Home.find()
    if not ship:
        return Client(found, name)
    try:
        from ion.store import open_store
    except ImportError as error:
        raise IonError(
            "extra-missing", "shipping to the store needs SQLAlchemy",
            "pip install 'dagster-ion[store]', or open_client(ship=False) and let an agent ship",
        ) from error
    found.make()
    return Client(found, name, open_store(found.store_url))


_shared: dict[tuple[Home, str], Client] = {}
_shared_lock = threading.Lock()


def shared_client(home: Home, store_url: str = "") -> Client:
    """Return this process's own shipping client for ``home``; closed when the process ends."""
    place = (home, store_url or home.store_url)
    with _shared_lock:
        if place not in _shared:
            _shared[place] = open_client(home, name="program")
            atexit.register(_shared[place].close)
        return _shared[place]
