"""The search box: a digest (or its beginning), a prediction id, a run, or the name of an ION."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from ion.errors import IonError
from ion.facts import DatasetRecorded, DecisionMade, EpochOpened, IonDefined, ModelRecorded
from ion.ids import PredictionId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ion.store import GovernanceStore

_LEAST = 6
"""How many characters a beginning needs."""


@dataclass(frozen=True, slots=True)
class Match:
    """One thing found: what it is, what it is called, and its place on the page."""

    kind: str
    label: str
    place: str


def find_page(store: GovernanceStore, asked: str) -> tuple[str, list[Match]]:
    """Return the place of the one thing asked for, or an empty place and everything that fits."""
    try:
        return f"/predictions/{PredictionId.parse(asked)}", []
    except IonError:
        pass
    matches = list(dict.fromkeys(_matches(store, asked.lower()))) if asked else []
    return (matches[0].place, []) if len(matches) == 1 else ("", matches)


def _matches(store: GovernanceStore, asked: str) -> Iterator[Match]:
    for ion in sorted({record.fact.ion for record in store.find(IonDefined)}):
        if ion == asked:
            yield Match("ION", ion, f"/ions/{quote(ion)}")
    for epoch in store.find(EpochOpened, asked):
        yield Match("serving epoch", epoch.fact.epoch, f"/predictions/{epoch.fact.epoch}:0")
    if len(asked.removeprefix("sha256:")) >= _LEAST:
        yield from _digests(store, asked)


def _digests(store: GovernanceStore, asked: str) -> Iterator[Match]:
    models = [record.fact for record in store.find(ModelRecorded, newest_first=True)]
    datasets = [record.fact for record in store.find(DatasetRecorded, newest_first=True)]
    decisions = [record.fact for record in store.find(DecisionMade, newest_first=True)]
    for model in models:
        if _begins(model.model, asked) or model.run == asked:
            yield Match("model", f"{model.name} {model.model}", f"/models/{model.model}")
    for dataset in datasets:
        if _begins(dataset.digest, asked):
            yield Match("dataset", dataset.digest, f"/datasets/{dataset.digest}")
    for decision in decisions:
        if decision.decision == asked or _begins(decision.envelope_digest, asked):
            yield Match("decision", f"{decision.verdict} {decision.decision}", f"/models/{decision.model}")


def _begins(digest: str, asked: str) -> bool:
    return digest.removeprefix("sha256:").startswith(asked.removeprefix("sha256:"))
