"""What governance did, shown in Dagster: runless events with pointers to the events they follow from."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from ion.dagster.governing import materialization_of
from ion.facts import DagsterReported, DecisionMade, IonDefined, ModelRecorded, NodeRunStarted, Promoted
from ion.graph import Definition
from ion.graph.pending import signing_command
from ion.home import Home, web_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ion.records import Recorded
    from ion.store import GovernanceStore

_POINTER = "dagster/input_event_pointer/"
_DECISION = "ion/decision"
_EARLIER_SECONDS = 60.0
"""How far Dagster's clock may be behind the store's when looking for what was reported already."""
_LOOK_BACK = 1000


def report_decisions(store: GovernanceStore, instance: dg.DagsterInstance, after: int) -> int:
    """Report every decision after position ``after`` that Dagster does not show yet.

    What was reported is a fact; after a crash in between, the event that Dagster already holds is
    found by its decision, so each is shown once. While another process of this host reports there
    is nothing to do. Returns the position up to which all is reported.
    """
    with _only_reporter(Home.find()) as alone:
        if not alone:
            return after
        for record in store.find(DecisionMade, after=after):
            if store.latest(DagsterReported, record.fact.decision) is None:
                _report(store, instance, record)
            after = record.position
    return after


@contextmanager
def _only_reporter(home: Home) -> Iterator[bool]:
    with (home.make().root / "reporting.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True  # closing the file releases the lock


def _report(store: GovernanceStore, instance: dg.DagsterInstance, record: Recorded[DecisionMade]) -> None:
    decision = record.fact
    ion = decision.node.partition("/")[0]
    made = [r.fact for r in store.find(ModelRecorded, decision.model) if r.fact.run == decision.run]
    approval, deployment = _asset_names(store, ion, made[0].name if made else "")
    started = store.latest(NodeRunStarted, decision.run)
    tags = {_DECISION: decision.decision, "ion/verdict": decision.verdict}
    source = materialization_of(instance, made[0]) if made else None
    if made and source is not None:
        tags[_POINTER + made[0].name] = str(source)
    since = record.us / 1e6 - _EARLIER_SECONDS
    event = dg.AssetMaterialization if decision.verdict == "approve" else dg.AssetObservation
    upstream = _upstream(made[0].name, started.fact.engine_run if started else "") if made else {}
    judged = event(asset_key=[ion, approval], metadata={**_decision_metadata(decision), **upstream}, tags=tags)
    shown = {f"{ion}/{approval}": _show(instance, judged, since)}
    for promoted in store.find(Promoted, decision.decision):
        promotion = promoted.fact
        deployed = dg.AssetMaterialization(
            asset_key=[ion, deployment],
            metadata={
                "model digest": promotion.model,
                "serial": promotion.serial,
                "replaces": promotion.previous or "nothing: the first model",
                "node": promotion.node,
                "approved in": dg.MetadataValue.asset(dg.AssetKey([ion, approval])),
                "governance page": dg.MetadataValue.url(f"{web_url()}/models/{promotion.model}"),
            },
            tags={
                _DECISION: decision.decision,
                "ion/serial": str(promotion.serial),
                f"{_POINTER}{ion}/{approval}": str(shown[f"{ion}/{approval}"]),
            },
        )
        shown[f"{ion}/{deployment}"] = _show(instance, deployed, since)
    with store.command() as command:
        for asset, storage_id in shown.items():
            command.record(DagsterReported(subject=decision.decision, asset=asset, storage_id=storage_id))


def _show(instance: dg.DagsterInstance, event: dg.AssetMaterialization | dg.AssetObservation, since: float) -> int:
    """Report a runless event unless Dagster holds it already; returns its storage id."""
    held = _held(instance, event, since)
    if held is None:
        instance.report_runless_asset_event(event)
        held = _held(instance, event, since)
    return held or 0


def _held(
    instance: dg.DagsterInstance, event: dg.AssetMaterialization | dg.AssetObservation, since: float
) -> int | None:
    wanted = dg.AssetRecordsFilter(asset_key=event.asset_key, after_timestamp=since)
    materialized = isinstance(event, dg.AssetMaterialization)
    fetch = instance.fetch_materializations if materialized else instance.fetch_observations
    for record in fetch(wanted, limit=_LOOK_BACK).records:
        found = record.asset_materialization if materialized else record.asset_observation
        if found is not None and (found.tags or {}).get(_DECISION) == (event.tags or {}).get(_DECISION):
            return record.storage_id
    return None


def _decision_metadata(decision: DecisionMade) -> Mapping[str, dg.MetadataValue]:
    mark = {"approve": "✓", "reject": "✗", "defer": "…"}
    rows = [
        f"| {mark.get(str(reason['verdict']), '?')} | {reason['policy']} | {_cell(str(reason['message']))} |"
        for reason in decision.reasons
    ]
    table = "\n".join(["| | policy | reason |", "|---|---|---|", *rows])
    return {
        "verdict": dg.MetadataValue.text(decision.verdict),
        "reasons": dg.MetadataValue.md(table),
        "model digest": dg.MetadataValue.text(decision.model),
        "policy set": dg.MetadataValue.text(decision.policy_set),
        "policy digest": dg.MetadataValue.text(decision.policy_digest),
        "approved by": dg.MetadataValue.text(_approved_by(decision)),
        **_waiting(decision),
        "valid until": dg.MetadataValue.timestamp(decision.expires / 1e6),
        "evidence": dg.MetadataValue.json(dict(decision.evidence)),
        "governance page": dg.MetadataValue.url(f"{web_url()}/models/{decision.model}"),
    }


def _approved_by(decision: DecisionMade) -> str:
    """Return who let the model serve, if it may."""
    if decision.verdict != "approve":
        return "nobody"
    if decision.automatic:
        return f"policy set {decision.policy_set}, automatically under its SLA"
    people = dict.fromkeys(str(person) for asked in decision.approvals for person in _items(asked.get("people")))
    return ", ".join(people)


def _waiting(decision: DecisionMade) -> Mapping[str, dg.MetadataValue]:
    """Return what a model that was put off waits for, and what to type to sign."""
    if decision.verdict != "defer" or not decision.approvals:
        return {}
    asked = [
        f"{each.get('quorum')} in the role {each.get('role')}, "
        f"signed by {', '.join(map(str, _items(each.get('people')))) or 'nobody yet'}"
        for each in decision.approvals
    ]
    return {
        "waits for": dg.MetadataValue.text("; ".join(asked)),
        "to sign": dg.MetadataValue.md(f"`{signing_command(decision.model, decision.node)}`"),
    }


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _upstream(model: str, dagster_run: str) -> Mapping[str, dg.MetadataValue]:
    """Return links to what was decided on: the model asset, and the run that materialized it."""
    links: dict[str, dg.MetadataValue] = {"decided on": dg.MetadataValue.asset(dg.AssetKey(model.split("/")))}
    if dagster_run:
        links["trained in"] = dg.MetadataValue.dagster_run(dagster_run)
    return links


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _asset_names(store: GovernanceStore, ion: str, model: str) -> tuple[str, str]:
    """Return the names of the approval and deployment assets that belong to a model asset."""
    known = store.latest(IonDefined, ion)
    trainer = model.rpartition("/")[2]
    if known is not None and trainer:
        definition = Definition.from_json(known.fact.definition)
        for policy in definition.receivers(trainer, "policy"):
            return policy.name, str(policy.details.get("deployment", "deployment"))
    return "approval", "deployment"
