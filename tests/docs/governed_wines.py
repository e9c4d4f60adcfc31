"""Plays the tutorial in a project folder: run there as a program, it prints what it saw as one JSON document."""

from __future__ import annotations

import json
import time

import dagster as dg

from gov_assets.definitions import defs
from ion import open_client
from ion.dagster.declaration import declarations, definitions_of
from ion.dagster.governing import open_governor
from ion.graph import define, explain, predictions
from ion.home import Home
from ion.replay import replay
from ion.store import open_store
from sensors import observation
from sensors.promotion import watch


def main() -> None:
    """Materialize, decide, predict, ask."""
    home = Home.find().make()
    store = open_store(home.store_url)
    assets = [asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition | dg.AssetSpec)]
    for definition in definitions_of(declarations(assets)):
        define(store, definition)
    wines = {asset.key.to_user_string(): asset for asset in assets if asset.key.path[0] == "wines"}
    told: dict[str, object] = {"assets": sorted(wines)}
    with dg.DagsterInstance.ephemeral() as instance:

        def materialize(*names: str) -> dg.ExecuteInProcessResult:
            keys = [dg.AssetKey(["wines", name]) for name in names]
            return dg.materialize(
                list(wines.values()), instance=instance, selection=keys, resources=dict(defs.resources or {})
            )

        told["checks"] = [
            [check.check_name, check.passed]
            for check in materialize("analyses", "grower").get_asset_check_evaluations()
        ]
        governor = open_governor(home, instance)
        reported, until = 0, time.monotonic() + 60
        while not store.current("wines/growers").model and time.monotonic() < until:
            reported = watch(governor, instance, reported, 0.5)
        watch(governor, instance, reported, 0.5)
        (candidate,) = store.candidates()
        told["verdict"] = candidate.verdict
        for name in ("approval", "deployment"):
            told[name] = len(instance.fetch_materializations(dg.AssetKey(["wines", name]), limit=5).records)
        told["inference"] = materialize("growers").success
        governor.store.close()
        observation.TICK_SECONDS = 0.0  # one look
        observation.observation(dg.build_sensor_context(instance=instance))
    listed = predictions(store, "wines", 3)
    prediction = listed[0].prediction
    answer = explain(store, prediction, home)
    client = open_client(home, name="replay")
    replayed = replay(store, home, prediction, client)
    client.close()
    told |= {
        "predictions": len(predictions(store, "wines", 1000)),
        "explained": {"complete": answer.complete, "gaps": [hole.as_dict() for hole in answer.gaps]},
        "datasets": sorted({str(dataset["name"]) for dataset in answer.datasets}),
        "replayed": replayed.verdict,
    }
    store.close()
    print(json.dumps(told))  # noqa: T201 - this is its answer


if __name__ == "__main__":
    main()
