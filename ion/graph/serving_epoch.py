"""What is known of a prediction's serving: its epoch, the file it stands in, what went wrong meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.clock import now_us, rfc3339
from ion.errors import IonError
from ion.evidence.captures import row_key
from ion.facts import (
    AdmissionRefused,
    CaptureErased,
    EpochClosed,
    EpochOpened,
    GapNoted,
    InputsCaptured,
    PredictionsCommitted,
    RowsQuarantined,
)
from ion.records import Recorded
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.graph.inquiry import Answer, Inquiry
    from ion.ids import PredictionId


@dataclass(frozen=True, slots=True)
class Serving:
    """The facts of one prediction's epoch; any of them may be missing, not all."""

    prediction: PredictionId
    opened: Recorded[EpochOpened] | None
    closed: Recorded[EpochClosed] | None
    committed: Recorded[PredictionsCommitted] | None
    captured: InputsCaptured | None
    erased: Recorded[CaptureErased] | None = None

    @property
    def run(self) -> str:
        """The serving node run; empty when no fact tells."""
        for record in (self.opened, self.committed, self.closed):
            if record is not None:
                return record.fact.run
        return self.captured.run if self.captured else ""

    @property
    def node(self) -> str:
        """The serving node as ``ion/node``; empty when no fact tells."""
        return self.opened.fact.node if self.opened else ""

    @property
    def models(self) -> dict[str, str]:
        """Role → model digest."""
        return {role: str(digest) for role, digest in self.opened.fact.models.items()} if self.opened else {}


def serving_of(inquiry: Inquiry, prediction: PredictionId) -> Serving:
    """Look up the epoch of a prediction.

    Raises:
        IonError: ``unknown-prediction`` when no fact knows the id.
    """
    epoch = prediction.epoch
    opened = inquiry.find(EpochOpened, epoch)
    committed = _committed(inquiry, prediction)
    captured = inquiry.captured(prediction)
    if committed is None and not captured and not _told_missing(inquiry, prediction):
        raise _unknown(prediction, opened[0].fact if opened else None)
    inquiry.concerns(epoch, str(prediction))
    if committed is None:
        inquiry.hole("committed output", str(prediction), "no fact says in which output file it stands")
    if not opened:
        inquiry.hole("serving epoch", epoch, "no fact says which run and which models it was")
    elif any(other.fact != opened[0].fact for other in opened[1:]):
        inquiry.hole("serving epoch", epoch, "two facts describe this epoch differently")
    erased = _erased(inquiry, prediction, captured[0]) if captured else None
    serving = Serving(
        prediction,
        opened[0] if opened else None,
        inquiry.newest(EpochClosed, epoch),
        committed,
        captured[0].fact if captured else None,
        erased,
    )
    inquiry.concerns(serving.run, serving.node)
    return serving


def epoch_answer(serving: Serving) -> Answer:
    """Return the epoch as JSON: who predicted when, and the committed range the prediction is in."""
    answer: Answer = {"id": serving.prediction.epoch, "sequence": serving.prediction.seq}
    if serving.opened:
        opened = serving.opened.fact
        answer |= {
            "node": opened.node,
            "run": opened.run,
            "subtask": opened.subtask,
            "attempt": opened.attempt,
            "serial": opened.serial,
            "cause": opened.cause,
            "decision_digest": opened.decision_digest,
            "opened": rfc3339(serving.opened.us),
        }
    if serving.closed:
        answer |= {"closed": rfc3339(serving.closed.us), "closed_because": serving.closed.fact.reason}
    if serving.committed:
        committed = serving.committed.fact
        answer["committed"] = {
            "first": committed.first,
            "last": committed.last,
            "rows": committed.rows,
            "file": committed.file,
            "file_digest": committed.file_digest,
            "sources": [dict(source) for source in committed.sources],
            "from": rfc3339(committed.us_first),
            "to": rfc3339(committed.us_last),
        }
    answer["captured"] = serving.captured is not None
    if serving.erased:
        erased = serving.erased.fact
        answer["erased"] = {
            "erasure": erased.erasure,
            "at": rfc3339(serving.erased.us),
            "by": erased.by,
            "reason": erased.reason,
        }
    return answer


