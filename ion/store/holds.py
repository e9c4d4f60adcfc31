"""What must not be removed for its age yet, and why: an open decision needs it, or it belongs to what serves now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from ion.facts import EpochClosed, EpochOpened, NodeRunStarted
from ion.store import schema
from ion.store.answers import Candidate
from ion.store.reading import Reader

if TYPE_CHECKING:
    from sqlalchemy import Connection

UNDECIDED = "a candidate waits for its decision"
SERVING = "its epoch still serves"


class Holds:
    """The runs, epochs and models that keep bodies in place, as the store knows them in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._reader = Reader(connection)
        self._nodes: dict[str, str] = {}
        waiting = _waiting(connection)
        self._runs = {candidate.run: UNDECIDED for candidate in waiting}
        models = {candidate.model for candidate in waiting}
        self._epochs: dict[str, str] = {}
        self._node_of_epoch: dict[str, str] = {}
        newest: dict[tuple[str, int], EpochOpened] = {}
        for record in self._reader.find(EpochOpened):
            epoch = record.fact
            self._node_of_epoch[epoch.epoch] = epoch.node
            newest[epoch.node, epoch.subtask] = epoch
            if models & {str(model) for model in epoch.models.values()}:
                self._epochs[epoch.epoch] = UNDECIDED
        for epoch in newest.values():  # one that was never closed, because its process died, ends with the next
            if not self._reader.find(EpochClosed, epoch.epoch, limit=1):
                self._epochs[epoch.epoch] = self._runs[epoch.run] = SERVING

    def reason(self, run: str, epoch: str) -> str:
        """Return why what belongs to a run and an epoch (or ``""``) must stay; empty when nothing holds it."""
        if epoch:
            return self._epochs.get(epoch) or (UNDECIDED if self._runs.get(run) == UNDECIDED else "")
        return self._runs.get(run, "")

    def of_points(self, run: str, epoch: str) -> str:
        """Return why points must stay; those of a run that goes on for months may go, those of its epoch may not."""
        reason = self.reason(run, epoch)
        return "" if reason == SERVING and not epoch else reason

    def node(self, run: str, epoch: str) -> str:
        """Return the node that something belongs to, empty when no fact says it."""
        if epoch in self._node_of_epoch:
            return self._node_of_epoch[epoch]
        if run not in self._nodes:
            started = self._reader.find(NodeRunStarted, run, limit=1)
            self._nodes[run] = started[0].fact.node if started else ""
        return self._nodes[run]


def _waiting(connection: Connection) -> list[Candidate]:
    """Return the candidates that may still be decided: put off, or new and not behind one that was decided."""
    table = schema.candidate
    rows = connection.execute(select(table).order_by(table.c.position)).mappings()
    found = [Candidate(**row) for row in rows]
    settled: dict[str, int] = {}
    for candidate in found:
        if candidate.verdict not in {"", "defer"}:
            settled[candidate.node] = candidate.position
    return [
        candidate
        for candidate in found
        if candidate.verdict == "defer"
        or (not candidate.verdict and candidate.position > settled.get(candidate.node, 0))
    ]
