"""Stand-alone agents in Dagster's event log: where people see how those that ship for whole hosts fare."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import dagster as dg

from ion.canonical import canonical_bytes, digest_bytes
from ion.clock import rfc3339
from ion.facts import AlertRaised
from ion.ids import observed_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.graph.agents import AgentState
    from ion.store import GovernanceStore

ASSET = dg.AssetKey(["governance", "agents"])

agents_spec = dg.AssetSpec(
    ASSET,
    description="The agents that ship facts for whole hosts: alive, late or gone, and what waits: `ion agents`.",
    group_name="governance",
    kinds={"agent"},
)
"""The asset that the sensor of the agents reports on."""


def how_they_fare(states: Sequence[AgentState]) -> str:
    """Return a digest that changes when an agent comes, goes, or becomes late."""
    return digest_bytes(canonical_bytes([[each.name, each.run, each.state] for each in states]))


def report_agents(instance: dg.DagsterInstance, states: Sequence[AgentState]) -> None:
    """Report all agents as one runless materialization."""
    rows = [json.dumps(each.as_dict(), sort_keys=True) for each in states]
    counts = {state: sum(each.state == state for each in states) for state in ("alive", "late", "gone")}
    table = dg.MetadataValue.md("\n".join(f"- `{row}`" for row in rows) or "none")
    instance.report_runless_asset_event(dg.AssetMaterialization(asset_key=ASSET, metadata={**counts, "agents": table}))


def tell_late(store: GovernanceStore, states: Sequence[AgentState]) -> list[str]:
    """Record an alert for each agent that is late, once per silence; returns the names of those newly late."""
    told: list[str] = []
    for each in states:
        if each.state != "late":
            continue
        identity = observed_id("agent late", each.run, str(each.seen_us))
        alerts = store.find(AlertRaised, each.run)
        if any(found.id == identity for found in alerts):
            continue
        message = f"nothing was heard of agent {each.name} since {rfc3339(each.seen_us)}"
        with store.command() as command:
            command.record(AlertRaised(scope=each.run, alert="agent-late", message=message), identity)
        told.append(each.name)
    return told
