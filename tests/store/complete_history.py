"""A history with nothing missing, and stores that hold all of it but one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.evidence import ArtifactStore
from ion.facts import GOVERNANCE_ONLY, ComponentRan, InputsCaptured, RowsQuarantined, StatisticsRecorded
from ion.points import write_block, write_column
from ion.records import read_record
from ion.store import open_store
from ion.testing import Deployment, History

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.facts import Fact
    from ion.store import GovernanceStore

CODE = {"git": True, "dirty": False, "commit": "c0ffee" * 6, "source_digest": digest_bytes(b"source")}


def complete_history(root: Path, store_url: str = "") -> History:
    """Return a deployment in which one model was trained, approved and served, and a bad one rejected."""
    deployment = Deployment.make(root, store_url)
    start = deployment.client.node_run
    deployment.client.node_run = lambda node, **told: start(node, **{"code": CODE, **told})  # type: ignore[method-assign]
    trained = deployment.train()
    for component in ("patients", "features"):
        deployment.client.emit(ComponentRan(run=trained.run, component=component, component_kind="asset"))
    (approved,) = deployment.govern()
    served = deployment.serve()
    bad = deployment.train(weight=-1.0)
    (rejected,) = deployment.govern()
    deployment.client.ship()
    return History(deployment, trained, approved, served, bad, rejected)


def rewritten(history: History, url: str, change: Callable[[Fact], Fact | None]) -> GovernanceStore:
    """Return a new store with every fact as ``change`` returns it; None leaves it out.

    Authors, ids and order stay. Capture keys and blocks are the same.
    """
    source, target = history.deployment.store, open_store(url)
    for _, raw, _ in source.entries():
        record = read_record(raw)
        fact = change(record.fact)
        if fact is None:
            continue
        if isinstance(fact, GOVERNANCE_ONLY) or record.agent.startswith("store-"):
            with target.command() as command:
                command.record(fact, record.id)
            continue
        blocks = {}
        if isinstance(fact, InputsCaptured | RowsQuarantined):
            blocks = {fact.block: source.block(fact.block) or b""}
        elif isinstance(fact, StatisticsRecorded):
            told = [source.points(fact.run, str(row["name"]), row["first"], row["last"]) for row in fact.series]  # type: ignore[arg-type]
            blocks = {fact.digest: write_block([write_column(points) for points in told])}
        if fact is record.fact:
            target.append([record], blocks)
        else:
            from ion.records import write_record

            changed = write_record(fact, fact_id=record.id, agent=record.agent, seq=record.seq, stamp=record.stamp)
            target.append([changed], blocks)
    key = source.capture_key(history.served.capture_key)
    if key is not None:
        target.keep_capture_keys([key])
    return target


def artifact(history: History, digest: str) -> Path:
    """Return the file that holds an artifact."""
    return ArtifactStore(history.deployment.home.artifacts).path(digest)
