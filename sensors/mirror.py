"""The mirror sensor: MLflow's alias follows what is served, and never holds a decision up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from ion.decision.mirror import ALIAS, changes, registered
from ion.facts import MirrorUpdated, ModelRecorded, ModelRevoked
from ion.home import Home
from ion.store import open_store
from resources.mlflow import alias_version, mirror, set_alias

if TYPE_CHECKING:
    from ion.decision.mirror import Change
    from ion.store import GovernanceStore


@dg.sensor(
    name="mlflow_mirror",
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Moves the MLflow alias to the promoted version. The registry is a mirror, never the authority.",
)
def mlflow_mirror(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Mirror changes after the cursor; a dead MLflow leaves the cursor where it is."""
    store = open_store(Home.find().make().store_url)
    position = int(context.cursor or 0)
    mirrored = 0
    try:
        for at, change in changes(store, position):
            mirrored += _follow(store, change)
            position = at
    except Exception as error:  # noqa: BLE001 - reconciled by a later tick; decisions do not depend on it
        return dg.SensorResult(cursor=str(position), skip_reason=f"MLflow is behind, will try again: {error}"[:500])
    finally:
        store.close()
    return dg.SensorResult(cursor=str(position), skip_reason=f"mirrored {mirrored} changes")


def _follow(store: GovernanceStore, change: Change) -> bool:
    """Mirror one change unless that is done, or a later one of the node has overtaken it."""
    current = store.current(change.node)
    if current.cause != change.cause or store.latest(MirrorUpdated, change.cause) is not None:
        return False
    made = [record.fact for record in store.find(ModelRecorded, current.model) if record.fact.run == current.run]
    place = registered(made[0]) if made else None
    if place is None:
        return False
    name, version = place
    tags: dict[str, str] = {}
    created = 0
    if isinstance(change, ModelRevoked):
        if alias_version(name, ALIAS) != version:
            return False
        version = ""
        set_alias(name, version, ALIAS)
    else:
        tags = {"ion.model_version": change.model, "ion.node": change.node, "ion.decision": change.decision}
        created = mirror(name, version, ALIAS, tags)
    updated = MirrorUpdated(
        cause=change.cause, registry="mlflow", name=name, version=version, alias=ALIAS, tags=tags, created=created
    )
    with store.command() as command:
        command.record(updated)
    return True
