"""Batch inference through the gate: admitted once per run, every scored row accounted for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dagster as dg
import numpy as np
import pandas as pd

from ion.agent.dataset import dataset_parquet
from ion.agent.histogram import Histogram
from ion.agent.run import NodeRun
from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.decision import promotion_message
from ion.errors import IonError
from ion.evidence.artifacts import ArtifactStore
from ion.evidence.trust import TrustRoot
from ion.facts import AdmissionRefused, EpochClosed, EpochOpened, InputsCaptured, PredictionsCommitted
from ion.home import Home, web_url
from ion.ids import new_id
from ion.serving import Admitted, CaptureKey, Gate, Scorer, pointer_path, seal
from ion.serving.captured import CapturedRow, capture_aad
from ion.store import open_store

_BLOCK_ROWS = 1024


class _Recording:
    """The admitted scorer, remembering what it scored in order."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.rows: list[CapturedRow] = []

    @property
    def features(self) -> Sequence[str]:
        return self._scorer.features

    @property
    def classes(self) -> Sequence[str | int]:
        return self._scorer.classes

    @property
    def digest(self) -> str:
        return self._scorer.digest

    @property
    def format(self) -> str:
        return self._scorer.format

    def label(self, score: float) -> str | int:
        return self._scorer.label(score)

    def score_row(self, row: Sequence[float]) -> float:
        score = self._scorer.score_row(row)
        self.rows.append(CapturedRow(tuple(map(float, row)), score))
        return score

    def score(self, rows: np.ndarray) -> np.ndarray:
        scores = self._scorer.score(rows)
        pairs = zip(rows.tolist(), scores.tolist(), strict=True)
        self.rows += [CapturedRow(tuple(inputs), score) for inputs, score in pairs]
        return scores


def predict(
    run: NodeRun, node: str, classification: str, body: Callable[[Scorer], object]
) -> dg.MaterializeResult:
    """Admit the promoted model, let ``body`` score with it, and commit the predictions.

    Raises:
        IonError: ``not-admitted``; ``not-a-frame``.
    """
    home = run.client.home
    admitted = _admit(run, home, node)
    epoch = new_id()
    run.received(promotion_message(admitted.cause, node))
    run.emit(
        EpochOpened(
            epoch=epoch, run=run.id, node=node, subtask=0, attempt=0, models={"champion": admitted.model},
            decision_digest=admitted.decision, cause=admitted.cause, serial=admitted.serial,
        )
    )
    scorer = _Recording(admitted.scorer)
    started = now_us()
    frame = body(scorer)
    if not isinstance(frame, pd.DataFrame):
        raise IonError("not-a-frame", f"{node} returned a {type(frame).__name__}", "return a pandas data frame")
    if len(frame) == len(scorer.rows):
        frame = frame.assign(prediction_id=[f"{epoch}:{seq}" for seq in range(len(frame))])
    output = dataset_parquet(frame)
    artifact = ArtifactStore(home.artifacts).put(output)
    version = run.dataset(node, frame, role="output", classification=classification, component=node.partition("/")[2])
    if scorer.rows:
        _commit(run, epoch, scorer, artifact, digest_bytes(output), started)
    run.emit(EpochClosed(epoch=epoch, run=run.id, reason="the run ended"))
    return dg.MaterializeResult(
        value=frame,
        data_version=dg.DataVersion(version.digest),
        tags={"ion/node_run": run.id},
        metadata={
            "dagster/row_count": len(frame),
            "predictions": len(scorer.rows),
            "epoch": epoch,
            "first prediction": f"{epoch}:0",
            "model digest": admitted.model,
            "governance page": dg.MetadataValue.url(f"{web_url()}/models/{admitted.model}"),
        },
    )


def _admit(run: NodeRun, home: Home, node: str) -> Admitted:
    if not home.decision_public.exists():
        raise IonError("not-admitted", f"no model was ever approved for {node}", "train one, and let a policy approve it")
    gate = Gate(
        pointer_path(home.root, node), ArtifactStore(home.artifacts), TrustRoot.from_files(home.decision_public),
        node, home.root / "serving" / node / "accepted.json",
    )
    answer = gate.admit()
    if isinstance(answer, Admitted):
        return answer
    step = getattr(answer, "step", getattr(answer, "cause", ""))
    run.emit(AdmissionRefused(run=run.id, node=node, step=str(step), reason=answer.reason, pointer_digest=getattr(answer, "pointer", "")))
    raise IonError("not-admitted", f"the gate refused the model of {node}: {answer.reason}", "`ion timeline` shows its decisions")


def _commit(run: NodeRun, epoch: str, scorer: _Recording, artifact: str, file_digest: str, started: int) -> None:
    store = open_store(run.client.home.store_url)
    key = CaptureKey.generate()
    store.keep_capture_key(key.key_id, key.secret)
    last = len(scorer.rows) - 1
    run.emit(
        PredictionsCommitted(
            epoch=epoch, run=run.id, first=0, last=last, rows=len(scorer.rows), file=f"artifact:{artifact}",
            file_digest=file_digest, sources=[], us_first=started, us_last=now_us(),
        )
    )
    for first in range(0, len(scorer.rows), _BLOCK_ROWS):
        rows = scorer.rows[first : first + _BLOCK_ROWS]
        block = seal([row.to_text() for row in rows], key, capture_aad(epoch, first))
        fact = InputsCaptured(
            epoch=epoch, run=run.id, first=first, last=first + len(rows) - 1, rows=len(rows),
            key=key.key_id, block=digest_bytes(block),
        )
        run.emit(fact, block=block)
    scores = np.array([row.score for row in scorer.rows])
    run.stat("predictions", len(scores), epoch=epoch)
    run.stat("mean score", float(scores.mean()), epoch=epoch)
    run.signature("score", Histogram.of(scores, np.linspace(0.0, 1.0, 21)), role="prediction", epoch=epoch)
