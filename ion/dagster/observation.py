"""Dagster's event log read into facts: assets that know nothing of ion are governed too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from ion.facts import CheckObserved, GapNoted, MaterializationObserved, NodeRunEnded, NodeRunStarted
from ion.ids import observed_id

if TYPE_CHECKING:
    from ion.agent import Client
    from ion.store import GovernanceStore

_BATCH = 200
_ENDED = {
    dg.DagsterRunStatus.SUCCESS: "succeeded",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "stopped",
}


def observe(store: GovernanceStore, client: Client, instance: dg.DagsterInstance, after: int) -> int:
    """Turn events after storage id ``after`` into facts; returns the storage id reached.

    Fact ids derive from the event, so observing twice is harmless. Our own materializations carry
    ``ion/node_run``: they are skipped when the store has that run, and are a gap when it has not.
    """
    identity = instance.run_storage.get_run_storage_id()
    reached = after
    kinds = (dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    for kind in kinds:
        records = instance.get_event_records(
            dg.EventRecordsFilter(event_type=kind, after_cursor=after), limit=_BATCH, ascending=True
        )
        for record in records:
            reached = max(reached, record.storage_id)
            event = record.event_log_entry.dagster_event
            if event is None:
                continue
            if kind is dg.DagsterEventType.ASSET_MATERIALIZATION:
                _materialization(store, client, identity, record)
            else:
                _check(store, client, identity, record)
    return reached


def end_finished_runs(store: GovernanceStore, client: Client, instance: dg.DagsterInstance, open_runs: set[str], after: int) -> int:
    """End node runs whose Dagster run is over (killed, or made of datasets only).

    ``open_runs`` is kept by the caller between calls; returns the position looked at up to.
    """
    for started in store.find(NodeRunStarted, after=after):
        if started.fact.engine == "dagster":
            open_runs.add(started.fact.run)
        after = max(after, started.position)
    for run in sorted(open_runs):
        if store.latest(NodeRunEnded, run) is not None:
            open_runs.discard(run)
            continue
        started_fact = store.latest(NodeRunStarted, run)
        found = instance.get_run_by_id(started_fact.fact.engine_run) if started_fact else None
        if found is not None and found.status in _ENDED:
            status = _ENDED[found.status]
            error = "" if status == "succeeded" else f"Dagster run {found.run_id} ended as {found.status.value}"
            client.emit(NodeRunEnded(run=run, status=status, error=error), fact_id=observed_id("ended", run))
            open_runs.discard(run)
    return after


def _materialization(store: GovernanceStore, client: Client, identity: str, record: dg.EventLogRecord) -> None:
    entry = record.event_log_entry
    event = record.asset_materialization
    if event is None or entry.dagster_event is None:
        return
    tags = dict(event.tags or {})
    run = tags.get("ion/node_run")
    if run is not None:
        if store.latest(NodeRunStarted, run) is None:
            reason = f"Dagster holds a materialization of {event.asset_key.to_user_string()}, its facts never arrived"
            gap = GapNoted(scope=run, what="node run", count=1, reason=reason)
            client.emit(gap, fact_id=observed_id("missing run", identity, run))
        return
    if any(tag.startswith("ion/") for tag in tags):
        return
    us = int(entry.timestamp * 1e6)
    asset, partition = event.asset_key.to_user_string(), event.partition or ""
    step = entry.step_key or ""
    client.emit(
        MaterializationObserved(
            instance=identity, dagster_run=entry.run_id, asset=asset, partition=partition, step=step,
            storage_id=record.storage_id, us=us, tags=tags,
        ),
        fact_id=observed_id(identity, entry.run_id, step, asset, partition, "", str(us)),
    )


def _check(store: GovernanceStore, client: Client, identity: str, record: dg.EventLogRecord) -> None:
    from ion.facts import CheckEvaluated

    entry = record.event_log_entry
    event = entry.dagster_event
    if event is None:
        return
    found = event.asset_check_evaluation_data
    asset = found.asset_key.to_user_string()
    own = store.find(CheckEvaluated, asset)
    if any(r.fact.engine_run == entry.run_id and r.fact.name == found.check_name for r in own):
        return
    us = int(entry.timestamp * 1e6)
    client.emit(
        CheckObserved(
            instance=identity, dagster_run=entry.run_id, asset=asset, name=found.check_name,
            passed=bool(found.passed), severity=found.severity.value, storage_id=record.storage_id, us=us,
        ),
        fact_id=observed_id(identity, entry.run_id, entry.step_key or "", asset, found.partition or "", found.check_name, str(us)),
    )
