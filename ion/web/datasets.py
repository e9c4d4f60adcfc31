"""What the pages say of one dataset version: who wrote it, who read it, what was found, what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.facts import CheckEvaluated, DatasetRecorded, ModelRecorded, NodeRunStarted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.records import Recorded
    from ion.store import GovernanceStore


@dataclass(frozen=True, slots=True)
class DatasetRole:
    """One node run that wrote or read the version."""

    fact: DatasetRecorded
    us: int
    node: str
    engine_run: str


@dataclass(frozen=True, slots=True)
class DatasetView:
    """One dataset version; ``fact`` is how its writer described it. No row of it is shown anywhere."""

    digest: str
    fact: DatasetRecorded
    writers: Sequence[DatasetRole]
    readers: Sequence[DatasetRole]
    checks: Sequence[Recorded[CheckEvaluated]]
    models: Sequence[ModelRecorded]


def dataset_view(store: GovernanceStore, digest: str) -> DatasetView:
    """Return what is known of a dataset version.

    Raises:
        IonError: ``unknown-dataset``.
    """
    records = [record for record in store.find(DatasetRecorded, digest) if record.fact.digest == digest]
    if not records:
        raise IonError("unknown-dataset", f"no fact speaks of a dataset {digest}", "a model's page lists its datasets")
    roles = [_role(store, record) for record in records]
    writers = [role for role in roles if role.fact.role != "input"]
    return DatasetView(
        digest,
        (writers or roles)[0].fact,
        writers,
        [role for role in roles if role.fact.role == "input"],
        store.find(CheckEvaluated, digest, newest_first=True),
        [record.fact for record in store.find(ModelRecorded, digest, newest_first=True)],
    )


def _role(store: GovernanceStore, record: Recorded[DatasetRecorded]) -> DatasetRole:
    started = store.latest(NodeRunStarted, record.fact.run)
    if started is None:
        return DatasetRole(record.fact, record.us, "", "")
    run = started.fact.engine_run if started.fact.engine == "dagster" else ""
    return DatasetRole(record.fact, record.us, started.fact.node, run)
