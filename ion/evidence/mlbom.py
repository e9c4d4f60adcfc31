"""A model version as a CycloneDX 1.6 bill of materials with a model card. docs/spec/mlbom.md.

It says nothing of its own: every value follows from the manifest, proven facts and signed statements, so
whoever has these writes the same bytes. Written as JSON values: cyclonedx-python-lib has no model card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from ion.canonical import canonical_bytes
from ion.clock import rfc3339
from ion.evidence.provenance import DATASET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.evidence.decisions import DecisionStatement
    from ion.evidence.manifest import Manifest
    from ion.evidence.provenance import ProvenanceStatement
    from ion.facts import DatasetRecorded, ModelRecorded

MAX_MLBOM = 4 << 20
_NAMESPACE = UUID("6b1f5c52-7a0f-5b3e-9b3c-2f6a5d0f4c11")
_MODEL = "model"


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a bill of materials is written from.

    Args:
        manifest: the model's files.
        model: the fact that the candidate was made.
        datasets: dataset digest → the fact that the version was written.
        provenance: names the datasets.
        decision: approved the candidate.
        documents: (CycloneDX reference type, path in the bundle, digest) of what attests all this.
    """

    manifest: Manifest
    model: ModelRecorded
    datasets: Mapping[str, DatasetRecorded]
    provenance: ProvenanceStatement
    decision: DecisionStatement
    documents: Sequence[tuple[str, str, str]]


def mlbom(of: Ingredients) -> bytes:
    """Return the bill of materials in RFC 8785 form.

    Raises:
        IonError: ``not-canonical``.
    """
    used = [each for each in of.provenance.dependencies if each.algorithm == DATASET]
    data = [_dataset(each.name, f"sha256:{each.digest}", of.datasets.get(f"sha256:{each.digest}")) for each in used]
    files = [_file(entry.path, entry.sha256) for entry in of.manifest.entries]
    references = [str(each["bom-ref"]) for each in data]
    return canonical_bytes(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid5(_NAMESPACE, of.decision.model + of.decision.candidate_run)}",
            "version": 1,
            "metadata": {
                "timestamp": rfc3339(of.decision.decided),
                "tools": {
                    "components": [
                        {"type": "application", "name": "dagster-ion", "version": of.decision.verifier_version}
                    ]
                },
                "component": _model(of, references),
            },
            "components": [*files, *data],
            "dependencies": [{"ref": _MODEL, "dependsOn": sorted({*references, *(str(f["bom-ref"]) for f in files)})}],
        }
    )


def _model(of: Ingredients, datasets: Sequence[str]) -> dict[str, object]:
    model, decision = of.model, of.decision
    properties = {
        "ion:approved": "by policies alone" if decision.automatic else "by people",
        "ion:candidate-run": model.run,
        "ion:engine-run": of.provenance.engine_run,
        "ion:format": model.format,
        "ion:label": model.label,
        "ion:node": f"{decision.ion}/{decision.node}",
        "ion:policy": decision.policy_uri,
        "ion:policy-digest": decision.policy_digest,
        "ion:trained-by": model.node,
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": model.name,
        "version": model.model,
        "hashes": [_hash(model.model)],
        "modelCard": {
            "modelParameters": {
                **({"approach": {"type": "supervised"}} if model.label else {}),
                "modelArchitecture": model.format,
                "datasets": [{"ref": each} for each in dict.fromkeys(datasets)],
                "inputs": [{"format": f"{name}: {kind}"} for name, kind in _columns(model.input_schema)],
                "outputs": [{"format": f"{name}: {kind}"} for name, kind in _columns(model.output_schema)],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    {"type": name, "value": canonical_bytes(value).decode(), "slice": "as the training reported"}
                    for name, value in sorted(model.metrics.items())
                    if isinstance(value, int | float) and not isinstance(value, bool)
                ]
            },
        },
        "externalReferences": [
            {"type": kind, "url": path, "hashes": [_hash(digest)]} for kind, path, digest in of.documents
        ],
        "properties": [{"name": name, "value": value} for name, value in properties.items() if value],
    }


def _dataset(name: str, digest: str, recorded: DatasetRecorded | None) -> dict[str, object]:
    contents: dict[str, object] = {"type": "dataset", "name": name}
    if recorded is not None:
        columns = [{"name": name, "value": kind} for name, kind in _columns(recorded.schema)]
        contents["contents"] = {"properties": [*columns, {"name": "ion:rows", "value": str(recorded.rows)}]}
        if recorded.classification:
            contents["classification"] = recorded.classification
    return {
        "type": "data",
        "bom-ref": f"dataset:{name}@{digest}",
        "name": name,
        "version": digest,
        "data": [contents],
    }


def _file(path: str, digest: str) -> dict[str, object]:
    return {"type": "file", "bom-ref": f"file:{path}", "name": f"{_MODEL}/{path}", "hashes": [_hash(digest)]}


def _columns(schema: Sequence[object]) -> list[tuple[str, str]]:
    """Return name and type of each column; what a program told in another form is left out."""
    rows = [column for column in schema if isinstance(column, Mapping)]
    return [(str(column.get("name", "")), str(column.get("type", ""))) for column in rows]


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest.removeprefix("sha256:")}
