"""Each fact of a timeline as a subject and a short sentence."""

from __future__ import annotations

from functools import singledispatch

from ion.clock import rfc3339
from ion.facts import (
    AdmissionRefused,
    AlertRaised,
    ApprovalGiven,
    CaptureErased,
    CheckEvaluated,
    DatasetRecorded,
    DecisionMade,
    EpochClosed,
    EpochOpened,
    EventRecorded,
    Fact,
    GapNoted,
    IonDefined,
    MessageReceived,
    MessageSent,
    MirrorUpdated,
    ModelRecorded,
    ModelRevoked,
    NodeHalted,
    NodeRunEnded,
    NodeRunStarted,
    NotificationSent,
    PolicySetPublished,
    PredictionReplayed,
    PredictionsCommitted,
    Promoted,
    RetentionApplied,
    ReviewDrawn,
    RolledBack,
    RowsQuarantined,
    TrustChanged,
)


def short(digest: str) -> str:
    """Return a digest's first twelve digits, for people."""
    return digest.removeprefix("sha256:")[:12]


@singledispatch
def happening(fact: Fact) -> tuple[str, str]:
    """Return ``(subject, sentence)``: the id the event is about, and what happened."""
    return "", type(fact).__name__


@happening.register
def _(fact: IonDefined) -> tuple[str, str]:
    return fact.version, f"defined as version {short(fact.version)}"


@happening.register
def _(fact: NodeRunStarted) -> tuple[str, str]:
    engine = f" in {fact.engine}" if fact.engine else ""
    return fact.run, f"{fact.node_kind} run started{engine}"


@happening.register
def _(fact: NodeRunEnded) -> tuple[str, str]:
    return fact.run, f"run {fact.status}" + (f": {fact.error}" if fact.error else "")


@happening.register
def _(fact: DatasetRecorded) -> tuple[str, str]:
    verb = {"input": "read", "output": "wrote", "heldout": "held out"}.get(fact.role, fact.role)
    rows = f", {fact.rows} rows" if fact.rows >= 0 else ""  # other systems do not always count
    return fact.digest, f"{verb} {fact.name} version {short(fact.digest)}{rows}"


@happening.register
def _(fact: CheckEvaluated) -> tuple[str, str]:
    outcome = "passed" if fact.passed else f"failed ({fact.severity})"
    return fact.dataset, f"check {fact.name} on {fact.asset} {outcome}"


@happening.register
def _(fact: ModelRecorded) -> tuple[str, str]:
    metrics = ", ".join(f"{name} {_number(value)}" for name, value in sorted(fact.metrics.items()))
    return fact.model, f"made model {short(fact.model)}" + (f" ({metrics})" if metrics else "")


@happening.register
def _(fact: MessageSent) -> tuple[str, str]:
    return fact.message, f"sent {fact.message_kind} {short(fact.subject)} to {fact.receiver}"


@happening.register
def _(fact: MessageReceived) -> tuple[str, str]:
    return fact.message, f"received message {fact.message[:12]}"


@happening.register
def _(fact: DecisionMade) -> tuple[str, str]:
    against = [str(reason.get("message")) for reason in fact.reasons if reason.get("verdict") != "approve"]
    because = f": {'; '.join(against)}" if against else ""
    return fact.decision, f"{fact.policy_set} says {fact.verdict} to model {short(fact.model)}{because}"


@happening.register
def _(fact: Promoted) -> tuple[str, str]:
    instead = f" instead of {short(fact.previous)}" if fact.previous else ""
    return fact.model, f"promoted model {short(fact.model)}{instead}, serial {fact.serial}"


@happening.register
def _(fact: ApprovalGiven) -> tuple[str, str]:
    said = {"approve": "approved", "reject": "rejected", "withdraw": "took back the word on"}
    word = said.get(fact.verdict, fact.verdict)
    return fact.approval, f"{fact.person} {word} model {short(fact.model)} for {fact.node}: {fact.reason}"


