"""Dagster's event log read into facts: assets that know nothing of ion are governed too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from ion.facts import CheckObserved, GapNoted, MaterializationObserved, NodeRunEnded, NodeRunStarted
from ion.ids import observed_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.agent import Client
    from ion.store import GovernanceStore

_BATCH = 200
_OWN_RUN = "ion/node_run"
_ENDED = {
    dg.DagsterRunStatus.SUCCESS: "succeeded",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "stopped",
}


def observe_materializations(store: GovernanceStore, client: Client, instance: dg.DagsterInstance, after: int) -> int:
    """Turn materializations after storage id ``after`` into facts; returns the storage id reached.

    Fact ids derive from the event, so observing twice is harmless. Our own materializations carry
    ``ion/node_run``: they are skipped when the store has that run, and are a gap when it has not.
    """
    identity = _identity(instance)
    for storage_id, entry in _logged(instance, dg.DagsterEventType.ASSET_MATERIALIZATION, after):
        _materialization(store, client, identity, storage_id, entry)
        after = storage_id
    return after


def observe_checks(store: GovernanceStore, client: Client, instance: dg.DagsterInstance, after: int) -> int:
    """Turn check results after storage id ``after`` into facts; otherwise as for materializations."""
    identity = _identity(instance)
    for storage_id, entry in _logged(instance, dg.DagsterEventType.ASSET_CHECK_EVALUATION, after):
        _check(store, client, identity, storage_id, entry)
        after = storage_id
    return after


def _logged(instance: dg.DagsterInstance, kind: dg.DagsterEventType, after: int) -> list[tuple[int, dg.EventLogEntry]]:
    """Return some events of a kind after storage id ``after``, of all runs and of none, in order.

    Dagster's SQLite storage refuses `get_event_records` for check results; this reads its index,
    where both kinds are.
    """
    return sorted(instance.event_log_storage.get_logs_for_all_runs_by_log_id(after, kind, _BATCH).items())


def _identity(instance: dg.DagsterInstance) -> str:
    """Return what tells this Dagster instance from others: the id that its run storage keeps."""
    known: Callable[[], str] | None = getattr(instance.run_storage, "get_run_storage_id", None)
    return known() if known is not None else type(instance.run_storage).__name__


def end_finished_runs(
    store: GovernanceStore, client: Client, instance: dg.DagsterInstance, open_runs: set[str], after: int
) -> int:
    """End node runs whose Dagster run is over (killed, or made of datasets only).

    A step that failed and then succeeded on a retry leaves its node run ended as failed: that is put
    right, too. ``open_runs`` is kept by the caller between calls; returns the position looked at up to.
    """
    for started in store.find(NodeRunStarted, after=after):
        if started.fact.engine == "dagster":
            open_runs.add(started.fact.run)
        after = max(after, started.position)
    for run in sorted(open_runs):
        begun, ended = store.latest(NodeRunStarted, run), store.latest(NodeRunEnded, run)
        found = instance.get_run_by_id(begun.fact.engine_run) if begun else None
        if found is None:
            if ended is not None:
                open_runs.discard(run)
            continue
        if found.status not in _ENDED:
            continue
        status = _ENDED[found.status]
        if ended is None or (ended.fact.status, status) == ("failed", "succeeded"):
            error = "" if status == "succeeded" else f"Dagster run {found.run_id} ended as {found.status.value}"
            client.emit(NodeRunEnded(run=run, status=status, error=error), fact_id=observed_id("ended", run))
        open_runs.discard(run)
    return after


def _materialization(
    store: GovernanceStore, client: Client, identity: str, storage_id: int, entry: dg.EventLogEntry
) -> None:
    event = entry.asset_materialization
    if event is None:
        return
    tags = dict(event.tags or {})
    asset, partition, step = event.asset_key.to_user_string(), event.partition or "", entry.step_key or ""
    if _OWN_RUN in tags:
        _note_if_missing(store, client, identity, tags[_OWN_RUN], asset)
        return
    if any(tag.startswith("ion/") for tag in tags):  # a decision or a window, reported by governance itself
        return
    us = int(entry.timestamp * 1e6)
    client.emit(
        MaterializationObserved(
            instance=identity,
            dagster_run=entry.run_id,
            asset=asset,
            partition=partition,
            step=step,
            storage_id=storage_id,
            us=us,
            tags=tags,
        ),
        fact_id=observed_id(identity, entry.run_id, step, asset, partition, "", str(us)),
    )


def _check(store: GovernanceStore, client: Client, identity: str, storage_id: int, entry: dg.EventLogEntry) -> None:
    event = entry.dagster_event
    if event is None:
        return
    found = event.asset_check_evaluation_data
    asset, partition, step = found.asset_key.to_user_string(), found.partition or "", entry.step_key or ""
    own = found.metadata.get(_OWN_RUN)
    if own is not None:
        _note_if_missing(store, client, identity, str(own.value), asset)
        return
    us = int(entry.timestamp * 1e6)
    client.emit(
        CheckObserved(
            instance=identity,
            dagster_run=entry.run_id,
            asset=asset,
            name=found.check_name,
            passed=bool(found.passed),
            severity=found.severity.value,
            storage_id=storage_id,
            us=us,
        ),
        fact_id=observed_id(identity, entry.run_id, step, asset, partition, found.check_name, str(us)),
    )


def _note_if_missing(store: GovernanceStore, client: Client, identity: str, run: str, asset: str) -> None:
    if store.latest(NodeRunStarted, run) is None:
        reason = f"Dagster holds an event of {asset}, the facts of its run never arrived"
        gap = GapNoted(scope=run, what="node run", count=1, reason=reason)
        client.emit(gap, fact_id=observed_id("missing run", identity, run))
