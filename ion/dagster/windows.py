"""Streaming predictions shown in Dagster: one runless materialization per window, never per record."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import dagster as dg

from ion.facts import EpochOpened, PredictionsCommitted, SignatureRecorded
from ion.home import web_url

if TYPE_CHECKING:
    from ion.facts import Recorded
    from ion.store import GovernanceStore


def report_windows(store: GovernanceStore, instance: dg.DagsterInstance, after: int) -> int:
    """Report the predictions committed after position ``after``, one event per streaming node.

    The caller's cursor makes the window; returns the position reached. A crash before the cursor is
    kept repeats a window in Dagster, not in the facts.
    """
    by_node: defaultdict[str, list[Recorded[PredictionsCommitted]]] = defaultdict(list)
    serving: dict[str, EpochOpened] = {}
    for record in store.find(PredictionsCommitted, after=after):
        epoch = record.fact.epoch
        if epoch not in serving:
            opened = store.latest(EpochOpened, epoch)
            if opened is None:
                return after  # its epoch is still in some spool; look again
            serving[epoch] = opened.fact
        if record.fact.file.startswith("artifact:"):
            after = record.position  # a batch run reports itself
            continue
        by_node[serving[epoch].node].append(record)
        after = record.position
    for node, records in by_node.items():
        _report(store, instance, node, records, serving)
    return after


def _report(
    store: GovernanceStore, instance: dg.DagsterInstance, node: str,
    records: list[Recorded[PredictionsCommitted]], serving: dict[str, EpochOpened],
) -> None:
    facts = [record.fact for record in records]
    epochs = list(dict.fromkeys(fact.epoch for fact in facts))
    newest = serving[epochs[-1]]
    model = str(newest.models["champion"])
    metadata: dict[str, object] = {
        "dagster/row_count": sum(fact.rows for fact in facts),
        "epochs": len(epochs),
        "newest epoch": epochs[-1],
        "newest prediction": f"{facts[-1].epoch}:{facts[-1].last}",
        "model digest": model,
        "files": len(facts),
        "governance page": dg.MetadataValue.url(f"{web_url()}/models/{model}"),
    }
    plot = _histograms(store, newest, epochs[-1])
    if plot:
        metadata["inputs: training and inference"] = dg.MetadataValue.md(plot)
    event = dg.AssetMaterialization(
        asset_key=node.split("/"), metadata=metadata,
        tags={"ion/epoch": epochs[-1], "ion/window": str(records[-1].position)},
    )
    instance.report_runless_asset_event(event)


def _histograms(store: GovernanceStore, epoch: EpochOpened, name: str) -> str:
    """Return small bar rows that compare what the model was trained on with what it sees now."""
    from ion.facts import ModelRecorded

    made = store.latest(ModelRecorded, str(epoch.models["champion"]))
    if made is None:
        return ""
    trained = {r.fact.name: r.fact for r in store.find(SignatureRecorded, made.fact.run) if r.fact.role == "training"}
    seen: dict[str, list[int]] = {}
    for record in store.find(SignatureRecorded, name):
        if record.fact.role == "inference" and record.fact.name in trained:
            counts = seen.setdefault(record.fact.name, [0] * len(record.fact.counts))
            seen[record.fact.name] = [a + b for a, b in zip(counts, record.fact.counts, strict=True)]
    rows = [f"| {feature} | `{_bars(trained[feature].counts)}` | `{_bars(counts)}` |" for feature, counts in seen.items()]
    return "\n".join(["| feature | training | inference |", "|---|---|---|", *rows[:12]]) if rows else ""


def _bars(counts: object) -> str:
    values = list(counts) if isinstance(counts, list | tuple) else []
    top = max(values, default=0) or 1
    return "".join("▁▂▃▄▅▆▇█"[min(7, round(7 * value / top))] for value in values)
