"""A backup holds the whole record; a store made from it is the same, on either database; an older one is noticed."""

from __future__ import annotations

import json
import shutil
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import zstandard
from sqlalchemy import text

from ion.agent import Client
from ion.audit import verify
from ion.cli import run
from ion.errors import IonError
from ion.facts import GapNoted
from ion.replay import replay
from ion.store import open_store
from ion.store.backup import backup
from ion.store.connection import FORMAT, engine_of
from ion.store.restoring import restore
from ion.testing import SERVING, History, written
from tests.store.complete_history import complete_history
from tests.store.test_migrations import OLDEST, old_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GAP = GapNoted(scope="s", what="x", count=1, reason="")


@pytest.fixture
def source(tmp_path: Path, store_url: str) -> History:
    return complete_history(tmp_path / "home", store_url)


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of another empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'restored.db'}"
    return str(request.getfixturevalue("postgres")())


def test_a_restored_store_is_the_same_on_either_database(
    source: History, store_url: str, target: str, tmp_path: Path
) -> None:
    deployment = source.deployment
    before = verify(deployment.store, deployment.home).as_dict()
    told = backup(store_url, tmp_path / "b.ion")
    assert (told.position, told.format) == (before["entries"], FORMAT)
    assert restore(target, tmp_path / "b.ion") == told
    store = open_store(target)
    assert verify(store, deployment.home).as_dict() == before
    assert store.projections() == deployment.store.projections()
    assert store.agents() == deployment.store.agents()
    assert list(store.entries()) == list(deployment.store.entries())
    assert replay(store, deployment.home, source.served.predictions[0], deployment.client).held
    assert store.append([written(GAP)]).accepted == 1
    with store.command() as command:
        command.record(GAP)
    assert verify(store, deployment.home).ok
    store.close()


