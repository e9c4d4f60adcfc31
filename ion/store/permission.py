"""What somebody who ships with a token may say: in which names, and about which nodes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.facts import (
    AlertRaised,
    ClockSkewed,
    EpochOpened,
    Fact,
    GapNoted,
    NodeRunStarted,
    PredictionReplayed,
    TokenRevoked,
)
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ion.records import Record
    from ion.store.reading import Reader

SHIPPING = "shipping-"
"""What a shipper tells of a spool, it tells as an agent of this name."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What the token ``token`` covers; patterns as of `fnmatch`, an empty set of them covers nothing."""

    token: str
    agents: Sequence[str]
    nodes: Sequence[str]

    @property
    def everything(self) -> bool:
        """Whether it covers every node, and so also facts about none."""
        return "*" in self.nodes

    def covers_agent(self, agent: str) -> bool:
        """Tell whether facts may be told in this agent's name."""
        return any(fnmatchcase(agent, pattern) for pattern in self.agents)

    def covers_node(self, node: str) -> bool:
        """Tell whether facts may be told about ``ion/node``."""
        return any(fnmatchcase(node, pattern) for pattern in self.nodes)

    def covers_ion(self, ion: str) -> bool:
        """Tell whether facts may be told about an ION as a whole."""
        return self.everything or f"{ion}/*" in self.nodes


class Permission:
    """Judges what is shipped in one transaction under a scope.

    A fact is about the nodes that it names, and about those of its run and its epoch, which must be known:
    each program tells that its run has started before it tells anything else of it.

    Raises:
        IonError: ``token-refused`` when the token was revoked before this transaction.
    """

    def __init__(self, reader: Reader, scope: Scope) -> None:
        if reader.find(TokenRevoked, scope.token, limit=1):
            raise IonError("token-refused", f"the token {scope.token} was revoked", "ask for another token")
        self._reader = reader
        self._scope = scope
        self._runs: dict[str, set[str]] = {}
        self._epochs: dict[str, set[str]] = {}

    def problem(self, record: Record) -> str:
        """Return why a record is outside of the scope; empty when it is not."""
        fact = record.fact
        if not self._scope.covers_agent(record.agent) and not self._of_a_spool(record):
            return "its author is another agent"
        if self._scope.everything:
            return ""
        nodes, problem = self._nodes_of(fact)
        outside = sorted(node for node in nodes if not self._scope.covers_node(node))
        if not problem and outside:
            problem = f"the token does not cover {outside[0]}"
        if not problem:
            self._note(fact)
        return problem[:300]

    def _of_a_spool(self, record: Record) -> bool:
        fact = record.fact
        told = isinstance(fact, GapNoted | AlertRaised) and self._scope.covers_agent(fact.scope)
        return told and record.agent.startswith(SHIPPING)

    def _nodes_of(self, fact: Fact) -> tuple[set[str], str]:
        """Return the nodes a fact is about, and why that cannot be said or needs no node to be covered."""
        if isinstance(fact, GapNoted | AlertRaised):
            return self._nodes_of_scope(fact.scope)
        if isinstance(fact, ClockSkewed):
            return set(), "" if self._scope.covers_agent(fact.agent) else "it is about another agent"
        named = {text for name in ("node", "sender") if (text := str(getattr(fact, name, "")))}
        run, epoch = str(getattr(fact, "run", "")), str(getattr(fact, "epoch", ""))
        if isinstance(fact, PredictionReplayed):
            epoch = fact.prediction.partition(":")[0]
        known = self._run_nodes(run) if run else set()
        if run and not known and not isinstance(fact, NodeRunStarted):
            return named, f"nobody has told that the run {run} started"
        named |= known | (self._epoch_nodes(epoch) if epoch else set())
        return named, "" if named else "it is about no node that the token covers"

    def _nodes_of_scope(self, scope: str) -> tuple[set[str], str]:
        if self._scope.covers_agent(scope) or self._scope.covers_ion(scope):
            return set(), ""
        found = {scope} if "/" in scope else self._run_nodes(scope) | self._epoch_nodes(scope)
        return found, "" if found else "it is about no node that the token covers"

    def _run_nodes(self, run: str) -> set[str]:
        if run not in self._runs:
            self._runs[run] = _nodes(self._reader.find(NodeRunStarted, run), "run", run)
        return self._runs[run]

    def _epoch_nodes(self, epoch: str) -> set[str]:
        if epoch not in self._epochs:
            self._epochs[epoch] = _nodes(self._reader.find(EpochOpened, epoch), "epoch", epoch)
        return self._epochs[epoch]

    def _note(self, fact: Fact) -> None:
        """Remember what a fact of this transaction, not yet written, makes known."""
        if isinstance(fact, NodeRunStarted):
            self._run_nodes(fact.run).add(fact.node)
        elif isinstance(fact, EpochOpened):
            self._epoch_nodes(fact.epoch).add(fact.node)


def _nodes(found: Iterable[object], name: str, value: str) -> set[str]:
    """Return the nodes of the facts whose field ``name`` is ``value``: subjects alone may be of another field."""
    facts = (getattr(record, "fact", None) for record in found)
    return {str(getattr(fact, "node", "")) for fact in facts if getattr(fact, name, None) == value}
