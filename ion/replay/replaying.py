"""One prediction computed again; the result is itself a fact."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Literal

from ion.canonical import digest_bytes
from ion.clock import rfc3339
from ion.errors import IonError
from ion.evidence.artifacts import ArtifactStore
from ion.evidence.captures import row_key
from ion.facts import CaptureErased, EpochOpened, InputsCaptured, PredictionReplayed
from ion.serving.capture import open_row
from ion.serving.captured import CapturedRow, capture_aad
from ion.serving.scorer import load_scorer, model_format

if TYPE_CHECKING:
    from ion.agent.client import Client
    from ion.home import Home
    from ion.ids import PredictionId
    from ion.records import Recorded
    from ion.serving.scorer import Scorer
    from ion.store import GovernanceStore

Verdict = Literal["identical", "within_tolerance", "diverged", "unavailable"]
TOLERANCE = 1e-12
"""Largest absolute difference of two scores that is float noise between engines."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found. ``recorded`` and ``replayed`` are scores; None where there is none.

    ``identical`` means bit for bit. ``reason`` says why a verdict is not that, empty otherwise.
    """

    prediction: str
    model: str
    verdict: Verdict
    recorded: float | None
    replayed: float | None
    max_abs_diff: float | None
    reason: str

    @property
    def held(self) -> bool:
        """Whether the recorded score was reproduced."""
        return self.verdict in {"identical", "within_tolerance"}

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return asdict(self)


def replay(store: GovernanceStore, home: Home, prediction: PredictionId, client: Client) -> Replayed:
    """Score the captured input of ``prediction`` with the canonical scorer of the model that made it.

    The bytes of input and model are checked by digest first. What is found is told as a fact by
    ``client``, and shipped when that is possible.

    Raises:
        IonError: ``unknown-prediction`` when the store knows no such prediction.
    """
    result = _replay(store, home, prediction)
    client.emit(
        PredictionReplayed(
            prediction=result.prediction,
            model=result.model,
            verdict=result.verdict,
            reason=result.reason,
            max_abs_diff=result.max_abs_diff,
        )
    )
    client.ship()
    return result


def _replay(store: GovernanceStore, home: Home, prediction: PredictionId) -> Replayed:
    opened = store.find(EpochOpened, prediction.epoch)
    captured = store.index.captured(prediction)
    if not captured and store.prediction_position(prediction) is None:
        hint = "`ion predictions ION` lists some"
        raise IonError("unknown-prediction", f"no fact knows the prediction {prediction}", hint)
    model = _champion(opened[0].fact) if opened else ""
    if not captured:
        missing = IonError("not-captured", "the input of this prediction was not captured")
        return _unavailable(prediction, model, missing, None)
    try:
        row = _captured_row(store, captured[0], prediction)
    except IonError as error:
        return _unavailable(prediction, model, error, None)
    if not model:
        unknown = IonError("no-model", "no fact says which one model made this prediction")
        return _unavailable(prediction, model, unknown, row.score)
    try:
        score = _scorer(home, model).score_row(row.inputs)
    except IonError as error:
        return _unavailable(prediction, model, error, row.score)
    return _compared(prediction, model, row.score, score)


def _compared(prediction: PredictionId, model: str, recorded: float, replayed: float) -> Replayed:
    if not (isfinite(recorded) and isfinite(replayed)):
        error = IonError("not-finite", "a score is not a finite number")
        return _unavailable(prediction, model, error, recorded if isfinite(recorded) else None)
    difference = abs(recorded - replayed)
    verdict: Verdict = "diverged"
    reason = f"the scores differ by {difference:.3g}, more than {TOLERANCE:g}"
    if recorded.hex() == replayed.hex():
        verdict, reason = "identical", ""
    elif difference <= TOLERANCE:
        verdict, reason = "within_tolerance", f"the scores differ by {difference:.3g}, at most {TOLERANCE:g}"
    return Replayed(str(prediction), model, verdict, recorded, replayed, difference, reason)


def _unavailable(prediction: PredictionId, model: str, why: IonError, recorded: float | None) -> Replayed:
    return Replayed(str(prediction), model, "unavailable", recorded, None, None, f"{why.code}: {why.message}")


def _champion(epoch: EpochOpened) -> str:
    """Return the model whose score is the prediction; empty when that is not one."""
    models = {role: str(digest) for role, digest in epoch.models.items()}
    return models.get("champion", "" if len(models) != 1 else next(iter(models.values())))


def _captured_row(store: GovernanceStore, record: Recorded[InputsCaptured], prediction: PredictionId) -> CapturedRow:
    """Open the one captured row.

    Raises:
        IonError: ``erased``, ``retention-ended``, ``capture-key-missing``, ``block-missing``, ``block-differs``,
            ``bad-capture``, ``no-such-row``.
    """
    captured = record.fact
    block = store.block(captured.block)
    if block is None:
        raise _missing(store, record.position)
    if digest_bytes(block) != captured.block:
        raise IonError("block-differs", "the captured input is not what the fact names by digest")
    index = prediction.seq - captured.first
    key_id = row_key(block, index)
    key = store.capture_key(key_id)
    if key is None:
        raise _erased(store, key_id)
    text = open_row(block, key, index, capture_aad(captured.epoch, captured.first))
    return CapturedRow.from_text(text)


def _missing(store: GovernanceStore, position: int) -> IonError:
    """Tell an ended retention from a block that is missing for no known reason."""
    removed = store.retention.of(position)
    if removed is None:
        return IonError("block-missing", "the store does not hold the captured input")
    told = f"the captured input was kept until {rfc3339(removed.us)[:10]} (retention {removed.fact.retention})"
    return IonError("retention-ended", told)


def _erased(store: GovernanceStore, key_id: str) -> IonError:
    """Tell an erasure from a key that is missing for no known reason."""
    erased = store.latest(CaptureErased, key_id)
    if erased is None:
        return IonError(
            "capture-key-missing", "the store has no key of the captured input, and no fact says that it was erased"
        )
    at = rfc3339(erased.us)
    return IonError("erased", f"the captured input was erased on {at[:10]} (erasure {erased.fact.erasure})")


def _scorer(home: Home, model: str) -> Scorer:
    """Load the canonical scorer from bytes that have the model's digest.

    Raises:
        IonError: ``artifact-missing``, ``artifact-corrupt``, ``model-format``, ``bad-model``.
    """
    files = ArtifactStore(home.artifacts).get_model(model)
    return load_scorer(model_format(files), files)
