"""Streaming predictions shown in Dagster: one runless materialization per window, never per record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from ion.facts import EpochOpened, ModelRecorded, PredictionsCommitted, SignatureRecorded, SignaturesRecorded
from ion.home import web_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.records import Recorded
    from ion.store import GovernanceStore

_SHOWN = 12


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
                break  # its epoch is still in some spool; look again
            serving[epoch] = opened.fact
        after = record.position
        if not record.fact.file.startswith("artifact:"):  # a batch run reports itself
            by_node[serving[epoch].node].append(record)
    for node, records in by_node.items():
        _report(store, instance, node, records, serving)
    return after


def _report(
    store: GovernanceStore,
    instance: dg.DagsterInstance,
    node: str,
    records: list[Recorded[PredictionsCommitted]],
    serving: dict[str, EpochOpened],
) -> None:
    facts = [record.fact for record in records]
    epochs = list(dict.fromkeys(fact.epoch for fact in facts))
    newest = serving[epochs[-1]]
    model = str(newest.models["champion"])
    metadata: dict[str, str | int | dg.MetadataValue] = {
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
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=node.split("/"),
            metadata=metadata,
            tags={"ion/epoch": epochs[-1], "ion/window": str(records[-1].position)},
        )
    )


def _histograms(store: GovernanceStore, epoch: EpochOpened, name: str) -> str:
    """Return small bar rows that compare what the model was trained on with what it sees now."""
    made = store.latest(ModelRecorded, str(epoch.models["champion"]))
    if made is None:
        return ""
    trained = {r.fact.name: r.fact for r in store.find(SignatureRecorded, made.fact.run) if r.fact.role == "training"}
    seen: dict[str, list[int]] = {}
    for record in store.find(SignaturesRecorded, name):
        for feature, found in record.fact.inputs.items():
            if isinstance(found, Mapping) and feature in trained and found["edges"] == trained[feature].edges:
                counts = seen.get(feature, [0] * len(found["counts"]))
                seen[feature] = [a + b for a, b in zip(counts, found["counts"], strict=True)]
    if not seen:
        return ""
    shown = list(seen.items())[:_SHOWN]
    rows = [f"| {name} | `{_bars(trained[name].counts)}` | `{_bars(counts)}` |" for name, counts in shown]
    return "\n".join(["| feature | training | inference |", "|---|---|---|", *rows])


def _bars(counts: Sequence[int]) -> str:
    top = max(counts, default=0) or 1
    return "".join("▁▂▃▄▅▆▇█"[min(7, round(7 * count / top))] for count in counts)
