"""What a full spool gives up, lowest value first, and what it says about each loss.

Logs go; statistics keep every tenth point; signatures over the same bins are added up. Decisions, messages, models,
approvals, gaps, runs and everything else stay.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ion.agent.statistics import statistics_fact
from ion.clock import rfc3339
from ion.facts import GapNoted, SignatureRecorded, StatisticsRecorded
from ion.points import Points, read_block, read_column
from ion.records import write_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ion.facts import Fact
    from ion.records import Record

KEPT = 10
"""Of so many points one is kept."""

_LOGS = "LogsRecorded"


@dataclass(slots=True)
class Told:
    """A fact in a segment, and the bytes it names; ``record`` is None once it was given up."""

    record: Record | None
    block: bytes


@dataclass(slots=True)
class Losses:
    """What was given up for a reason: how many, and when, by scope; and the numbers of the facts that went with it."""

    what: str = ""
    reason: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    times: dict[str, list[int]] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)

    def add(self, scope: str, count: int, us: int) -> None:
        """Count things of a run or an epoch, told at a time (µs)."""
        self.counts[scope] = self.counts.get(scope, 0) + count
        self.times.setdefault(scope, []).append(us)

    def gaps(self, agent: str) -> list[GapNoted]:
        """Return the facts that tell them: of what is missing where, and which numbers of the agent are."""
        told = []
        for scope, count in self.counts.items():
            first, last = rfc3339(min(self.times[scope])), rfc3339(max(self.times[scope]))
            reason = f"{self.reason}; told from {first} to {last}"
            told.append(GapNoted(scope=scope, what=self.what, count=count, reason=reason))
        if self.gone:
            first_seq, last_seq = min(self.gone), max(self.gone)
            count = len(self.gone)
            told.append(
                GapNoted(scope=agent, what="facts", count=count, reason=self.reason, first=first_seq, last=last_seq)
            )
        return told


def drop_logs(facts: list[Told], losses: Losses) -> None:
    """Give up what runs logged."""
    losses.what, losses.reason = "log entries", "the spool was full: logs were given up"
    for told in facts:
        if told.record is None or type(told.record.fact).__name__ != _LOGS:
            continue
        scope = str(getattr(told.record.fact, "run", ""))
        losses.add(scope, len(getattr(told.record.fact, "entries", ())), told.record.stamp.us)
        _give_up(told, losses)


def thin_statistics(facts: list[Told], losses: Losses) -> None:
    """Keep every tenth point of each series, and its first and last."""
    losses.what = "points of statistics"
    losses.reason = f"the spool was full: every {KEPT}th point of a series was kept"
    for told in facts:
        if told.record is None or not isinstance(told.record.fact, StatisticsRecorded):
            continue
        fact = told.record.fact
        columns: Mapping[str, Points] = {
            str(each["name"]): read_column(body) for each, body in zip(fact.series, read_block(told.block), strict=True)
        }
        thinned = {name: _thinned(points) for name, points in columns.items()}
        if dropped := sum(len(points) - len(thinned[name]) for name, points in columns.items()):
            losses.add(fact.epoch or fact.run, dropped, told.record.stamp.us)
            other, block = statistics_fact(fact.run, fact.epoch, thinned)
            told.record, told.block = _in_place_of(told.record, other), block


def merge_signatures(facts: list[Told], losses: Losses) -> None:
    """Add up histograms over the same bins; the newest holds the sum."""
    losses.what, losses.reason = "signatures", "the spool was full: signatures over the same bins were added up"
    newest: dict[object, Told] = {}
    for told in facts:
        if told.record is None or not isinstance(told.record.fact, SignatureRecorded):
            continue
        fact = told.record.fact
        key = (fact.run, fact.epoch, fact.role, fact.name, tuple(fact.edges))
        before = newest.get(key)
        newest[key] = told
        if before is None or before.record is None or not isinstance(before.record.fact, SignatureRecorded):
            continue
        former = before.record.fact
        total = dataclasses.replace(
            fact,
            counts=[a + b for a, b in zip(former.counts, fact.counts, strict=True)],
            below=former.below + fact.below,
            above=former.above + fact.above,
        )
        told.record = _in_place_of(told.record, total)
        losses.add(fact.epoch or fact.run, 1, before.record.stamp.us)
        _give_up(before, losses)


LADDER: tuple[Callable[[list[Told], Losses], None], ...] = (drop_logs, thin_statistics, merge_signatures)
"""Lowest value first."""


def _thinned(points: Points) -> Points:
    import numpy as np

    if len(points) <= KEPT:
        return points
    kept = np.unique(np.append(np.arange(0, len(points), KEPT), len(points) - 1))
    return Points(points.times[kept], points.values[kept])


def _in_place_of(record: Record, fact: Fact) -> Record:
    """Return the record of another fact under the same id, number and time."""
    return write_record(fact, fact_id=record.id, agent=record.agent, seq=record.seq, stamp=record.stamp)


def _give_up(told: Told, losses: Losses) -> None:
    if told.record is not None:
        losses.gone.append(told.record.seq)
        told.record = None
