"""The checkpoint sensor: signed when it is time, shown in Dagster, not a fact of its own, and an anchor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
import pytest

from ion.audit import verify
from ion.dagster.checkpoints import ASSET, reported_notes
from ion.errors import IonError
from ion.facts import CheckpointSigned, MaterializationObserved
from sensors.checkpoint import checkpoint

if TYPE_CHECKING:
    from conftest import Scene


def tick(scene: Scene, cursor: str | None = None) -> str | None:
    result = checkpoint(dg.build_sensor_context(instance=scene.instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult)
    return result.cursor


def shown(scene: Scene) -> list[dg.AssetMaterialization]:
    records = scene.instance.fetch_materializations(ASSET, limit=10).records
    return [record.asset_materialization for record in records if record.asset_materialization is not None]


def test_a_checkpoint_is_signed_and_shown_once(scene: Scene) -> None:
    scene.ion()
    size = scene.store.head().position
    cursor = tick(scene)
    assert cursor == str(size)
    assert tick(scene, cursor) == cursor
    assert tick(scene, None) == cursor, "a lost cursor shows nothing twice"
    (fact,) = scene.facts(CheckpointSigned)
    (event,) = shown(scene)
    assert (fact.size, event.metadata["size"].value) == (size, size)
    assert event.metadata["note"].value == fact.note
    assert f"sha256:{event.metadata['root'].value}" == fact.root
    assert (scene.home.checkpoints / "latest.note").read_text("utf-8") == fact.note

    scene.observe()
    assert [f for f in scene.facts(MaterializationObserved) if f.asset == ASSET.to_user_string()] == []
    assert tick(scene, cursor) == cursor, "showing a checkpoint is nothing to be signed"


def test_the_event_log_is_an_anchor(scene: Scene) -> None:
    scene.ion()
    tick(scene)
    notes = reported_notes(scene.instance)
    assert len(notes) == 1
    assert verify(scene.store, scene.home, notes).problems == ()
    forged = {name: note.replace(b"\n", b"\n1", 1) for name, note in notes.items()}
    assert [problem.kind for problem in verify(scene.store, scene.home, forged).problems] == ["checkpoint"]


def test_without_dagster_there_is_no_event_log_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with pytest.raises(IonError, match="no-dagster"):
        reported_notes()


def test_a_ledger_that_was_altered_fails_the_tick(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensors.checkpoint.FACTS", 1)
    scene.ion()
    tick(scene)
    (scene.home.checkpoints / "latest.note").rename(scene.home.checkpoints / "kept.note")
    with scene.store._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ion_fact SET raw = raw || ' ' WHERE position = 1")
        connection.exec_driver_sql("DELETE FROM ion_tile")
    scene.ion("other")
    with pytest.raises(IonError, match="ledger-altered"):
        tick(scene)
