"""What the parts of a node run need of it: who it is, and where its facts go."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ion.agent.client import Client
    from ion.facts import Fact


class Telling:
    """The ground that the rooms of a node run stand on; `ion.agent.run.NodeRun` is all of them together."""

    client: Client
    id: str
    node: str
    inputs: dict[str, str]
    """Digests of the datasets it has read, by name."""

    def emit(self, fact: Fact, *, block: bytes = b"", fact_id: str = "") -> str:
        """Spool any fact; see `Client.emit`."""
        return self.client.emit(fact, block=block, fact_id=fact_id)
