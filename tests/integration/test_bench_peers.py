from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bench.databases import sqlite_bytes
from bench.plain_peers import PEERS
from bench.scene import PROJECT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.integration
@pytest.mark.parametrize("peer", ["logging", "sqlite3"])
def test_a_peer_tells_what_its_records_cost_and_weigh(peer: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.plain_peers", peer, str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    assert all(sample > 0 for sample in found["samples"])
    written = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert found["bytes"] == pytest.approx(written / PEERS[peer][1])


def test_a_file_is_as_large_as_what_is_in_it_not_as_what_was(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as database:
        database.execute("create table a (b)")
    empty = sqlite_bytes(path)
    with sqlite3.connect(path) as database:
        database.executemany("insert into a values (?)", [(bytes(1000),)] * 1000)
    assert sqlite_bytes(path) > empty + 1_000_000
    with sqlite3.connect(path) as database:
        database.execute("delete from a")
    assert sqlite_bytes(path, packed=True) == empty
