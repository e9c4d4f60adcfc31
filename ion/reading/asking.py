"""Asking the store of this home: after carrying over what waits in its spools, and with the holes of the answer.

Where this process reports to a server, the server is asked.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from ion.agent.hands import ship_home
from ion.agent.opening import ship_shared
from ion.agent.remote import RemoteReceiver
from ion.agent.remote_store import RemoteStore
from ion.errors import IonError
from ion.facts import Fact, GapNoted, NodeRunStarted
from ion.home import Home
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ion.agent.shipping import Receiver
    from ion.records import Recorded
    from ion.store import GovernanceStore

F = TypeVar("F", bound=Fact)


@dataclass(frozen=True, slots=True)
class Asked:
    """An open store, and why what waits in the spools may not be in it yet."""

    store: GovernanceStore | RemoteStore
    waiting: str

    def gaps(self, found: Sequence[Recorded[F]]) -> list[dict[str, object]]:
        """Return what is missing of these facts: holes of their runs, epochs and agents, and what waits."""
        scopes = {record.agent for record in found}
        for record in found:
            scopes |= {str(getattr(record.fact, name)) for name in ("run", "epoch") if hasattr(record.fact, name)}
        return self.gaps_of(scopes)

    def gaps_of(self, scopes: set[str]) -> list[dict[str, object]]:
        """Return the holes of runs, epochs and agents, and what waits."""
        scopes.discard("")
        holes = {hole.position: hole for scope in sorted(scopes) for hole in self.store.find(GapNoted, scope)}
        told: list[dict[str, object]] = [asdict(holes[position].fact) for position in sorted(holes)]
        if self.waiting:
            told.append({"scope": "", "what": "facts", "reason": self.waiting})
        return told

    def node(self, run: str) -> str:
        """Return the node of a run; nothing when its start is not known."""
        started = self.store.find(NodeRunStarted, run, limit=1)
        return started[0].fact.node if started else ""

    def agents(self, runs: Iterable[str]) -> set[str]:
        """Return the agents that started these runs."""
        return {record.agent for run in runs for record in self.store.find(NodeRunStarted, run)}


@contextmanager
def asking() -> Iterator[Asked]:
    """Open the existing store, or the server's, after carrying into it what this process and ended agents told.

    Raises:
        IonError: ``no-home``, ``store-elsewhere``, ``extra-missing``, and as `ion.store.open_store` or
            `ion.agent.remote.RemoteReceiver`.
    """
    home = Home.find()
    waiting = ship_shared(home)
    store, receiver = _elsewhere(home) if home.server_url else _here(home)
    try:
        try:
            ship_home(home, receiver)
        except Exception as error:  # noqa: BLE001 - the question can still be answered from what is there
            waiting = waiting or f"facts wait in the spool ({type(error).__name__})"
        yield Asked(store, waiting)
    finally:
        store.close()


def _here(home: Home) -> tuple[GovernanceStore, Receiver]:
    try:
        from ion.store import open_store
    except ImportError as error:
        raise IonError(
            "extra-missing", "asking the store needs SQLAlchemy", "pip install 'dagster-ion[store]'"
        ) from error
    own = home.root / "store.db"
    if home.store_url == f"sqlite:///{own}" and not own.exists():
        raise IonError("no-home", f"there is no governance store in {home.root}", "set ION_HOME to where the state is")
    store = open_store(home.store_url)
    return store, store


def _elsewhere(home: Home) -> tuple[RemoteStore, Receiver]:
    receiver = RemoteReceiver.of(home.server_url)
    return RemoteStore(receiver), receiver
