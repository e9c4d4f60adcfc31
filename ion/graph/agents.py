"""Which stand-alone agents there are, and how they fare: a fold of what they tell of themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ion.agent.standalone import ION, LAG, SPOOL_BYTES
from ion.clock import rfc3339
from ion.facts import ClockSkewed, NodeRunEnded, NodeRunStarted, StatisticsRecorded

if TYPE_CHECKING:
    from ion.store import GovernanceStore

LATE_SECONDS = 90.0
"""An agent that nothing was heard of for so long is late, unless it said that it stops."""


@dataclass(frozen=True, slots=True)
class AgentState:
    """A stand-alone agent.

    Args:
        name: as it calls itself, ``agents/<name>`` as a node.
        run: its newest node run.
        agent: under which its facts are told in that run.
        state: ``alive``, ``late`` or ``gone`` (it said that it stops).
        seen_us: the time of the newest thing it told, µs UTC by its clock.
        lag_seconds: how long it could not ship then.
        spool_bytes: what waited then.
        acknowledged: the highest number of its facts that the store has.
        ahead_seconds: how far its clock was ahead of the store's when that was last noticed.
    """

    name: str
    run: str
    agent: str
    state: str
    seen_us: int
    lag_seconds: float
    spool_bytes: int
    acknowledged: int
    ahead_seconds: float

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        told = asdict(self)
        return {**told, "seen": rfc3339(told.pop("seen_us"))}


def agents(store: GovernanceStore, now: int, late_seconds: float = LATE_SECONDS) -> list[AgentState]:
    """Return every stand-alone agent by name; ``now`` is the time, µs UTC."""
    nodes = store.index.subjects(NodeRunStarted.__name__, f"{ION}/")
    return [state for node in nodes if (state := _state(store, node, now, late_seconds)) is not None]


def _state(store: GovernanceStore, node: str, now: int, late_seconds: float) -> AgentState | None:
    started = store.latest(NodeRunStarted, node)
    if started is None:
        return None
    run = started.fact.run
    beat = store.latest(StatisticsRecorded, run)
    ended = store.latest(NodeRunEnded, run)
    seen = max([started.us, *(found.us for found in (beat, ended) if found is not None)])
    state = "gone" if ended is not None else "alive" if now - seen <= late_seconds * 1e6 else "late"
    skewed = store.latest(ClockSkewed, started.agent)
    acknowledged = store.acknowledged(started.agent)
    return AgentState(
        name=node.partition("/")[2],
        run=run,
        agent=started.agent,
        state=state,
        seen_us=seen,
        lag_seconds=_newest(store, beat.fact if beat else None, LAG),
        spool_bytes=int(_newest(store, beat.fact if beat else None, SPOOL_BYTES)),
        acknowledged=-1 if acknowledged is None else acknowledged,
        ahead_seconds=skewed.fact.ahead_us / 1e6 if skewed else 0.0,
    )


def _newest(store: GovernanceStore, beat: StatisticsRecorded | None, series: str) -> float:
    """Return the newest value of a series in a heartbeat, 0 when it holds none."""
    for row in beat.series if beat else ():
        if row["name"] == series:
            last = int(str(row["last"]))
            points = store.points(beat.run, series, last, last) if beat else None
            return float(points.values[-1]) if points is not None and len(points) else 0.0
    return 0.0
