"""Batch inference through the gate: admitted once per run, every scored row accounted for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import pandas as pd

from ion.agent.capture_keys import KeyDrop
from ion.agent.dataset import dataset_parquet
from ion.agent.histogram import Histogram
from ion.canonical import digest_bytes
from ion.clock import now_us
from ion.decision import promotion_message
from ion.errors import IonError
from ion.evidence.artifacts import ArtifactStore
from ion.evidence.trust import trust_file
from ion.facts import AdmissionRefused, EpochClosed, EpochOpened, InputsCaptured, PredictionsCommitted
from ion.home import web_url
from ion.ids import new_id
from ion.serving import Admitted, Gate, Halted, pointer_path, read_pointer, seal
from ion.serving.captured import CapturedRow, capture_aad
from ion.serving.keyring import Keyring
from ion.serving.subject import SubjectTags, subject_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ion.agent.run import NodeRun
    from ion.evidence.captures import CaptureKey
    from ion.home import Home
    from ion.serving import Scorer

_BLOCK_ROWS = 1024
_SCORED_AT_ONCE = 65_536
_LOOK_S = 1.0
_ADMIT_TIMEOUT_S = 5.0


class _Admission:
    """What the gate admitted for one run, and whether it may go on: a revocation ends a run under way."""

    def __init__(self, run: NodeRun, node: str, gate: Gate, admitted: Admitted) -> None:
        self._run = run
        self._node = node
        self._gate = gate
        self._due = time.monotonic() + _LOOK_S
        self.admitted = admitted

    def look(self, *, now: bool = False) -> None:
        """Ask the gate again once a second, or ``now``.

        Raises:
            IonError: ``not-admitted`` when the model may not serve any more.
        """
        if now or time.monotonic() >= self._due:
            halted = self._gate.still(self.admitted, timeout=_ADMIT_TIMEOUT_S)
            if halted is not None:
                raise _refused(self._run, self._node, halted.cause, halted.reason, halted.pointer)
            self._due = time.monotonic() + _LOOK_S


class _Recording:
    """The admitted `Scorer`, remembering what it scored in order, for as long as it may."""

    def __init__(self, admission: _Admission) -> None:
        self._scorer = admission.admitted.scorer
        self._look = admission.look
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
        self._look()
        score = self._scorer.score_row(row)
        self.rows.append(CapturedRow(tuple(map(float, row)), score))
        return score

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        values = np.asarray(rows, dtype=np.float64)  # a data frame is welcome, too
        parts = []
        for first in range(0, len(values), _SCORED_AT_ONCE):  # a score does not depend on the rows beside it
            self._look()
            parts.append(self._scorer.score(values[first : first + _SCORED_AT_ONCE]))
        scores = np.concatenate(parts) if parts else self._scorer.score(values)
        pairs = zip(values.tolist(), scores.tolist(), strict=True)
        self.rows += [CapturedRow(tuple(inputs), score) for inputs, score in pairs]
        return scores


def predict(
    run: NodeRun, node: str, classification: str, body: Callable[[Scorer], object], subject: str = ""
) -> dg.MaterializeResult[object]:
    """Admit the promoted model, let ``body`` score with it, and commit the predictions.

    ``subject`` is the column of the returned frame that says whose row it is.

    Raises:
        IonError: ``not-admitted``; ``not-a-frame``; ``no-subject``.
    """
    admission = _admit(run, run.client.home, node)
    admitted = admission.admitted
    epoch, started = _open_epoch(run, node, admitted), now_us()
    scorer = _Recording(admission)
    try:
        frame = body(scorer)
        if not isinstance(frame, pd.DataFrame):
            raise IonError("not-a-frame", f"{node} returned a {type(frame).__name__}", "return a pandas data frame")  # noqa: TRY301 - it closes the epoch, too
        if len(frame) == len(scorer.rows):
            frame = frame.assign(prediction_id=[f"{epoch}:{seq}" for seq in range(len(frame))])
        component = node.partition("/")[2]
        admission.look(now=True)
        version = run.dataset(node, frame, role="output", classification=classification, component=component)
        if scorer.rows:
            keys = _keys(run, node, epoch, frame, subject, len(scorer.rows))
            _commit(run, epoch, scorer.rows, keys, dataset_parquet(frame), started)
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


def _admit(run: NodeRun, home: Home, node: str) -> _Admission:
    """Return the promoted model's admission, or record the refusal and raise."""
    if not home.trust_document.exists():
        raise IonError(
            "not-admitted", f"no model was ever approved for {node}", "train one, and let a policy approve it"
        )
    pointer = pointer_path(home.root, node)
    state = home.own / "serving" / node / "accepted.json"
    gate = Gate(pointer, ArtifactStore(home.artifacts), trust_file(home), node, state)
    answer = gate.admit()
    if isinstance(answer, Admitted):
        return _Admission(run, node, gate, answer)
    if isinstance(answer, Halted):
        raise _refused(run, node, answer.cause, answer.reason, answer.pointer)
    raise _refused(run, node, answer.step, answer.reason, _pointer_digest(pointer))


def _refused(run: NodeRun, node: str, step: str, reason: str, pointer: str) -> IonError:
    """Record that the gate said no, and return the error that says so."""
    run.emit(AdmissionRefused(run=run.id, node=node, step=step, reason=reason, pointer_digest=pointer))
    return IonError(
        "not-admitted",
        f"the gate refused the model of {node} at step {step}: {reason}",
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


def _keys(
    run: NodeRun, node: str, epoch: str, frame: pd.DataFrame, subject: str, rows: int
) -> CaptureKey | list[CaptureKey]:
    """Return the key of each row by whose it is, or the one of this run where the node does not say."""
    drop = KeyDrop(run.client)
    if not subject:
        return Keyring(drop, node).shared(epoch)
    if subject not in frame or len(frame) != rows:
        reason = f"the {len(frame)} returned rows have no column {subject!r}, or are not the {rows} that were scored"
        hint = f"return the scored rows in order, with {subject!r}"
        raise IonError("no-subject", f"{node} declares a data subject: {reason}", hint)
    subjects = [subject_text(value) for value in frame[subject].tolist()]
    return Keyring(drop, node, SubjectTags.of(run.client.home)).of_rows(epoch, subjects)


def _commit(
    run: NodeRun,
    epoch: str,
    rows: Sequence[CapturedRow],
    keys: CaptureKey | list[CaptureKey],
    output: bytes,
    started: int,
) -> None:
    """Keep the output and the sealed rows, and record which predictions they are."""
    artifact = ArtifactStore(run.client.home.artifacts).put(output)
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
        key = keys[first : first + _BLOCK_ROWS] if isinstance(keys, list) else keys
        block = seal([row.to_text() for row in part], key, capture_aad(epoch, first))
        captured = InputsCaptured(
            epoch=epoch,
            run=run.id,
            first=first,
            last=first + len(part) - 1,
            rows=len(part),
            key="" if isinstance(keys, list) else keys.key_id,
            block=digest_bytes(block),
        )
        run.emit(captured, block=block)
    scores = np.array([row.score for row in rows])
    run.stat("predictions", len(scores), epoch=epoch)
    run.stat("mean score", float(scores.mean()), epoch=epoch)
    run.signature("score", Histogram.of(scores, np.linspace(0.0, 1.0, 21)), role="prediction", epoch=epoch)
