"""Whether each agent's facts are all there: sequences without holes, up to what was acknowledged."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from ion.facts import GOVERNANCE_ONLY, GapNoted
from ion.ledger import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.records import Record


def agent_problems(acknowledged: Mapping[str, int], records: list[tuple[int, Record]]) -> list[Problem]:
    """Find holes in agents' sequences that no gap fact explains, lost acknowledged facts, and foreign decisions.

    ``acknowledged`` holds each agent's last acknowledged sequence number, read before ``records``.
    """
    sequences: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for position, record in records:
        sequences[record.agent].append((record.seq, position))
    explained = {record.fact.scope for _, record in records if isinstance(record.fact, GapNoted)}
    problems: list[Problem] = []
    for agent, numbers in sequences.items():
        ordered = [(-1, 0), *sorted(numbers)]
        for (before, _), (after, position) in pairwise(ordered):
            if after != before + 1 and agent not in explained:
                missing = after - before - 1
                message = f"agent {agent}: {missing} facts before sequence {after} are missing, no gap fact says why"
                problems.append(Problem(position, "sequence-hole", message))
    for agent, newest in acknowledged.items():
        last = max((number for number, _ in sequences.get(agent, [])), default=-1)
        if last < newest:
            message = f"agent {agent} was acknowledged up to {newest}, the store holds up to {last}"
            problems.append(Problem(0, "acknowledged-missing", message))
    return problems + _foreign_decisions(records)


def _foreign_decisions(records: list[tuple[int, Record]]) -> list[Problem]:
    """Only the store itself records what governance does, so all such facts have one author."""
    acts = [(position, record) for position, record in records if isinstance(record.fact, GOVERNANCE_ONLY)]
    return [
        Problem(position, "foreign-author", f"a {type(record.fact).__name__} by {record.agent}, not by the store")
        for position, record in acts
        if record.agent != acts[0][1].agent
    ]
