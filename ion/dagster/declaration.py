"""Declarations: what each decorator says of its asset, and the ION definitions they add up to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from ion.errors import IonError
from ion.graph import Definition
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KEY = "ion"
"""The metadata entry in which an asset carries its declaration."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """One asset's part in an ION; ``role`` is dataset, training or inference."""

    ion: str
    name: str
    role: str
    node: str
    details: Mapping[str, object]

    def metadata(self) -> dict[str, dg.MetadataValue]:
        """Return the form in which the asset carries it."""
        value = {"ion": self.ion, "name": self.name, "role": self.role, "node": self.node, **self.details}
        return {KEY: dg.MetadataValue.json(value)}


def declarations(assets: Iterable[dg.AssetsDefinition | dg.AssetSpec]) -> list[Declaration]:
    """Return the declarations of the governed assets among ``assets``, by key."""
    found: list[Declaration] = []
    for asset in assets:
        specs = [asset] if isinstance(asset, dg.AssetSpec) else list(asset.specs)
        for spec in specs:
            value = spec.metadata.get(KEY)
            data = value.data if isinstance(value, dg.JsonMetadataValue) else value
            if isinstance(data, Mapping):
                rest = {k: v for k, v in data.items() if k not in {"ion", "name", "role", "node"}}
                found.append(
                    Declaration(str(data["ion"]), str(data["name"]), str(data["role"]), str(data["node"]), rest)
                )
    return sorted(found, key=lambda item: (item.ion, item.name))


def definitions_of(found: Sequence[Declaration]) -> list[Definition]:
    """Return one definition per ION that the declarations speak of."""
    return [_definition(ion, [d for d in found if d.ion == ion]) for ion in sorted({d.ion for d in found})]


def _definition(ion: str, parts: Sequence[Declaration]) -> Definition:
    training = [part for part in parts if part.role == "training"]
    serving = [part for part in parts if part.role == "inference"]
    for part in serving:
        if part.details["model"] not in {each.name for each in training}:
            known = ", ".join(each.name for each in training) or "none"
            raise IonError(
                "no-training",
                f"{ion}/{part.name} serves {part.details['model']!r}, which no training asset of {ion} is called",
                f"training assets: {known}",
            )
    nodes: list[dict[str, object]] = []
    edges: list[dict[str, str]] = []
    for name in sorted({part.node for part in parts} - {part.node for part in serving}):
        kind = "training" if name in {part.node for part in training} else "custom"
        nodes.append({"name": name, "kind": kind, "components": [p.name for p in parts if p.node == name]})
    if "data" in {part.node for part in parts}:
        readers = [part for part in [*training, *serving] if part.details.get("mode") != "streaming"]
        edges += [{"from": "data", "to": part.node, "message": "data"} for part in readers]
    for part in training:
        judge = str(part.details["approval"])
        details = {key: part.details[key] for key in ("policy_set", "deployment")}
        nodes.append({"name": judge, "kind": "policy", **details})
        edges.append({"from": part.node, "to": judge, "message": "model"})
        edges += [
            {"from": judge, "to": server.node, "message": "promotion"}
            for server in serving
            if server.details.get("model") == part.name
        ]
    for part in serving:
        declared = ("mode", "on_lease_end", "on_revocation", "subject")
        details = {key: part.details[key] for key in declared if key in part.details}
        nodes.append({"name": part.node, "kind": "inference", "components": [part.name], **details})
    datasets = [
        {
            "name": part.name,
            "classification": part.details["classification"],
            "checks": part.details["checks"],
        }
        for part in parts
        if part.role == "dataset"
    ]
    return Definition.from_json({"ion": ion, "nodes": nodes, "edges": edges, "datasets": datasets})
