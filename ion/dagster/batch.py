"""Batch inference through the gate: admitted once per run, every scored row accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import pandas as pd

from ion.agent.dataset import dataset_parquet
from ion.agent.histogram import Histogram
from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.decision import promotion_message
from ion.errors import IonError
from ion.evidence.artifacts import ArtifactStore
from ion.evidence.trust import load_trust
from ion.facts import AdmissionRefused, EpochClosed, EpochOpened, InputsCaptured, PredictionsCommitted
from ion.home import web_url
from ion.ids import new_id
from ion.serving import Admitted, CaptureKey, Gate, Halted, pointer_path, read_pointer, seal
from ion.serving.captured import CapturedRow, capture_aad
from ion.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ion.agent.run import NodeRun
    from ion.home import Home
    from ion.serving import Scorer

_BLOCK_ROWS = 1024


class _Recording:
    """The admitted `Scorer`, remembering what it scored in order."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.rows: list[CapturedRow] = []

    @property
    def format(self) -> str:
        return self._scorer.format

    @property
    def digest(self) -> str:
        return self._scorer.digest

    @property
    def features(self) -> tuple[str, ...]:
        return self._scorer.features

    @property
    def classes(self) -> tuple[str | int, str | int]:
        return self._scorer.classes

    def label(self, score: float) -> str | int:
        return self._scorer.label(score)

    def score_row(self, row: Sequence[float]) -> float:
        score = self._scorer.score_row(row)
        self.rows.append(CapturedRow(tuple(map(float, row)), score))
        return score

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        values = np.asarray(rows, dtype=np.float64)  # a data frame is welcome, too
        scores = self._scorer.score(values)
        pairs = zip(values.tolist(), scores.tolist(), strict=True)
        self.rows += [CapturedRow(tuple(inputs), score) for inputs, score in pairs]
        return scores


def predict(
    run: NodeRun, node: str, classification: str, body: Callable[[Scorer], object]
) -> dg.MaterializeResult[object]:
    """Admit the promoted model, let ``body`` score with it, and commit the predictions.

    Raises:
        IonError: ``not-admitted``; ``not-a-frame``.
    """
    admitted = _admit(run, run.client.home, node)
    epoch, started = _open_epoch(run, node, admitted), now_us()
    scorer = _Recording(admitted.scorer)
    try:
        frame = body(scorer)
        if not isinstance(frame, pd.DataFrame):
            raise IonError("not-a-frame", f"{node} returned a {type(frame).__name__}", "return a pandas data frame")  # noqa: TRY301 - it closes the epoch, too
        if len(frame) == len(scorer.rows):
            frame = frame.assign(prediction_id=[f"{epoch}:{seq}" for seq in range(len(frame))])
        component = node.partition("/")[2]
        version = run.dataset(node, frame, role="output", classification=classification, component=component)
        if scorer.rows:
            _commit(run, epoch, scorer.rows, dataset_parquet(frame), started)
    except BaseException:
        run.emit(EpochClosed(epoch=epoch, run=run.id, reason="the run failed"))
        raise
    run.emit(EpochClosed(epoch=epoch, run=run.id, reason="the run ended"))
    metadata: dict[str, str | int | dg.MetadataValue] = {
        "dagster/row_count": len(frame),
        "predictions": len(scorer.rows),
        "epoch": epoch,
        "model digest": admitted.model,
        "governance page": dg.MetadataValue.url(f"{web_url()}/models/{admitted.model}"),
    }
    if scorer.rows:
        metadata["first prediction"] = f"{epoch}:0"
    return dg.MaterializeResult(
        value=frame,
        data_version=dg.DataVersion(version.digest),
        tags={"ion/node_run": run.id},
        metadata=metadata,
    )


def _admit(run: NodeRun, home: Home, node: str) -> Admitted:
    """Return the promoted model, or record the refusal and raise."""
    if not home.trust_document.exists():
        raise IonError(
            "not-admitted", f"no model was ever approved for {node}", "train one, and let a policy approve it"
        )
    pointer = pointer_path(home.root, node)
    trust = load_trust(home).root("decision")
    state = home.root / "serving" / node / "accepted.json"
    answer = Gate(pointer, ArtifactStore(home.artifacts), trust, node, state).admit()
    if isinstance(answer, Admitted):
        return answer
    if isinstance(answer, Halted):
        step, digest = str(answer.cause), answer.pointer
    else:
        step, digest = str(answer.step), _pointer_digest(pointer)
    run.emit(
        AdmissionRefused(run=run.id, node=node, step=step, reason=answer.reason, pointer_digest=digest),
    )
    raise IonError(
        "not-admitted",
        f"the gate refused the model of {node} at step {step}: {answer.reason}",
        f"`ion timeline {node.partition('/')[0]}` shows what was decided; nothing is served before an approval",
    )


def _pointer_digest(pointer: Path) -> str:
    try:
        return digest_bytes(read_pointer(pointer))
    except (OSError, IonError):
        return ""


def _open_epoch(run: NodeRun, node: str, admitted: Admitted) -> str:
    epoch = new_id()
    run.received(promotion_message(admitted.cause, node))
    run.emit(
        EpochOpened(
            epoch=epoch,
            run=run.id,
            node=node,
            subtask=0,
            attempt=0,
            models={"champion": admitted.model},
            decision_digest=admitted.decision,
            cause=admitted.cause,
            serial=admitted.serial,
        )
    )
    return epoch


def _commit(run: NodeRun, epoch: str, rows: Sequence[CapturedRow], output: bytes, started: int) -> None:
    """Keep the output and the sealed rows, and record which predictions they are."""
    home, key = run.client.home, CaptureKey.generate()
    artifact = ArtifactStore(home.artifacts).put(output)
    store = open_store(home.store_url)
    try:
        store.keep_capture_key(key.key_id, key.secret)
    finally:
        store.close()
    run.emit(
        PredictionsCommitted(
            epoch=epoch,
            run=run.id,
            first=0,
            last=len(rows) - 1,
            rows=len(rows),
            file=f"artifact:{artifact}",
            file_digest=digest_bytes(output),
            sources=[],
            us_first=started,
            us_last=now_us(),
        )
    )
    for first in range(0, len(rows), _BLOCK_ROWS):
        part = rows[first : first + _BLOCK_ROWS]
        block = seal([row.to_text() for row in part], key, capture_aad(epoch, first))
        captured = InputsCaptured(
            epoch=epoch,
            run=run.id,
            first=first,
            last=first + len(part) - 1,
            rows=len(part),
            key=key.key_id,
            block=digest_bytes(block),
        )
        run.emit(captured, block=block)
    scores = np.array([row.score for row in rows])
    run.stat("predictions", len(scores), epoch=epoch)
    run.stat("mean score", float(scores.mean()), epoch=epoch)
    run.signature("score", Histogram.of(scores, np.linspace(0.0, 1.0, 21)), role="prediction", epoch=epoch)
