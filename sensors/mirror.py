"""The mirror sensor: MLflow's alias follows the promotion, and never holds one up."""

from __future__ import annotations

import dagster as dg

from ion.facts import MirrorUpdated, ModelRecorded, Promoted
from ion.home import Home
from ion.store import open_store
from resources.mlflow import set_alias

ALIAS = "champion"


@dg.sensor(
    name="mlflow_mirror",
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Moves the MLflow alias to the promoted version. The registry is a mirror, never the authority.",
)
def mlflow_mirror(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Mirror promotions after the cursor; a dead MLflow leaves the cursor where it is."""
    store = open_store(Home.find().make().store_url)
    position = int(context.cursor or 0)
    mirrored = 0
    try:
        for record in store.find(Promoted, after=position):
            promoted = record.fact
            made = [r.fact for r in store.find(ModelRecorded, promoted.model) if r.fact.run == promoted.run]
            links = made[0].links if made else {}
            name, version = links.get("mlflow_model"), links.get("mlflow_version")
            already = store.latest(MirrorUpdated, promoted.cause) is not None
            newest = store.current(promoted.node).serial == promoted.serial
            if name and version and not already and newest:
                set_alias(str(name), str(version), ALIAS)
                with store.command() as command:
                    command.record(
                        MirrorUpdated(
                            cause=promoted.cause, registry="mlflow", name=str(name), version=str(version), alias=ALIAS
                        )
                    )
                mirrored += 1
            position = record.position
    except Exception as error:  # noqa: BLE001 - reconciled by a later tick; decisions do not depend on it
        return dg.SensorResult(cursor=str(position), skip_reason=f"MLflow is behind, will try again: {error}"[:500])
    finally:
        store.close()
    return dg.SensorResult(cursor=str(position), skip_reason=f"mirrored {mirrored} promotions")
