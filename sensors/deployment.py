"""The deployment sensor: what is promoted is published and served by a running job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from ion.dagster.governing import decision_signer
from ion.errors import IonError
from ion.facts import IonDefined
from ion.graph import Definition
from ion.home import Home
from ion.replay import tell_erased
from ion.serving.promoting import open_promotions
from ion.store import open_store
from resources.flink.deployment import FlinkDeployment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ion.store import GovernanceStore


@dg.sensor(
    name="deployment",
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Renews pointers and keeps the streaming job of every promoted node running, one at a time.",
)
def deployment(_context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Bring pointers and jobs in line with the store."""
    home = Home.find().make()
    store = open_store(home.store_url)
    done: list[str] = []
    refused: list[IonError] = []
    try:
        tell_erased(home, store)
        keeper = open_promotions(home, store, decision_signer(home))
        for node, mode in serving_nodes(store):
            current = store.current(node)
            if not current.model:
                continue
            try:
                if keeper.publish(node):
                    done.append(f"published {node} serial {current.serial}")
            except IonError as error:  # what this node's facts say does not hold; the others go on
                refused.append(error)
                continue
            if mode == "streaming" and not current.halted:
                job = FlinkDeployment(home, node)
                job.share_bins(store)
                if job.start(store):
                    done.append(f"started the job of {node}")
    finally:
        store.close()
    if refused:
        raise refused[0]
    return dg.SkipReason("; ".join(done) or "everything promoted is published and served")


def serving_nodes(store: GovernanceStore) -> Iterator[tuple[str, str]]:
    """Yield ``(ion/node, mode)`` of every inference node of every ION."""
    newest = {record.fact.ion: record.fact for record in store.find(IonDefined)}
    for fact in newest.values():
        definition = Definition.from_json(fact.definition)
        for node in definition.nodes:
            if node.kind == "inference":
                yield f"{definition.ion}/{node.name}", str(node.details["mode"])
