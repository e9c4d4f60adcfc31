"""Checkpoints in Dagster's event log: an anchor beside the store, and a place where people see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from ion.errors import IonError

if TYPE_CHECKING:
    from ion.ledger import SignedCheckpoint

ASSET = dg.AssetKey(["governance", "checkpoint"])
TAG = "ion/checkpoint"
_TAG_LENGTH = 40
"""Hexadecimal digits; Dagster allows 63."""
_LOOK_BACK = 1000

checkpoint_spec = dg.AssetSpec(
    ASSET,
    description="Signed heads of the ledger of facts. What is recorded later must extend them: `ion audit verify`.",
    group_name="governance",
    kinds={"ledger"},
)
"""The asset that the checkpoint sensor reports on."""


def report_checkpoint(instance: dg.DagsterInstance, signed: SignedCheckpoint) -> bool:
    """Report a checkpoint as a runless materialization, unless its root was the last one reported."""
    root = signed.checkpoint.root.hex()
    mark = root[:_TAG_LENGTH]
    newest = instance.fetch_materializations(ASSET, limit=1).records
    if newest and (event := newest[0].asset_materialization) is not None and (event.tags or {}).get(TAG) == mark:
        return False
    note = signed.note.to_bytes().decode()
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=ASSET,
            metadata={
                "size": signed.size,
                "root": root,
                "log": signed.checkpoint.origin,
                "note": dg.MetadataValue.text(note),
            },
            tags={TAG: mark},
        )
    )
    return True


def reported_notes(instance: dg.DagsterInstance | None = None) -> dict[str, bytes]:
    """Return the newest notes in the event log, by where they stand; by default in that of ``DAGSTER_HOME``.

    Raises:
        IonError: ``no-dagster``.
    """
    try:
        log = instance or dg.DagsterInstance.get()
    except Exception as error:
        hint = "set DAGSTER_HOME, or run the command where `ion up` runs"
        raise IonError("no-dagster", "there is no Dagster instance to ask for checkpoints", hint) from error
    notes: dict[str, bytes] = {}
    for record in log.fetch_materializations(ASSET, limit=_LOOK_BACK).records:
        event = record.asset_materialization
        value = event.metadata.get("note") if event is not None else None
        if isinstance(value, dg.TextMetadataValue) and value.text is not None:
            notes[f"Dagster event {record.storage_id}"] = value.text.encode()
    return notes
