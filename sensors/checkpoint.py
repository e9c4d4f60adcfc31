"""The checkpoint sensor: signs the head of the ledger and shows it in Dagster."""

from __future__ import annotations

import dagster as dg

from ion.dagster.checkpoints import report_checkpoint
from ion.evidence import founded_trust
from ion.home import Home
from ion.store import open_store

FACTS, SECONDS = 1000, 60.0
"""How much happens, or how long it takes, until the next checkpoint."""


@dg.sensor(
    name="checkpoint",
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Signs the head of the ledger every 1,000 facts or 60 seconds, when anything happened.",
)
def checkpoint(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Make a checkpoint when it is time, and report the newest one; a store that was altered fails the tick."""
    from ion.audit.checkpoints import Cadence, Checkpoints  # the audit is not needed to load the location

    home = Home.find()
    founded_trust(home)
    store = open_store(home.store_url)
    try:
        checkpoints = Checkpoints.open(store, home)
        checkpoints.make(Cadence(facts=FACTS, seconds=SECONDS))
        newest = checkpoints.latest()
        if newest is None or str(newest.size) == context.cursor:
            return dg.SensorResult(cursor=context.cursor, skip_reason="nothing new was signed")
        report_checkpoint(context.instance, newest)
        return dg.SensorResult(cursor=str(newest.size), skip_reason=f"{newest.size} records are signed")
    finally:
        store.close()
