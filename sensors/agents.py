"""The agents' sensor: shows those that ship for whole hosts, and raises an alert for one that is late."""

from __future__ import annotations

import dagster as dg

from ion.clock import now_us
from ion.dagster.agents import how_they_fare, report_agents, tell_late
from ion.home import Home
from ion.store import open_store

LATE_SECONDS = 90.0
"""An agent that nothing was heard of for so long is late; agents tell of themselves every 15 seconds."""


@dg.sensor(
    name="agents",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Shows the agents that ship for whole hosts; an alert when one was not heard of for 90 seconds.",
)
def agents(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Look at every agent; report when one came, went or became late."""
    from ion.graph.agents import agents as found_in

    store = open_store(Home.find().store_url)
    try:
        states = found_in(store, now_us(), LATE_SECONDS)
        late = tell_late(store, states)
    finally:
        store.close()
    seen = how_they_fare(states)
    if states and seen != context.cursor:
        report_agents(context.instance, states)
    told = f"{len(states)} agents, newly late: {', '.join(late) or 'none'}"
    return dg.SensorResult(cursor=seen, skip_reason=told)
