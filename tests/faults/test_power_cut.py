"""A power cut after an acknowledgement loses nothing that was acknowledged; the checker sees when it would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ion.agent import Client, ship_all, spool, teller
from ion.agent.spool import SpoolWriter
from ion.home import Home
from ion.store import open_store
from tests.faults.durable_disk import DurableDisk
from tests.faults.invariant import load, violations

if TYPE_CHECKING:
    from pathlib import Path


def after_cuts(tmp_path: Path, patch: pytest.MonkeyPatch, rounds: int = 6) -> list[str]:
    """Tell, flush, and cut the power after every acknowledgement; return what is wrong with what remains."""
    wrong, acknowledged = [], []
    root = tmp_path / "home"
    root.mkdir()
    disk = DurableDisk(root, patch)
    client = Client(Home(root), "cut")
    for number in range(rounds):
        acknowledged.append(client.emit(load(number)))
        client.flush()
        disk.cut(tmp_path / f"after-{number}")
        home = Home(tmp_path / f"after-{number}").make()
        store = open_store(home.store_url)
        ship_all(home.spool, store)
        wrong += violations(store, home, acknowledged)
        store.close()
    client.close()
    return wrong


def small_segments(patch: pytest.MonkeyPatch) -> None:
    """Begin a new segment with about every third fact."""
    patch.setattr(teller, "SpoolWriter", lambda folder, agent, **_: SpoolWriter(folder, agent, segment_bytes=900))


@pytest.mark.parametrize("small", [False, True], ids=["one segment", "many segments"])
def test_what_was_acknowledged_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, small: bool
) -> None:
    if small:
        small_segments(monkeypatch)
    assert after_cuts(tmp_path, monkeypatch) == []


def test_a_planted_acknowledgement_before_the_sync_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def early(writer: SpoolWriter) -> None:
        writer._durable, writer._synced_size = writer._frames, writer._size

    monkeypatch.setattr(SpoolWriter, "sync", early)
    assert any("acknowledged and not stored" in each for each in after_cuts(tmp_path, monkeypatch))


@pytest.mark.parametrize("small", [False, True], ids=["one segment", "many segments"])
def test_a_planted_omission_of_the_folders_sync_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, small: bool
) -> None:
    if small:
        small_segments(monkeypatch)
    real = spool.sync_folder

    def only_above(folder: Path) -> None:
        if not folder.name.startswith("cut-"):  # the agent's own folder is left out
            real(folder)

    monkeypatch.setattr(spool, "sync_folder", only_above)
    assert any("acknowledged and not stored" in each for each in after_cuts(tmp_path, monkeypatch))
