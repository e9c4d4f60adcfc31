"""What a node run reads and makes: datasets, the checks on them, models; their bytes are kept by digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.agent.dataset import (
    DatasetVersion,
    checked_classification,
    dataset_digest,
    dataset_parquet,
    dataset_schema,
    dataset_table,
)
from ion.agent.signatures import Signatures
from ion.evidence.artifacts import ArtifactStore
from ion.facts import CheckEvaluated, DatasetRecorded, ModelRecorded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from ion.agent.model import Model


class Holdings(Signatures):
    """Datasets and models of a run, named by the digests of their content."""

    def dataset(
        self, name: str, frame: pd.DataFrame, *, role: str, classification: str, component: str = ""
    ) -> DatasetVersion:
        """Record the version of a dataset this run read or wrote, and keep its rows by digest.

        ``role`` is ``input``, ``output`` or ``heldout``; ``name`` is ``ion/dataset``.
        """
        table = dataset_table(frame)
        uri = "artifact:" + ArtifactStore(self.client.home.artifacts).put(dataset_parquet(table))
        version = DatasetVersion(
            name,
            dataset_digest(table),
            uri,
            len(frame),
            dataset_schema(table),
            checked_classification(classification),
        )
        self.use_dataset(version, role=role, component=component)
        return version

    def use_dataset(self, version: DatasetVersion, *, role: str, component: str = "") -> None:
        """Record that this run used an already known dataset version."""
        if role == "input":
            self.inputs[version.name] = version.digest
        self.emit(
            DatasetRecorded(
                run=self.id,
                name=version.name,
                role=role,
                digest=version.digest,
                uri=version.uri,
                rows=version.rows,
                schema=list(version.schema),
                classification=version.classification,
                component=component,
            )
        )

    def check(
        self,
        asset: str,
        name: str,
        dataset: str,
        *,
        passed: bool,
        severity: str,
        results: Sequence[Mapping[str, object]] = (),
        engine_run: str = "",
    ) -> None:
        """Record a data quality check on the dataset with digest ``dataset``."""
        self.emit(
            CheckEvaluated(
                run=self.id,
                asset=asset,
                name=name,
                dataset=dataset,
                passed=passed,
                severity=severity,
                results=[dict(row) for row in results],
                engine_run=engine_run,
            )
        )

    def model(self, name: str, model: Model, datasets: Mapping[str, str] | None = None) -> str:
        """Keep a model's bytes by digest, record it as a candidate, return the model digest.

        ``datasets`` maps names to digests of what was read to make it.
        """
        manifest = ArtifactStore(self.client.home.artifacts).put_model(model.files)
        for feature, histogram in model.signature.items():
            self.signature(feature, histogram, role="training")
        used = {role: version.digest for role, version in model.datasets.items()}
        self.emit(
            ModelRecorded(
                run=self.id,
                node=self.node,
                model=manifest.digest,
                name=name,
                format=model.format,
                size=sum(len(data) for data in model.files.values()),
                features=list(model.features),
                label=model.label,
                input_schema=[dict(row) for row in model.input_schema],
                output_schema=[dict(row) for row in model.output_schema],
                metrics=dict(model.metrics),
                datasets={**(datasets or {}), **used, "heldout": model.heldout.digest},
                links=dict(model.links),
            )
        )
        return manifest.digest
