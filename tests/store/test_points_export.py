"""Exported points are read by other tools, and verify against the facts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ion.agent.statistics import statistics_fact
from ion.cli import run
from ion.clock import now_us
from ion.errors import IonError
from ion.interop import exported_points
from ion.interop.exported_points import MANIFEST, check_points, export_points
from ion.points import Points
from ion.store import open_store
from ion.store.choosing import Asked
from ion.testing import written
from tests.store.complete_history import complete_history

if TYPE_CHECKING:
    from pathlib import Path

    from ion.store import GovernanceStore

SPECIAL = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 3.0]


@pytest.fixture
def store(store_url: str) -> GovernanceStore:
    """A store with two runs, one of them packed."""
    found = open_store(store_url)
    for seq in range(4):
        times = np.arange(5, dtype=np.int64) * 1_000_000 + 1_700_000_000_000_000 + seq
        columns = {
            "loss/ü": Points(times, np.array(SPECIAL) * (1 - seq / 4)),
            "auc": Points(times[:1], np.array([0.5])),
        }
        fact, block = statistics_fact(f"run {seq % 2}", "", columns)
        found.append([written(fact, seq)], {fact.digest: block})
    assert list(found.statistics.compact_all())
    return found


def test_every_bit_is_in_the_files_and_every_leaf_verifies(
    store: GovernanceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported_points, "_GROUP", 4)
    url = str(tmp_path / "cold")
    done = export_points(store, url)
    assert (done.files, done.leaves, done.points) == (2, 4, 24)
    assert check_points(store, url) == done
    table = pq.read_table(url)
    assert table.schema.names == ["run", "series", "epoch", "leaf", "time", "value"]
    rows = [row for row in table.to_pylist() if row["leaf"] == 1 and row["series"] == "loss/ü"]
    assert [row["value"].hex() for row in rows] == [value.hex() for value in SPECIAL]
    assert rows[0]["time"].isoformat() == "2023-11-14T22:13:20+00:00"
    store.close()


def test_after_retention_the_export_still_verifies(store: GovernanceStore, tmp_path: Path) -> None:
    url = str(tmp_path / "cold")
    done = export_points(store, url)
    assert store.retention.apply(Asked("statistics", now_us() + 1, 0, "ada")).bodies
    assert len(store.points("run 0", "auc")) == 0
    assert check_points(store, url) == done
    store.close()


def changed(path: Path, *, drop: int = 0) -> None:
    table = pq.read_table(path)
    values = table["value"].to_numpy().copy()
    values[0] = np.nextafter(values[0], 9)
    pq.write_table(table.set_column(5, "value", pa.array(values)).slice(drop), path)


def test_a_changed_value_a_lost_row_and_a_lost_file_are_told(store: GovernanceStore, tmp_path: Path) -> None:
    export_points(store, str(tmp_path))
    first, second = sorted(tmp_path.glob("*.parquet"))
    whole = first.read_bytes()
    changed(first)
    assert len(check_points(store, str(tmp_path)).problems) == 1
    first.write_bytes(whole)
    pq.write_table(pq.read_table(first).slice(1), first)
    assert len(check_points(store, str(tmp_path)).problems) == 1
    pq.write_table(pq.read_table(first).slice(99), first)
    assert "lacks 2 leaves" in check_points(store, str(tmp_path)).problems[0]
    first.write_bytes(whole[:100])
    second.unlink()
    assert ["cannot be read" in problem for problem in check_points(store, str(tmp_path)).problems] == [True, True]
    store.close()


def test_an_export_is_not_written_over_and_one_of_another_ledger_is_refused(
    store: GovernanceStore, tmp_path: Path
) -> None:
    url = str(tmp_path / "cold")
    export_points(store, url)
    with pytest.raises(IonError) as caught:
        export_points(store, url)
    assert caught.value.code == "file-exists"
    other = open_store(f"sqlite:///{tmp_path / 'other.db'}")
    for place in (url, str(tmp_path / "nothing")):
        with pytest.raises(IonError) as caught:
            check_points(other, place)
        assert caught.value.code == "bad-export"
    manifest = tmp_path / "cold" / MANIFEST
    manifest.write_text(manifest.read_text()[:40])
    with pytest.raises(IonError) as caught:
        check_points(store, url)
    assert caught.value.code == "bad-export"
    other.close()
    store.close()


def test_any_address_that_fsspec_knows_takes_an_export(store: GovernanceStore, tmp_path: Path) -> None:
    done = export_points(store, f"memory://{tmp_path.name}/points")
    assert check_points(store, f"memory://{tmp_path.name}/points") == done
    with pytest.raises(IonError) as caught:
        export_points(store, "nowhere://x")
    assert caught.value.code == "cannot-write"
    store.close()


def test_the_commands(isolated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    complete_history(isolated / ".ion").deployment.close()
    assert run(["store", "export-points", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == 3
    assert run(["store", "check-points", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    changed(next(tmp_path.glob("*.parquet")))
    assert run(["store", "check-points", str(tmp_path)]) == 1
    assert "not those told" in capsys.readouterr().out
