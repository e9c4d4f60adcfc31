"""The bill of materials, value by value, as docs/spec/mlbom.md has it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

from ion.canonical import canonical_bytes, digest_bytes
from ion.evidence import DecisionStatement, EvidenceReference, Manifest
from ion.evidence.mlbom import Ingredients, mlbom
from ion.evidence.provenance import Dependency, ProvenanceStatement
from ion.facts import DatasetRecorded, ModelRecorded

D2, D3 = "sha256:" + "2" * 64, "sha256:" + "3" * 64
FILES = {"model.json": b"{}", "a/b": b"b"}
MANIFEST = Manifest.from_files(FILES)
T = 1_800_000_000_000_001
NODE = "patient_tests/model"

MODEL = ModelRecorded(
    run="run-1",
    node=NODE,
    model=MANIFEST.digest,
    name="patient_tests/recommender",
    format="ion-linear/1",
    size=3,
    features=["radius"],
    label="malignant",
    input_schema=[{"name": "radius", "type": "double"}],
    output_schema=[{"name": "score", "type": "double"}],
    metrics={"roc_auc": 0.99, "rows": 569, "checked": True, "note": "text", "f1": 1e-7},
    datasets={},
)
DATASET = DatasetRecorded(
    run="run-1",
    name="patient_tests/features",
    role="output",
    digest=D2,
    uri="artifact:" + D3,
    rows=569,
    schema=[{"name": "radius", "type": "double"}, "no column"],  # type: ignore[list-item]
    classification="pii",
)
PROVENANCE = ProvenanceStatement(
    node=NODE,
    model=MANIFEST.digest,
    run="run-1",
    started=1,
    finished=2,
    attested=T,
    version="0.1.0",
    dependencies=(
        Dependency("patient_tests/features", f"artifact:{D3}", "ionDatasetV1", "2" * 64),
        Dependency("heldout", "ion:dataset/heldout", "ionDatasetV1", "3" * 64),
        Dependency("source", "git:x", "gitCommit", "c" * 40),
    ),
    engine_run="dagster-1",
)
DECISION = DecisionStatement(
    ion="patient_tests",
    node="predictions",
    model=MANIFEST.digest,
    candidate_run="run-1",
    verdict="approve",
    reasons=(),
    policy_uri="policy:clinical_low_risk",
    policy_digest=D3,
    evidence=(EvidenceReference("ion:model", MANIFEST.digest),),
    decided=T,
    expires=T + 10,
    verifier_version="0.1.0",
)
OF = Ingredients(MANIFEST, MODEL, {D2: DATASET}, PROVENANCE, DECISION, [("attestation", "decision.dsse.json", D2)])


def written(of: Ingredients = OF) -> dict[str, Any]:
    data = mlbom(of)
    value = json.loads(data)
    assert canonical_bytes(value) == data
    assert isinstance(value, dict)
    return value


def test_the_bill_is_the_documented_one() -> None:
    features, heldout = f"dataset:patient_tests/features@{D2}", f"dataset:heldout@{D3}"
    hashes = {path: [{"alg": "SHA-256", "content": digest_bytes(data)[7:]}] for path, data in FILES.items()}
    serial = uuid5(UUID("6b1f5c52-7a0f-5b3e-9b3c-2f6a5d0f4c11"), MANIFEST.digest + "run-1")
    assert written() == {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": "2027-01-15T08:00:00.000001Z",
            "tools": {"components": [{"type": "application", "name": "dagster-ion", "version": "0.1.0"}]},
            "component": {
                "type": "machine-learning-model",
                "bom-ref": "model",
                "name": "patient_tests/recommender",
                "version": MANIFEST.digest,
                "hashes": [{"alg": "SHA-256", "content": MANIFEST.digest[7:]}],
                "modelCard": {
                    "modelParameters": {
                        "approach": {"type": "supervised"},
                        "modelArchitecture": "ion-linear/1",
                        "datasets": [{"ref": features}, {"ref": heldout}],
                        "inputs": [{"format": "radius: double"}],
                        "outputs": [{"format": "score: double"}],
                    },
                    "quantitativeAnalysis": {
                        "performanceMetrics": [
                            {"type": "f1", "value": "1e-7", "slice": "as the training reported"},
                            {"type": "roc_auc", "value": "0.99", "slice": "as the training reported"},
                            {"type": "rows", "value": "569", "slice": "as the training reported"},
                        ]
                    },
                },
                "externalReferences": [
                    {
                        "type": "attestation",
                        "url": "decision.dsse.json",
                        "hashes": [{"alg": "SHA-256", "content": "2" * 64}],
                    }
                ],
                "properties": [
                    {"name": "ion:approved", "value": "by policies alone"},
                    {"name": "ion:candidate-run", "value": "run-1"},
                    {"name": "ion:engine-run", "value": "dagster-1"},
                    {"name": "ion:format", "value": "ion-linear/1"},
                    {"name": "ion:label", "value": "malignant"},
                    {"name": "ion:node", "value": "patient_tests/predictions"},
                    {"name": "ion:policy", "value": "policy:clinical_low_risk"},
                    {"name": "ion:policy-digest", "value": D3},
                    {"name": "ion:trained-by", "value": NODE},
                ],
            },
        },
        "components": [
            {"type": "file", "bom-ref": "file:a/b", "name": "model/a/b", "hashes": hashes["a/b"]},
            {"type": "file", "bom-ref": "file:model.json", "name": "model/model.json", "hashes": hashes["model.json"]},
            {
                "type": "data",
                "bom-ref": features,
                "name": "patient_tests/features",
                "version": D2,
                "data": [
                    {
                        "type": "dataset",
                        "name": "patient_tests/features",
                        "contents": {
                            "properties": [
                                {"name": "radius", "value": "double"},
                                {"name": "ion:rows", "value": "569"},
                            ]
                        },
                        "classification": "pii",
                    }
                ],
            },
            {
                "type": "data",
                "bom-ref": heldout,
                "name": "heldout",
                "version": D3,
                "data": [{"type": "dataset", "name": "heldout"}],
            },
        ],
        "dependencies": [{"ref": "model", "dependsOn": sorted(["file:a/b", "file:model.json", features, heldout])}],
    }


def test_what_is_not_known_is_left_out() -> None:
    bare = replace(
        OF,
        model=replace(MODEL, label=""),
        datasets={D2: replace(DATASET, classification="")},
        decision=replace(DECISION, automatic=False),
        provenance=replace(PROVENANCE, engine_run=""),
    )
    bill = written(bare)
    component = bill["metadata"]["component"]
    assert "approach" not in component["modelCard"]["modelParameters"]
    assert "classification" not in bill["components"][2]["data"][0]
    properties = {each["name"]: each["value"] for each in component["properties"]}
    assert properties["ion:approved"] == "by people"
    assert {"ion:label", "ion:engine-run"} & set(properties) == set()


def test_columns_without_a_name_or_a_type_are_shown_as_far_as_they_go() -> None:
    odd = replace(OF, model=replace(MODEL, input_schema=[{"name": "a"}, {"type": "b"}, {}]))
    inputs = written(odd)["metadata"]["component"]["modelCard"]["modelParameters"]["inputs"]
    assert inputs == [{"format": "a: "}, {"format": ": b"}, {"format": ": "}]
