"""What governance did, shown in Dagster: runless events with pointers to the events they follow from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from ion.dagster.governing import materialization_of
from ion.facts import DagsterReported, DecisionMade, IonDefined, ModelRecorded, Promoted
from ion.graph import Definition
from ion.home import web_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.facts import Fact, Recorded
    from ion.store import GovernanceStore

_POINTER = "dagster/input_event_pointer/"


def report_decisions(store: GovernanceStore, instance: dg.DagsterInstance, after: int) -> int:
    """Report every decision after position ``after`` that Dagster does not show yet.

    Idempotent: what was reported is a fact, so a crash in between only repeats the search.
    Returns the position up to which all is reported.
    """
    for record in store.find(DecisionMade, after=after):
        if store.latest(DagsterReported, record.fact.decision) is None:
            _report(store, instance, record)
        after = record.position
    return after


def _report(store: GovernanceStore, instance: dg.DagsterInstance, record: Recorded[DecisionMade]) -> None:
    decision = record.fact
    ion = decision.node.partition("/")[0]
    made = [r.fact for r in store.find(ModelRecorded, decision.model) if r.fact.run == decision.run]
    approval, deployment = _asset_names(store, ion, made[0].name if made else "")
    tags = {"ion/decision": decision.decision, "ion/verdict": decision.verdict}
    source = materialization_of(instance, made[0]) if made else None
    if made and source is not None:
        tags[_POINTER + made[0].name] = str(source)
    metadata = _decision_metadata(decision)
    event = dg.AssetMaterialization if decision.verdict == "approve" else dg.AssetObservation
    instance.report_runless_asset_event(event(asset_key=[ion, approval], metadata=metadata, tags=tags))
    approved = _latest(instance, [ion, approval]) if decision.verdict == "approve" else None
    promoted = [r.fact for r in store.find(Promoted, decision.decision)]
    for promotion in promoted:
        pointer = {_POINTER + f"{ion}/{approval}": str(approved)} if approved else {}
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key=[ion, deployment],
                metadata={
                    "model digest": promotion.model,
                    "serial": promotion.serial,
                    "replaces": promotion.previous or "nothing: the first model",
                    "node": promotion.node,
                    "governance page": dg.MetadataValue.url(f"{web_url()}/models/{promotion.model}"),
                },
                tags={"ion/decision": decision.decision, "ion/serial": str(promotion.serial), **pointer},
            )
        )
    facts: list[Fact] = [
        DagsterReported(subject=decision.decision, asset=f"{ion}/{approval}", storage_id=approved or 0)
    ]
    facts += [
        DagsterReported(
            subject=decision.decision, asset=f"{ion}/{deployment}",
            storage_id=_latest(instance, [ion, deployment]) or 0,
        )
        for _ in promoted
    ]
    with store.command() as command:
        for fact in facts:
            command.record(fact)


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
        "approved by": dg.MetadataValue.text(f"policy set {decision.policy_set}, automatically under its SLA")
        if decision.verdict == "approve"
        else dg.MetadataValue.text("nobody"),
        "valid until": dg.MetadataValue.timestamp(decision.expires / 1e6),
        "evidence": dg.MetadataValue.json(dict(decision.evidence)),
        "governance page": dg.MetadataValue.url(f"{web_url()}/models/{decision.model}"),
    }


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


def _latest(instance: dg.DagsterInstance, key: list[str]) -> int | None:
    records = instance.fetch_materializations(dg.AssetKey(key), limit=1).records
    return records[0].storage_id if records else None
