"""The compaction sensor: statistics told second by second become few and large rows."""

from __future__ import annotations

import dagster as dg

from ion.home import Home
from ion.store import open_store


@dg.sensor(
    name="compaction",
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Packs stored statistics together every ten minutes; every point stays, and each packing is a fact.",
)
def compaction(context: dg.SensorEvaluationContext) -> dg.SkipReason:  # noqa: ARG001 - Dagster names it
    """Pack what is loose; altered points fail the tick."""
    store = open_store(Home.find().store_url)
    try:
        packed = list(store.statistics.compact_all())
    finally:
        store.close()
    return dg.SkipReason(f"{sum(fact.points for fact in packed)} points of {len(packed)} runs were packed")