@happening.register
def _(fact: ReviewDrawn) -> tuple[str, str]:
    return fact.decision, f"automatic approval of model {short(fact.model)} drawn for a later review"


@happening.register
def _(fact: PolicySetPublished) -> tuple[str, str]:
    return fact.digest, f"{fact.policy_set} published by {fact.by} as {short(fact.digest)}"


@happening.register
def _(fact: TrustChanged) -> tuple[str, str]:
    by = f" by {fact.by}" if fact.by else ""
    why = f": {fact.reason}" if fact.reason else ""
    return fact.digest, f"trust document {fact.version} in force{by}{why}"


@happening.register
def _(fact: RolledBack) -> tuple[str, str]:
    instead = f" instead of {short(fact.previous)}" if fact.previous else ""
    back = f"went back to model {short(fact.model)}{instead}, serial {fact.serial}"
    return fact.model, f"{back}, by {fact.by}: {fact.reason}"


@happening.register
def _(fact: ModelRevoked) -> tuple[str, str]:
    return fact.model, f"model {short(fact.model)} withdrawn by {fact.by}: {fact.reason}, serial {fact.serial}"


@happening.register
def _(fact: NodeHalted) -> tuple[str, str]:
    return fact.cause, f"halted by {fact.by}: {fact.reason}, serial {fact.serial}"


@happening.register
def _(fact: MirrorUpdated) -> tuple[str, str]:
    if not fact.version:
        return fact.cause, f"{fact.registry} alias {fact.alias} of {fact.name} taken away"
    return fact.cause, f"{fact.registry} alias {fact.alias} set to {fact.name} {fact.version}"


@happening.register
def _(fact: NotificationSent) -> tuple[str, str]:
    told = "told" if fact.delivered else f"could not be told in {fact.attempts} attempts"
    return fact.subject, f"{fact.event} {told} over {fact.channel}"


@happening.register
def _(fact: EpochOpened) -> tuple[str, str]:
    models = ", ".join(f"{role} {short(str(model))}" for role, model in fact.models.items())
    return fact.epoch, f"serves {models} (subtask {fact.subtask}, attempt {fact.attempt})"


@happening.register
def _(fact: EpochClosed) -> tuple[str, str]:
    return fact.epoch, f"epoch closed: {fact.reason}"


@happening.register
def _(fact: PredictionsCommitted) -> tuple[str, str]:
    return f"{fact.epoch}:{fact.last}", f"{fact.rows} predictions committed ({fact.first} to {fact.last})"


@happening.register
def _(fact: RowsQuarantined) -> tuple[str, str]:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(fact.reasons.items()))
    return fact.file_digest, f"{fact.rows} rows quarantined ({reasons})"


@happening.register
def _(fact: CaptureErased) -> tuple[str, str]:
    return fact.erasure, f"{len(fact.keys)} capture keys destroyed by {fact.by}: {fact.reason}"


@happening.register
def _(fact: RetentionApplied) -> tuple[str, str]:
    told = f"{fact.bodies} bodies of {fact.kind} from before {rfc3339(fact.before)[:10]} removed by {fact.by}"
    return fact.retention, told


@happening.register
def _(fact: AdmissionRefused) -> tuple[str, str]:
    return fact.pointer_digest, f"gate refused at step {fact.step}: {fact.reason}"


@happening.register
def _(fact: PredictionReplayed) -> tuple[str, str]:
    return fact.prediction, f"replayed: {fact.verdict}" + (f" ({fact.reason})" if fact.reason else "")


@happening.register
def _(fact: EventRecorded) -> tuple[str, str]:
    attributes = ", ".join(f"{name} {value}" for name, value in sorted(fact.attributes.items()))
    return fact.run, fact.name + (f" ({attributes[:200]})" if attributes else "")


@happening.register
def _(fact: GapNoted) -> tuple[str, str]:
    return fact.scope, f"gap: {fact.count} {fact.what}: {fact.reason}"


@happening.register
def _(fact: AlertRaised) -> tuple[str, str]:
    return fact.scope, f"alert {fact.alert}: {fact.message}"


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
