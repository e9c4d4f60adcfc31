"""Whether each agent's facts are all there: sequences without holes, up to what was acknowledged."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ion.facts import GOVERNANCE_ONLY, GapNoted
from ion.ledger import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.records import Record


_ALL = 1 << 63
"""Beyond every sequence number: what a gap explains that names none."""


@dataclass(slots=True)
class _Numbers:
    """The sequence numbers of one agent: all below ``next`` were seen, but for those in holes."""

    next: int = 0
    holes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """First missing number → the number after the hole, and where that stands."""

    def see(self, seq: int, position: int) -> bool:
        """Take a number into account; False when it was seen before."""
        if seq >= self.next:
            if seq > self.next:
                self.holes[self.next] = (seq, position)
            self.next = seq + 1
            return True
        for first, (after, at) in self.holes.items():
            if first <= seq < after:
                del self.holes[first]
                if first < seq:
                    self.holes[first] = (seq, position)
                if seq + 1 < after:
                    self.holes[seq + 1] = (after, at)
                return True
        return False


class Agents:
    """Sees every record once, in order.

    Args:
        acknowledged: each agent's last acknowledged sequence number, read before the records.
    """

    def __init__(self, acknowledged: Mapping[str, int]) -> None:
        self._acknowledged = acknowledged
        self._numbers: dict[str, _Numbers] = {}
        self._explained: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._governance = ""
        self._problems: list[Problem] = []

    def see(self, position: int, record: Record) -> None:
        """Take the next record into account."""
        if not self._numbers.setdefault(record.agent, _Numbers()).see(record.seq, position):
            message = f"agent {record.agent} has told fact {record.seq} before"
            self._problems.append(Problem(position, "duplicated", message))
        if isinstance(record.fact, GapNoted):
            gap = record.fact
            whole = gap.first is None or gap.last is None
            self._explained[gap.scope].append((0, _ALL) if whole else (gap.first or 0, gap.last or 0))
        if isinstance(record.fact, GOVERNANCE_ONLY):
            # Only the store itself records what governance does, so all such facts have one author.
            self._governance = self._governance or record.agent
            if record.agent != self._governance:
                message = f"a {type(record.fact).__name__} by {record.agent}, not by the store"
                self._problems.append(Problem(position, "foreign-author", message))

    @property
    def holes(self) -> bool:
        """Whether facts are missing in the middle that no gap fact explains."""
        return any(self._unexplained(agent) for agent in self._numbers)

    @property
    def cut(self) -> bool:
        """Whether facts are missing at the end that the store once acknowledged."""
        return any(self._told(agent) < newest for agent, newest in self._acknowledged.items())

    def problems(self) -> list[Problem]:
        """Return holes that no gap fact explains, lost acknowledged facts, repeated numbers and foreign decisions."""
        problems: list[Problem] = []
        for agent in self._numbers:
            for first, after, position in self._unexplained(agent):
                told = f"{after - first} facts before sequence {after} are missing, no gap fact says why"
                problems.append(Problem(position, "sequence-hole", f"agent {agent}: {told}"))
        for agent, newest in self._acknowledged.items():
            if self._told(agent) < newest:
                message = f"agent {agent} was acknowledged up to {newest}, the store holds up to {self._told(agent)}"
                problems.append(Problem(0, "acknowledged-missing", message))
        return problems + self._problems

    def _unexplained(self, agent: str) -> list[tuple[int, int, int]]:
        """Return the holes that gap facts do not explain wholly: first missing, number after, position of that."""
        found: list[tuple[int, int, int]] = []
        for first, (after, position) in sorted(self._numbers[agent].holes.items()):
            missing = first
            for start, end in sorted(self._explained[agent]):
                if start <= missing <= end:
                    missing = end + 1
            if missing < after:
                found.append((first, after, position))
        return found

    def _told(self, agent: str) -> int:
        """Return the highest number of an agent, -1 for none."""
        return self._numbers[agent].next - 1 if agent in self._numbers else -1