def trouble_meanwhile(inquiry: Inquiry, serving: Serving) -> list[Answer]:
    """Return what the serving run refused and set aside while this epoch lasted."""
    if not serving.run or serving.opened is None:
        return []
    start, end = serving.opened.us, serving.closed.us if serving.closed else now_us()
    found: list[tuple[int, str, str, str]] = []
    for refused in inquiry.find(AdmissionRefused, serving.run):
        message = f"the gate refused at step {refused.fact.step}: {refused.fact.reason}"
        found.append((refused.us, "admission-refused", refused.fact.node, message))
    for put in inquiry.find(RowsQuarantined, serving.run):
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(put.fact.reasons.items()))
        message = f"{put.fact.rows} input rows could not be scored: {reasons}"
        found.append((put.us, "rows-quarantined", put.fact.node, message))
    return [
        {"what": what, "about": about, "at": rfc3339(us), "message": message}
        for us, what, about, message in sorted(found)
        if start <= us <= end
    ]


def _committed(inquiry: Inquiry, prediction: PredictionId) -> Recorded[PredictionsCommitted] | None:
    position = inquiry.store.prediction_position(prediction)
    if position is None:
        return None
    try:
        record = inquiry.store.record_at(position)
    except IonError as error:
        inquiry.hole("committed output", str(prediction), error.message)
        return None
    inquiry.concerns(record.agent)
    fact = record.fact
    if (
        not isinstance(fact, PredictionsCommitted)
        or fact.epoch != prediction.epoch
        or not fact.first <= prediction.seq <= fact.last
    ):
        inquiry.hole(
            "committed output", str(prediction), "the store's index of predictions is wrong; run `ion store rebuild`"
        )
        return None
    return Recorded(position, record.id, record.agent, record.stamp.us, fact)


def _erased(
    inquiry: Inquiry, prediction: PredictionId, record: Recorded[InputsCaptured]
) -> Recorded[CaptureErased] | None:
    """Return the erasure of a captured input, a gap that is explained; None while it can be read."""
    captured = record.fact
    block = inquiry.store.block(captured.block)
    if block is None and (removed := inquiry.store.retention.of(record.position)):
        told = f"kept until {rfc3339(removed.us)[:10]} (retention {removed.fact.retention})"
        inquiry.hole("captured input", str(prediction), told)
        return None
    if block is None or digest_bytes(block) != captured.block:
        inquiry.hole("captured inputs", captured.block, "the store does not hold the block that a fact names")
        return None
    try:
        key = row_key(block, prediction.seq - captured.first)
    except IonError as error:
        inquiry.hole("captured inputs", captured.block, error.message)
        return None
    if inquiry.store.capture_key(key) is not None:
        return None
    erased = inquiry.newest(CaptureErased, key)
    if erased is None:
        inquiry.hole("captured input", str(prediction), "its key is missing, and no fact says that it was erased")
    else:
        told = f"erased on {rfc3339(erased.us)[:10]} by {erased.fact.by}: {erased.fact.reason}"
        inquiry.hole("captured input", str(prediction), f"{told} (erasure {erased.fact.erasure})")
    return erased


def _told_missing(inquiry: Inquiry, prediction: PredictionId) -> bool:
    gaps = [record.fact for record in inquiry.find(GapNoted, prediction.epoch)]
    return any(
        gap.first is not None and gap.last is not None and gap.first <= prediction.seq <= gap.last for gap in gaps
    )


def _unknown(prediction: PredictionId, opened: EpochOpened | None) -> IonError:
    if opened is None:
        hint = "`ion predictions ION` lists some; facts still in a spool arrive by `ion store ship`"
        return IonError("unknown-prediction", f"no fact knows the prediction {prediction}", hint)
    ion = opened.node.partition("/")[0]
    message = f"the epoch {prediction.epoch} is known, but committed no prediction {prediction.seq}"
    return IonError("unknown-prediction", message, f"`ion predictions {ion}` lists those that were committed")
