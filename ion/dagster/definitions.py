"""A code location of governed assets: what the engineer declared, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import dagster as dg

from ion.dagster.declaration import declarations, definitions_of
from ion.dagster.io import ParquetIOManager
from ion.graph import define
from ion.home import Home
from ion.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ion.dagster.declaration import Declaration


def governed(
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec],
    *,
    resources: Mapping[str, object] | None = None,
    sensors: Sequence[dg.SensorDefinition] = (),
) -> dg.Definitions:
    """Return the definitions of a code location.

    Adds, for every training asset, the external assets of its approval and deployment; a sensor
    that records the IONs as the code declares them; Parquet between assets; and one process per
    run, so that a training job has one Spark session.
    """
    found = declarations(assets)
    return dg.Definitions(
        assets=[*assets, *_derived(found)],
        resources={"io_manager": ParquetIOManager(), **(resources or {})},
        sensors=[_definition_sensor(found), *sensors],
        executor=dg.in_process_executor,
    )


def _derived(found: Iterable[Declaration]) -> list[dg.AssetSpec]:
    specs: list[dg.AssetSpec] = []
    for item in found:
        if item.role != "training":
            continue
        owners = list(cast("Sequence[str]", item.details["owners"]))
        approval, deployment = str(item.details["approval"]), str(item.details["deployment"])
        specs += [
            dg.AssetSpec(
                [item.ion, approval],
                deps=[dg.AssetKey([item.ion, item.name])],
                group_name=item.ion,
                kinds={"policy"},
                owners=owners,
                description=f"Decisions by `{item.details['policy_set']}` on the candidates of `{item.name}`. "
                "Written by the promotion sensor: a materialization is an approval, an observation a rejection.",
                tags={"ion": item.ion, "ion/role": "policy"},
            ),
            dg.AssetSpec(
                [item.ion, deployment],
                deps=[dg.AssetKey([item.ion, approval])],
                group_name=item.ion,
                kinds={"deployment"},
                owners=owners,
                description=f"The promoted version of `{item.name}`: what inference nodes serve from here on.",
                tags={"ion": item.ion, "ion/role": "deployment"},
            ),
        ]
    return specs


def _definition_sensor(found: Sequence[Declaration]) -> dg.SensorDefinition:
    @dg.sensor(
        name="ion_definitions",
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Records each ION as the code declares it, whenever that changes.",
    )
    def ion_definitions(_context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if Home.find().hand:  # who trains does not choose who judges
            return dg.SkipReason("this location opens no store: `ion define --record` is governance's to do")
        store = open_store(Home.find().make().store_url)
        try:
            changed = [item.ion for item in definitions_of(found) if define(store, item)]
        finally:
            store.close()
        return dg.SkipReason(f"recorded {', '.join(changed)}" if changed else "no ION changed")

    return ion_definitions
