"""A disk that is full, read-only or failing, and a process without descriptors: nothing acknowledged is lost."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ion.agent import Client, ship_all
from ion.errors import IonError
from ion.facts import GapNoted
from ion.home import Home
from ion.store import open_store
from tests.faults.invariant import load, violations

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 512 KiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a file system here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def settled(home: Home, tmp_path: Path, acknowledged: list[str]) -> list[str]:
    """Ship what is spooled into a store elsewhere; return what is wrong."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    try:
        ship_all(home.spool, store)
        return violations(store, home, acknowledged)
    finally:
        store.close()


def tell_until_refused(client: Client, most: int) -> tuple[list[str], bool]:
    """Tell and flush; return what was acknowledged, and whether the disk refused before ``most`` facts."""
    acknowledged: list[str] = []
    for number in range(most):
        try:
            told = client.emit(load(number), block=os.urandom(2000))
            client.flush()
        except IonError as error:
            return acknowledged, error.code == "spool-unusable"
        acknowledged.append(told)
    return acknowledged, False


def test_a_full_disk_refuses_and_goes_on_after_freeing(small_disk: Path, tmp_path: Path) -> None:
    home = Home(small_disk / "home")
    client = Client(home, "full")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(200_000))
    acknowledged, refused = tell_until_refused(client, 1000)
    assert refused
    assert acknowledged
    ballast.unlink()
    for number in range(2000, 2010):
        acknowledged.append(client.emit(load(number)))
        client.flush()
    client.close()
    assert settled(home, tmp_path, acknowledged) == []


def test_a_disk_made_read_only_refuses_and_goes_on_when_it_is_writable(small_disk: Path, tmp_path: Path) -> None:
    home = Home(small_disk / "home")
    client = Client(home, "read-only")
    acknowledged = [client.emit(load(1))]
    client.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(IonError) as caught:
        Client(home, "read-only")
    assert caught.value.code in {"home-unusable", "spool-unusable"}
    with pytest.raises(OSError, match="Read-only"):
        settled(home, tmp_path, acknowledged)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert settled(home, tmp_path, acknowledged) == []


def test_a_process_without_descriptors_keeps_what_it_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    store = open_store(home.make().store_url)
    client = Client(home, "poor", store)
    acknowledged = [client.emit(load(0))]
    with no_descriptors():
        for number in range(1, 20):
            acknowledged.append(client.emit(load(number)))
            client.flush()
        assert client.ship() is False
        assert client.last_trouble
    assert client.ship()
    client.close()
    assert violations(store, home, acknowledged) == []
    store.close()


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let nothing be opened any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


FAILING = """
import os, sys
from pathlib import Path
from ion.agent import Client, teller
from ion.errors import IonError
from ion.home import Home
from tests.faults.invariant import load
teller._WAIT_SECONDS = 0.0
client = Client(Home(Path(sys.argv[1])), "failing")
for number in range(40):
    try:
        told = client.emit(load(number))
        client.flush()
    except IonError:
        continue
    print(told, flush=True)
client.close()
"""


@pytest.mark.parametrize("when", ["3", "2..4", "5+4", "2+2"])
def test_a_disk_that_does_not_keep_what_it_was_given_loses_nothing_acknowledged(tmp_path: Path, when: str) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace here")
    home = Home(tmp_path / "home")
    inject = f"-einject=fdatasync:error=EIO:when={when}"
    command = [strace, "-f", "-qq", "-o", str(tmp_path / "log"), "-etrace=fdatasync", inject]
    told = subprocess.run(
        [*command, sys.executable, "-c", FAILING, str(home.root)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    acknowledged = told.stdout.split()
    assert "EIO" in (tmp_path / "log").read_text()
    assert len(acknowledged) > 0
    assert settled(home, tmp_path, acknowledged) == []
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    doubted = [found.fact for found in store.find(GapNoted) if "the disk did not keep it" in found.fact.reason]
    assert doubted
    assert all(gap.first is not None and gap.last is not None for gap in doubted)
    store.close()
