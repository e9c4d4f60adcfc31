"""`kill -9` of the streaming node, at parallelism 2, while models are swapped under load."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ion.facts import (
    EpochClosed,
    EpochOpened,
    GapNoted,
    InputsCaptured,
    NodeRunEnded,
    PredictionsCommitted,
    StatisticsRecorded,
)
from tests.integration.flink_scene import Scene, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path, {"parallelism": 2, "checkpoint_ms": 300})
    yield made
    made.close()


class Feed(threading.Thread):
    """A file of 20 rows, one of them bad, every 50 ms."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(daemon=True)
        self.scene = scene
        self.stopping = threading.Event()
        self.positions: set[tuple[str, int]] = set()

    def run(self) -> None:
        while not self.stopping.wait(0.05):
            rows = [f"0.{index},1.5,-2,{self.scene.files}" for index in range(19)] + ["1,2,oops"]
            name = self.scene.feed(rows)
            self.positions |= {(name, line) for line in range(1, 21)}


def test_ids_in_facts_are_the_ids_in_committed_files_and_each_position_is_answered_once(scene: Scene) -> None:
    scene.promote(1, serial=1)
    scene.start()
    feed = Feed(scene)
    feed.start()
    # At the exchange; then later, when the JVM outlives the rest.
    for serial, delay, jvm_too in ((2, 0.02, True), (3, 0.25, False)):
        before = len(scene.committed())
        assert until(lambda before=before: len(scene.committed()) > before + 50), scene.log()
        scene.promote(serial, serial=serial)
        time.sleep(delay)
        scene.kill(jvm_too=jvm_too)
        scene.start()
    feed.stopping.set()
    feed.join()
    assert until(lambda: len(scene.committed()) + len(scene.set_aside()) >= len(feed.positions), 60), scene.log()
    assert scene.deployment.stop(), scene.log()

    rows = scene.committed()
    answered = Counter((row.file, row.line) for row in [*rows, *scene.set_aside()])
    assert set(answered.values()) == {1}
    assert set(answered) == feed.positions
    told = Counter(
        (fact.epoch, seq) for fact in scene.facts(PredictionsCommitted) for seq in range(fact.first, fact.last + 1)
    )
    assert set(told.values()) == {1}
    assert set(told) == {(row.epoch, row.seq) for row in rows}
    models = {fact.epoch: fact.models["champion"] for fact in scene.facts(EpochOpened)}
    assert all(models[row.epoch] == row.model for row in rows)
    assert {fact.epoch for fact in scene.facts(EpochClosed)} == set(models)
    assert sorted(fact.status for fact in scene.facts(NodeRunEnded)) == ["failed", "failed", "stopped"]
    assert sum(fact.rows for fact in scene.facts(InputsCaptured)) == len(rows)
    runs = {fact.run for fact in scene.facts(StatisticsRecorded)}
    assert sum(scene.store.points(run, "predictions").values.sum() for run in runs) == len(rows)
    assert [fact for fact in scene.facts(GapNoted) if fact.what != "spool bytes"] == []
    assert scene.in_progress() == []
