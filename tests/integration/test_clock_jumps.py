"""The clock jumps 400 days, ahead and back, under a real process (libfaketime): nothing that ended comes back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from ion.evidence.decisions import RequiredApprovals
from tests.unit.test_gate_scene import ANNA, BEN, DAY, NODE, NOW, Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

HOUR = DAY // 24
FAR = 400 * DAY
PROGRAM = """
import json, sys
from pathlib import Path
from ion.clock import now_us
from ion.evidence import ArtifactStore
from ion.evidence.trust import TrustFile
from ion.serving import Gate, pointer_path

home, node = Path(sys.argv[1]), sys.argv[2]
trust = TrustFile(home / "trust" / "trust.json", home / "trust" / "root.pub.pem")
gate = Gate(pointer_path(home, node), ArtifactStore(home / "artifacts"), trust, node, home / "serving" / "gate.json")
for _ in sys.stdin:
    answer = gate.admit()
    told = {"kind": type(answer).__name__, "now": now_us(), "why": getattr(answer, "reason", "")}
    print(json.dumps(told), flush=True)
"""


@pytest.fixture(autouse=True)
def _tool() -> None:
    if shutil.which("faketime") is None:
        pytest.skip("no faketime here: apt-get install faketime")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene.set_up(tmp_path)


@contextmanager
def process(scene: Scene) -> Iterator[Callable[[int], str]]:
    """Start a serving process; the function moves its clock to a time, and returns what its gate answers then."""
    asked = [shutil.which("faketime") or "", "-f", "+0", "printenv", "LD_PRELOAD"]
    library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    clock = scene.home / "clock"
    clock.write_text("+0")
    environment = {
        **os.environ,
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "TZ": "UTC",
    }
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(scene.home), NODE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    ) as running:  # fmt: skip
        assert running.stdin is not None
        assert running.stdout is not None

        def at(us: int) -> str:
            assert running.stdin is not None
            assert running.stdout is not None
            clock.write_text(f"{datetime.fromtimestamp(us / 1e6, tz=UTC):%Y-%m-%d %H:%M:%S}")
            running.stdin.write("\n")
            running.stdin.flush()
            told = json.loads(running.stdout.readline())
            assert abs(told["now"] - us) < HOUR, "the clock did not jump"
            return str(told["kind"])

        yield at
        running.stdin.close()


def by_people(scene: Scene, until: int) -> None:
    approvals = (scene.approval("anna", ANNA), scene.approval("ben", BEN, until=until))
    decision = scene.decision(approvals=(RequiredApprovals("approver", 2, approvals),), automatic=False)
    scene.point(scene.promotion(decision, lease_end=NOW + 2 * FAR))


def test_approvals_that_ended_do_not_come_back_with_the_clock(scene: Scene) -> None:
    by_people(scene, until=NOW + 5 * DAY)
    with process(scene) as at:
        assert [at(NOW), at(NOW + 4 * DAY)] == ["Admitted", "Admitted"]
        assert [at(NOW + FAR), at(NOW), at(NOW - FAR), at(NOW + DAY)] == ["Halted"] * 4
    with process(scene) as at:  # a restart forgets nothing
        assert [at(NOW - FAR), at(NOW), at(NOW + FAR), at(NOW)] == ["Refused"] * 4


def test_a_fresh_host_whose_clock_is_behind_does_not_take_what_had_ended_when_the_pointer_was_signed(
    scene: Scene,
) -> None:
    approvals = (scene.approval("anna", ANNA), scene.approval("ben", BEN, until=NOW + 5 * DAY))
    named = scene.decision(approvals=(RequiredApprovals("approver", 2, approvals),), automatic=False)
    promotion = scene.promotion(named, lease_end=NOW + 2 * FAR)
    scene.point(replace(promotion, issued=NOW + 6 * DAY))
    with process(scene) as at:
        assert [at(NOW), at(NOW - FAR), at(NOW + DAY)] == ["Refused"] * 3


def test_a_lease_that_ended_does_not_come_back_with_the_clock(scene: Scene) -> None:
    promotion = scene.point(scene.promotion(on_lease_end="stop"))
    with process(scene) as at:
        assert [at(NOW), at(NOW + 2 * DAY), at(NOW), at(NOW - FAR)] == ["Admitted", "Halted", "Halted", "Halted"]
    with process(scene) as at:
        assert [at(NOW), at(NOW - FAR)] == ["Halted"] * 2
        scene.point(promotion.renewed(NOW, NOW + DAY))
        assert at(NOW) == "Admitted"
        assert at(NOW + FAR) == "Halted"
        assert at(NOW) == "Halted"


def test_a_clock_that_is_behind_takes_nothing_away(scene: Scene) -> None:
    scene.point()
    with process(scene) as at:
        assert [at(NOW - FAR), at(NOW), at(NOW - FAR)] == ["Admitted"] * 3
