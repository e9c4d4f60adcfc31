"""The streaming node with the real engine: admission, swaps, refusals, halt, quarantine, graceful stop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ion.clock import now_us
from ion.decision.promotion import promotion_message
from ion.evidence.captures import row_key
from ion.facts import (
    AdmissionRefused,
    EpochClosed,
    EpochOpened,
    GapNoted,
    InputsCaptured,
    MessageReceived,
    NodeRunEnded,
    NodeRunStarted,
    PredictionsCommitted,
    RowsQuarantined,
    SignaturesRecorded,
    StatisticsRecorded,
)
from ion.replay import Eraser
from ion.serving import LinearScorer, open_block
from ion.serving.captured import CapturedRow, capture_aad
from tests.integration.flink_scene import FEATURES, NODE, Scene, linear_model, signer_at, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def opened(scene: Scene, fact: InputsCaptured | RowsQuarantined, aad: bytes) -> list[bytes]:
    """Open a block with the one key that its fact names."""
    key, block = scene.store.capture_key(fact.key), scene.store.block(fact.block)
    assert key is not None
    assert block is not None
    return open_block(block, key, aad)


def test_every_fact_of_a_graceful_run_follows_from_its_committed_files(scene: Scene) -> None:
    first = scene.promote(1, serial=1)
    scene.start()
    rows = ["0.1,+.2,-03.,4e-1", "1,2,3", "", "1,2,3,nan", "a,b,c,d", "1,2,3,4,5", "1_0,2,3,4", "-1, 2,3,4\r"]
    mixed = scene.feed(rows)
    plain = scene.feed(200)
    assert until(lambda: len(scene.committed()) == 202), scene.log()
    second = scene.promote(2, serial=2)  # on an idle stream
    assert until(lambda: len(scene.facts(EpochOpened)) == 2)
    scene.feed(30)
    assert until(lambda: len(scene.committed()) == 232)
    assert scene.deployment.stop(), scene.log()
    assert scene.in_progress() == []

    predictions = scene.committed()
    told = [(fact.epoch, seq) for fact in scene.facts(PredictionsCommitted) for seq in range(fact.first, fact.last + 1)]
    assert sorted(told) == sorted((row.epoch, row.seq) for row in predictions)
    epochs = scene.facts(EpochOpened)
    assert [epoch.models["champion"] for epoch in epochs] == [first, second]
    assert {row.model for row in predictions if row.epoch == epochs[1].epoch} == {second}
    assert [(fact.epoch, fact.reason) for fact in scene.facts(EpochClosed)] == [
        (epochs[0].epoch, "swapped"), (epochs[1].epoch, "stopped")
    ]  # fmt: skip
    messages = [promotion_message(f"cause-{serial}", NODE) for serial in (1, 2)]
    assert [fact.message for fact in scene.facts(MessageReceived)] == messages
    (run,) = scene.facts(NodeRunStarted)
    (end,) = scene.facts(NodeRunEnded)
    assert (end.run, end.status) == (run.run, "stopped")
    assert scene.facts(GapNoted) == []

    assert len({fact.key for fact in scene.facts(InputsCaptured)}) == 2  # one for each epoch
    captured = {
        (fact.epoch, fact.first + index): row
        for fact in scene.facts(InputsCaptured)
        for index, row in enumerate(opened(scene, fact, capture_aad(fact.epoch, fact.first)))
    }
    models = {first: LinearScorer.from_bytes(linear_model(1)), second: LinearScorer.from_bytes(linear_model(2))}
    for row in predictions:
        kept = CapturedRow.from_text(captured[row.epoch, row.seq])
        again = models[row.model].score_row(kept.inputs)
        assert (kept.score, row.score, row.label) == (again, again, models[row.model].label(again))

    (aside,) = scene.facts(RowsQuarantined)
    reasons = {"empty": 1, "short": 1, "extra-column": 1, "malformed": 2, "non-finite": 1}
    assert (aside.rows, aside.reasons) == (6, reasons)
    bad = [json.loads(row) for row in opened(scene, aside, aside.file_digest.encode())]
    assert [(row["file"], row["line"], row["row"]) for row in bad] == [
        (mixed, line, rows[line - 1]) for line in (2, 3, 4, 5, 6, 7)
    ]
    assert not any(b"1,2,3,nan" in part.read_bytes() for part in scene.folders.quarantine.rglob("*.csv"))

    runs = {fact.run for fact in scene.facts(StatisticsRecorded)}
    assert sum(scene.store.points(run, "predictions").values.sum() for run in runs) == 232
    signatures = scene.facts(SignaturesRecorded)
    assert sum(sum(fact.predictions["prediction"]["counts"]) for fact in signatures) == 232
    for fact in signatures:
        assert set(fact.inputs) == {f"f{index}" for index in range(FEATURES)}
        totals = {sum(each["counts"]) + each["below"] + each["above"] for each in fact.inputs.values()}
        assert len(totals) == 1
    assert {source["file"] for fact in scene.facts(PredictionsCommitted) for source in fact.sources} >= {mixed, plain}


def test_a_patient_erased_while_the_job_runs_is_gone_and_the_job_makes_another_key(tmp_path: Path) -> None:
    scene = Scene(tmp_path, subject="patient")
    try:
        scene.promote(1, serial=1)
        scene.start()

        def fed(count: int) -> list[str]:
            """Feed a row each of two patients; return the keys of all rows so far, in order."""
            scene.feed(["ann,1,2,3,4", "bob,1,2,3,4"])
            assert until(lambda: sum(fact.rows for fact in scene.facts(InputsCaptured)) == count), scene.log()
            facts = sorted(scene.facts(InputsCaptured), key=lambda fact: fact.first)
            blocks = [(fact, scene.store.block(fact.block) or b"") for fact in facts]
            return [row_key(block, index) for fact, block in blocks for index in range(fact.rows)]

        ann, bob = fed(2)
        eraser = Eraser(scene.store, scene.home, reason="request 7", by="ada")
        assert eraser.subject(NODE, "ann").keys == (ann,)
        *_, after, same = fed(4)
        assert same == bob
        assert after != ann
        assert [scene.store.capture_key(key) is None for key in (ann, bob, after)] == [True, False, False]
        assert scene.deployment.stop(), scene.log()
        assert {row.label for row in scene.committed()} <= {"benign", "malignant"}
        for path in scene.home.root.rglob("*"):
            assert not path.is_file() or path.parent == scene.folders.inbox or b"ann,1" not in path.read_bytes(), path
    finally:
        scene.close()


def test_a_bad_pointer_is_refused_and_recorded_while_the_old_model_serves(scene: Scene, tmp_path: Path) -> None:
    model = scene.promote(1, serial=5)
    good = scene.pointer.read_bytes()
    scene.start()
    scene.feed(10)
    assert until(lambda: len(scene.committed()) == 10), scene.log()

    def refusals(count: int) -> bool:
        return until(lambda: len(scene.facts(AdmissionRefused)) == count)

    scene.pointer.write_bytes(good[:-20] + b"A" + good[-19:])
    assert refusals(1)
    scene.promote(2, serial=4)
    assert refusals(2)
    (tmp_path / "foreign").mkdir()
    scene.promote(3, serial=6, signer=signer_at(tmp_path / "foreign"))
    assert refusals(3)
    scene.promote(4, serial=7, damage=True)
    assert refusals(4)
    scene.feed(10)
    assert until(lambda: len(scene.committed()) == 20)
    newer = scene.promote(5, serial=8)
    assert until(lambda: len(scene.facts(EpochOpened)) == 2)
    scene.feed(10)
    assert until(lambda: len(scene.committed()) == 30)
    assert scene.deployment.stop()
    assert [fact.step for fact in scene.facts(AdmissionRefused)] == ["pointer", "promotion", "pointer", "artifact"]
    assert [row.model for row in scene.committed()] == [model] * 20 + [newer] * 10


def test_without_an_admitted_model_the_job_refuses_to_start(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    scene.promote(1, serial=1, signer=signer_at(tmp_path / "foreign"))
    assert scene.deployment.start(scene.store)
    status = scene.deployment.wait_running(25)
    assert not status.running
    assert status.last is not None
    assert (status.last.state, "not admitted" in status.last.error) == ("refused", True)
    (refused,) = scene.facts(AdmissionRefused)
    assert refused.step == "pointer"
    assert [fact.status for fact in scene.facts(NodeRunEnded)] == ["failed"]


def test_a_second_start_is_refused_while_one_runs(scene: Scene) -> None:
    scene.promote(1, serial=1)
    scene.start()
    before = scene.deployment.status().last
    assert not scene.deployment.start(scene.store)
    assert before is not None
    after = scene.deployment.status().last
    assert after is not None
    assert after.run == before.run
    assert scene.deployment.stop()
    assert len(scene.facts(NodeRunStarted)) == 1


def test_a_halt_under_load_stops_predicting_and_a_later_promotion_goes_on_where_it_stopped(scene: Scene) -> None:
    scene.promote(1, serial=1)
    scene.start()
    for _ in range(5):
        scene.feed(40)
    assert until(lambda: len(scene.committed()) > 0), scene.log()
    scene.halt(serial=2)
    halted_us = now_us()
    for _ in range(5):
        scene.feed(40)
    assert until(lambda: not scene.deployment.status().running), scene.log()
    assert [fact.status for fact in scene.facts(NodeRunEnded)] == ["halted"]
    second = scene.promote(2, serial=3)
    scene.start()
    assert until(lambda: len(scene.committed()) == 400), scene.log()
    assert scene.deployment.stop()
    rows = scene.committed()
    assert len({(row.file, row.line) for row in rows}) == 400
    late = [row for row in rows if row.us > halted_us + 500_000]
    assert len(late) > 0
    assert {row.model for row in late} == {second}
    told = {(fact.epoch, seq) for fact in scene.facts(PredictionsCommitted) for seq in range(fact.first, fact.last + 1)}
    assert told == {(row.epoch, row.seq) for row in rows}
    assert all(fact.reason for fact in scene.facts(EpochClosed))
    assert {fact.epoch for fact in scene.facts(EpochOpened)} == {fact.epoch for fact in scene.facts(EpochClosed)}