def test_a_backup_is_for_its_owner_alone_and_replaces_nothing(source: History, store_url: str, tmp_path: Path) -> None:
    assert source.served
    path = tmp_path / "b.ion"
    backup(store_url, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    held = path.read_bytes()
    with pytest.raises(IonError) as caught:
        backup(store_url, path)
    assert caught.value.code == "file-exists"
    assert path.read_bytes() == held
    assert sorted(child.name for child in tmp_path.iterdir() if child.name.startswith(".b.ion")) == []


def test_only_an_empty_store_is_restored_into(source: History, store_url: str, tmp_path: Path) -> None:
    backup(store_url, tmp_path / "b.ion")
    head = source.deployment.store.head()
    with pytest.raises(IonError) as caught:
        restore(store_url, tmp_path / "b.ion")
    assert caught.value.code == "store-not-empty"
    assert source.deployment.store.head() == head


def lines_of(path: Path) -> list[str]:
    with path.open("rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file).read().decode().splitlines()


def packed(lines: list[str]) -> bytes:
    return zstandard.ZstdCompressor().compress("".join(f"{line}\n" for line in lines).encode())


def without_a_fact(lines: list[str]) -> list[str]:
    start = next(n for n, line in enumerate(lines) if '"table":"ion_fact"' in line)
    return lines[: start + 2] + lines[start + 3 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[: len(lines) // 2],
        lambda lines: [*lines, lines[-2]],
        lambda lines: [line.replace("store-", "other-") for line in lines],
        without_a_fact,
        lambda _: [],
        lambda _: ["[]"],
        lambda _: ['{"format":"ion-backup/2"}'],
        lambda lines: [lines[0], '{"table":"ion_else","columns":[]}', lines[-1]],
    ],
)
def test_a_damaged_backup_changes_nothing(
    damage: Callable[[list[str]], list[str]], source: History, store_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "b.ion"
    backup(store_url, path)
    assert source.served
    path.write_bytes(packed(damage(lines_of(path))))
    url = f"sqlite:///{tmp_path / 'restored.db'}"
    with pytest.raises(IonError) as caught:
        restore(url, path)
    assert caught.value.code == "bad-backup"
    store = open_store(url)
    assert store.head().position == 0
    store.close()


@pytest.mark.parametrize("content", [b"", b"not packed", b"\x28\xb5\x2f\xfd"])
def test_a_file_that_is_no_backup_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "b.ion").write_bytes(content)
    with pytest.raises(IonError) as caught:
        restore(f"sqlite:///{tmp_path / 'restored.db'}", tmp_path / "b.ion")
    assert caught.value.code == "bad-backup"


def test_a_cut_file_is_refused_wherever_it_is_cut(source: History, store_url: str, tmp_path: Path) -> None:
    backup(store_url, tmp_path / "b.ion")
    assert source.served
    whole = (tmp_path / "b.ion").read_bytes()
    url = f"sqlite:///{tmp_path / 'restored.db'}"
    for size in (*range(1, len(whole), len(whole) // 7), len(whole) - 1):
        (tmp_path / "cut.ion").write_bytes(whole[:size])
        with pytest.raises(IonError) as caught:
            restore(url, tmp_path / "cut.ion")
        assert caught.value.code == "bad-backup"
    assert restore(url, tmp_path / "b.ion").position


def test_facts_that_come_while_the_backup_is_written_are_wholly_in_it_or_not_at_all(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ion.store import backup as module

    store = open_store(store_url)
    store.append([written(GAP, seq) for seq in range(5)])
    tables = module.record_tables

    def meanwhile(connection: object) -> object:
        store.append([written(GAP, 5)])  # after the head was read, before the facts are
        return tables(connection)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "record_tables", meanwhile)
    told = backup(store_url, tmp_path / "b.ion")
    monkeypatch.undo()
    assert told.position == 5
    assert told.rows["ion_fact"] == 5
    assert restore(f"sqlite:///{tmp_path / 'restored.db'}", tmp_path / "b.ion") == told
    assert store.head().position == 6
    store.close()


def test_an_older_store_is_backed_up_as_it_is_and_migrated_when_restored(
    store_url: str, target: str, tmp_path: Path
) -> None:
    old_store(store_url)
    told = backup(store_url, tmp_path / "b.ion")
    assert told.format == OLDEST
    restore(target, tmp_path / "b.ion")
    store = open_store(target)
    store.append([written(GAP)])
    store.close()
    engine = engine_of(store_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE ion_meta SET value = 'dagster-ion/99' WHERE name = 'format'"))
    engine.dispose()
    with pytest.raises(IonError) as caught:
        backup(store_url, tmp_path / "c.ion")
    assert caught.value.code == "store-newer"


KILLED = """
import os, pathlib, signal, sys
from sqlalchemy import Engine, event
from ion.store.restoring import restore
left = int(sys.argv[3])
def die(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(Engine, "before_cursor_execute", die)
event.listen(Engine, "commit", die)
restore(sys.argv[1], pathlib.Path(sys.argv[2]))
"""


def test_killed_while_restoring_the_store_is_empty_and_can_be_restored(
    source: History, store_url: str, target: str, tmp_path: Path
) -> None:
    told = backup(store_url, tmp_path / "b.ion")
    assert source.served
    kills, at = 0, 1
    while True:
        arguments = [target, str(tmp_path / "b.ion"), str(at)]
        done = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
        store = open_store(target)
        assert store.head().position == (told.position if done.returncode == 0 else 0)
        store.close()
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        kills, at = kills + 1, at * 2 + 1
    assert kills > 4


def test_an_older_backup_is_noticed_by_the_checkpoint_of_a_later_head(
    source: History, store_url: str, tmp_path: Path
) -> None:
    from ion.audit.checkpoints import Checkpoints

    deployment = source.deployment
    backup(store_url, tmp_path / "b.ion")
    deployment.serve()
    signed = Checkpoints.open(deployment.store, deployment.home).make()
    assert signed
    shutil.rmtree(deployment.home.checkpoints)
    url = f"sqlite:///{tmp_path / 'restored.db'}"
    restore(url, tmp_path / "b.ion")
    store = open_store(url)
    assert verify(store, deployment.home).ok
    problems = verify(store, deployment.home, {"elsewhere": signed.note.to_bytes()}).problems
    assert [problem.kind for problem in problems] == ["rolled-back"]
    store.close()


def test_an_older_backup_is_noticed_by_an_agent_that_was_acknowledged_more(tmp_path: Path, store_url: str) -> None:
    history = complete_history(tmp_path / "home", store_url)
    home, store = history.deployment.home, history.deployment.store
    client = Client(home, "agent", store)
    client.emit(GAP)
    client.ship()
    backup(store_url, tmp_path / "b.ion")
    client.emit(GAP)
    client.ship()
    url = f"sqlite:///{tmp_path / 'restored.db'}"
    restore(url, tmp_path / "b.ion")
    restored = open_store(url)
    assert verify(restored, home).ok
    client.emit(GAP)
    client._receiver = restored
    client.ship()
    assert [problem.kind for problem in verify(restored, home).problems] == ["sequence-hole"]
    client.close()
    restored.close()


def test_the_commands_write_and_restore(isolated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = complete_history(isolated / ".ion")
    history.deployment.close()
    file = tmp_path / "b.ion"
    assert run(["store", "backup", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"]["ion_fact"] == told["position"]
    assert run(["store", "restore", str(file)]) == 2
    assert "store-not-empty" in capsys.readouterr().err
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (isolated / ".ion" / name).unlink(missing_ok=True)
    assert run(["store", "restore", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert run(["audit", "verify"]) == 0
    assert SERVING
