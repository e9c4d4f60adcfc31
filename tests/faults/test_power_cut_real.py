"""A real file system loses its power (ext4, shut down without its journal): what was acknowledged is there."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ion.agent import ship_all
from ion.home import Home
from ion.store import open_store
from tests.faults.invariant import violations

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SHUTDOWN, WITHOUT_JOURNAL = 0x8004587D, 2
"""FS_IOC_SHUTDOWN of ext4 and XFS, and its flag that flushes nothing."""

PROGRAM = """
import sys, time
from pathlib import Path
from ion.agent import Client, teller
from ion.agent.spool import SpoolWriter
from ion.home import Home
from tests.faults.invariant import load
if sys.argv[2] == "planted":
    SpoolWriter.sync = lambda self: None
else:
    teller.SpoolWriter = lambda folder, agent, **_: SpoolWriter(folder, agent, segment_bytes=2000)
client = Client(Home(Path(sys.argv[1])), "cut")
told = []
for number in range(50):
    told.append(client.emit(load(number)))
    if number % 5 == 4:
        client.flush()
        print(*told, sep="\\n", flush=True)
        told.clear()
print("end", flush=True)
time.sleep(600)
"""


class Disk:
    """An ext4 file system of its own, in a file."""

    def __init__(self, folder: Path) -> None:
        self.image, self.place = folder / "image", folder / "disk"
        self.image.write_bytes(b"")
        os.truncate(self.image, 32 * 1024 * 1024)
        self.place.mkdir()
        made = subprocess.run(["mkfs.ext4", "-q", str(self.image)], capture_output=True, check=False)
        if made.returncode or not self.mount():
            pytest.skip("no right to mount an ext4 file system here")

    def mount(self) -> bool:
        command = ["mount", "-o", "loop", str(self.image), str(self.place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def cut(self) -> None:
        handle = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", WITHOUT_JOURNAL))
        finally:
            os.close(handle)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.place)], capture_output=True, check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.unmount()


def after_the_cut(disk: Disk, tmp_path: Path, how: str) -> tuple[int, list[str]]:
    """Tell, cut the power, mount again and ship; return how many facts were acknowledged, and what is wrong."""
    home = Home(disk.place / "home")
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(home.root), how],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    acknowledged: list[str] = []
    try:
        assert program.stdout is not None
        for line in program.stdout:
            if line == "end\n":
                break
            acknowledged.append(line.strip())
        disk.cut()
    finally:
        program.kill()
        program.wait()
    disk.unmount()
    assert disk.mount()
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    ship_all(home.spool, store)
    wrong = violations(store, home, acknowledged)
    store.close()
    return len(acknowledged), wrong


def test_what_was_acknowledged_survives_a_power_cut_of_a_real_file_system(disk: Disk, tmp_path: Path) -> None:
    assert after_the_cut(disk, tmp_path, "as it is") == (50, [])


def test_a_planted_acknowledgement_without_a_sync_is_seen_on_a_real_file_system(disk: Disk, tmp_path: Path) -> None:
    _, wrong = after_the_cut(disk, tmp_path, "planted")
    assert any("acknowledged and not stored" in each for each in wrong)
