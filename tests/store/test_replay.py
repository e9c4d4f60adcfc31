"""A prediction is computed again from its record, and whatever prevents that is said."""

from __future__ import annotations

import math
import sqlite3
from typing import TYPE_CHECKING

import pytest

from ion.canonical import digest_bytes
from ion.errors import IonError
from ion.facts import EpochOpened, InputsCaptured, PredictionReplayed, PredictionsCommitted
from ion.ids import PredictionId, new_id
from ion.replay import Replayed, replay
from ion.serving import CaptureKey, seal
from ion.serving.captured import CapturedRow, capture_aad
from ion.testing import SERVING, History
from tests.store.complete_history import artifact, complete_history

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def history(tmp_path: Path) -> History:
    return complete_history(tmp_path / "home")


def replayed(history: History, prediction: PredictionId) -> Replayed:
    deployment = history.deployment
    return replay(deployment.store, deployment.home, prediction, deployment.client)


def recorded(history: History, score: float, *, model: str = "", inputs: tuple[float, ...] = ()) -> PredictionId:
    """Tell of a prediction with this score, by default for the first served row; returns its id."""
    deployment, epoch, key = history.deployment, new_id(), CaptureKey.generate()
    deployment.store.keep_capture_keys([key])
    models = {"champion": model or history.trained.model}
    row = CapturedRow(inputs or history.served.inputs[0], score).to_text()
    block = seal([row], key, capture_aad(epoch, 0))
    common = {"epoch": epoch, "run": history.served.run}
    deployment.client.emit(
        EpochOpened(
            **common, node=SERVING, subtask=0, attempt=0, models=models, decision_digest="", cause="c", serial=1
        )
    )
    deployment.client.emit(
        PredictionsCommitted(
            **common, first=0, last=0, rows=1, file="f", file_digest="d", sources=[], us_first=1, us_last=2
        )
    )
    deployment.client.emit(
        InputsCaptured(**common, first=0, last=0, rows=1, key=key.key_id, block=digest_bytes(block)),
        block=block,
    )
    deployment.client.ship()
    return PredictionId(epoch, 0)


def sql(history: History, statement: str, *values: object) -> None:
    connection = sqlite3.connect(history.deployment.home.root / "store.db")
    with connection:
        assert connection.execute(statement, values).rowcount, "the statement planted nothing"
    connection.close()


def test_every_served_prediction_is_identical(tmp_path: Path, store_url: str) -> None:
    history = complete_history(tmp_path / "home", store_url)
    for prediction, score in zip(history.served.predictions, history.served.scores, strict=True):
        result = replayed(history, prediction)
        assert (result.verdict, result.recorded, result.replayed) == ("identical", score, score)
        assert (result.max_abs_diff, result.reason, result.model) == (0.0, "", history.trained.model)
        assert result.held


def test_the_result_is_a_fact(history: History) -> None:
    prediction = history.served.predictions[1]
    replayed(history, prediction)
    (fact,) = [record.fact for record in history.deployment.store.find(PredictionReplayed, str(prediction))]
    assert (fact.verdict, fact.model, fact.max_abs_diff) == ("identical", history.trained.model, 0)


@pytest.mark.parametrize(("off", "verdict"), [(1e-13, "within_tolerance"), (2e-12, "diverged"), (0.5, "diverged")])
def test_another_score_is_told_with_its_distance(history: History, off: float, verdict: str) -> None:
    score = history.served.scores[0] + off
    result = replayed(history, recorded(history, score))
    assert result.verdict == verdict
    assert result.held == (verdict == "within_tolerance")
    assert result.max_abs_diff == abs(score - history.served.scores[0])
    assert "differ" in result.reason


def test_one_bit_is_not_identical(history: History) -> None:
    result = replayed(history, recorded(history, math.nextafter(history.served.scores[0], 1.0)))
    assert result.verdict == "within_tolerance"


def test_a_score_that_is_no_number_is_unavailable_and_still_a_fact(history: History) -> None:
    result = replayed(history, recorded(history, math.nan))
    assert (result.verdict, result.recorded, result.max_abs_diff) == ("unavailable", None, None)


def unavailable(history: History, prediction: PredictionId, code: str) -> None:
    result = replayed(history, prediction)
    assert (result.verdict, result.replayed, result.max_abs_diff) == ("unavailable", None, None)
    assert result.reason.startswith(f"{code}: "), result.reason
    assert not result.held
    facts = history.deployment.store.find(PredictionReplayed, str(prediction))
    assert facts[-1].fact.verdict == "unavailable"


def test_an_input_that_was_not_captured(history: History) -> None:
    served = history.deployment.serve(capture=False)
    unavailable(history, served.predictions[0], "not-captured")


def test_an_erased_key_is_told_from_one_that_is_missing(history: History) -> None:
    store, key = history.deployment.store, history.served.capture_key
    kept = store.capture_key(key)
    assert kept
    sql(history, "DELETE FROM ion_capture_key WHERE key = ?", key)
    unavailable(history, history.served.predictions[0], "capture-key-missing")
    store.keep_capture_keys([kept])
    store.erase_capture_keys([key], reason="asked", by="ada")
    unavailable(history, history.served.predictions[0], "erased")


def test_a_block_that_is_gone_or_changed(history: History) -> None:
    sql(history, "UPDATE ion_block SET body = substr(body, 1, length(body) - 1) || x'00'")  # becomes text
    unavailable(history, history.served.predictions[0], "block-differs")
    sql(history, "DELETE FROM ion_block")
    unavailable(history, history.served.predictions[0], "block-missing")


def test_a_block_passed_off_as_anothers(history: History) -> None:
    deployment = history.deployment
    captured = deployment.store.latest(InputsCaptured, history.served.epoch)
    assert captured
    elsewhere = recorded(history, 0.5)
    moved = InputsCaptured(
        epoch=elsewhere.epoch,
        run="r",
        first=1,
        last=1,
        rows=1,
        key=captured.fact.key,
        block=captured.fact.block,
    )
    deployment.client.emit(moved)
    deployment.client.ship()
    unavailable(history, PredictionId(elsewhere.epoch, 1), "bad-capture")


def test_model_bytes_that_are_gone_or_changed(history: History) -> None:
    manifest = history.deployment.artifacts.get_manifest(history.trained.model)
    path = artifact(history, manifest.entries[0].sha256)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"10", b"11", 1))
    unavailable(history, history.served.predictions[0], "artifact-corrupt")
    path.unlink()
    unavailable(history, history.served.predictions[0], "artifact-missing")
    path.write_bytes(whole)
    assert replayed(history, history.served.predictions[0]).verdict == "identical"


def test_a_format_without_a_scorer(history: History) -> None:
    foreign = history.deployment.artifacts.put_model({"model.pkl": b"\x80\x04."})
    unavailable(history, recorded(history, 0.5, model=foreign.digest), "model-format")


def test_a_row_of_another_width(history: History) -> None:
    unavailable(history, recorded(history, 0.5, inputs=(1.0,)), "bad-row")


def test_an_unknown_prediction_is_an_error(history: History) -> None:
    with pytest.raises(IonError) as raised:
        replayed(history, PredictionId(history.served.epoch, 99))
    assert raised.value.code == "unknown-prediction"
