"""The closed set of facts: what happened, in the past tense.

A fact is a frozen dataclass. Its ``SUBJECTS`` name the fields by whose values it can be found
again (a run, a model digest, an epoch); everything anyone asks later is a fold over facts found so.
Fields hold JSON values only; times are integer microseconds UTC, digests ``sha256:<hex>``.
No fact holds a path of a host or a raw row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, ClassVar

from ion.values import dataclass

Object = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Base of all facts; never recorded itself."""

    SUBJECTS: ClassVar[tuple[str, ...]] = ()

    def subjects(self) -> set[str]:
        """Return the values this fact is found by; a mapping or list contributes its members."""
        found: set[str] = set()
        for name in self.SUBJECTS:
            value = getattr(self, name)
            if isinstance(value, str):
                found.add(value)
            elif isinstance(value, Mapping):
                found.update(str(member) for member in value.values())
            else:
                found.update(str(member) for member in value)
        found.discard("")
        return found


# The graph (level 2) ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class IonDefined(Fact):
    """An ION was declared; ``version`` is the digest of ``definition``."""

    SUBJECTS = ("ion",)
    ion: str
    version: str
    definition: Object


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRunStarted(Fact):
    """A node began one execution. ``code`` holds commit, dirty flag and source digests.

    ``submitter`` is who asked for it, as the program says: declared, not proven.
    """

    SUBJECTS = ("run", "node")
    run: str
    node: str
    node_kind: str
    code: Object = field(default_factory=dict)
    config: Object = field(default_factory=dict)
    environment: Object = field(default_factory=dict)
    engine: str = ""
    engine_run: str = ""
    submitter: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRunEnded(Fact):
    """A node run ended: ``succeeded``, ``failed``, ``stopped`` or ``halted``."""

    SUBJECTS = ("run",)
    run: str
    status: str
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSent(Fact):
    """A node run sent a message (``model``, ``promotion``, ``data``, ``event``) to a node."""

    SUBJECTS = ("message", "run", "receiver", "subject")
    message: str
    run: str
    sender: str
    receiver: str
    message_kind: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived(Fact):
    """A node run took a message."""

    SUBJECTS = ("message", "run")
    message: str
    run: str
    receiver: str


# Inside a node (level 1) --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentRan(Fact):
    """A step inside a node run; ``details`` as extracted or declared (parameters, metrics)."""

    SUBJECTS = ("run",)
    run: str
    component: str
    component_kind: str
    details: Object = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamRecorded(Fact):
    """A parameter of a node run or of one of its components."""

    SUBJECTS = ("run",)
    run: str
    name: str
    value: Any
    component: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecorded(Fact):
    """One setting of a hyper-parameter search and what it scored."""

    SUBJECTS = ("run",)
    run: str
    params: Object
    metrics: Object
    selected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsRecorded(Fact):
    """Points of time series of a node run, told together; the points themselves travel beside the fact.

    ``series`` is [{name, n, first, last}]: how many, and the times (µs) of the first and the last. ``digest`` is
    that of the points, as docs/spec/points.md says.
    """

    SUBJECTS = ("run", "epoch")
    run: str
    series: Sequence[Object]
    digest: str
    epoch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureRecorded(Fact):
    """A histogram: ``counts[i]`` values in ``edges[i]..edges[i+1]``, plus those outside."""

    SUBJECTS = ("run", "epoch")
    run: str
    name: str
    role: str
    edges: Sequence[float]
    counts: Sequence[int]
    below: int = 0
    above: int = 0
    epoch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignaturesRecorded(Fact):
    """Histograms of one window of an epoch: of the inputs by feature, and of what was predicted by name.

    Each is an object with ``edges``, ``counts``, ``below`` and ``above``, as in `SignatureRecorded`.
    """

    SUBJECTS = ("run", "epoch")
    run: str
    epoch: str
    inputs: Object
    predictions: Object


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoriesRecorded(Fact):
    """Counts by category: ``counts[i]`` values equal to ``categories[i]``, plus ``other`` and ``missing`` ones."""

    SUBJECTS = ("run", "epoch")
    run: str
    name: str
    role: str
    categories: Sequence[str]
    counts: Sequence[int]
    other: int = 0
    missing: int = 0
    epoch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchRecorded(Fact):
    """A quantile sketch of ``n`` numbers: ``sketch`` is base64 of the serialized form of ``algorithm``."""

    SUBJECTS = ("run", "epoch")
    run: str
    name: str
    role: str
    algorithm: str
    k: int
    n: int
    missing: int
    sketch: str
    epoch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRecorded(Fact):
    """A shaped figure: ``shape`` is ``vector``, ``table``, ``matrix`` or ``lines``, ``figure`` its numbers."""

    SUBJECTS = ("run", "epoch")
    run: str
    name: str
    shape: str
    figure: Object
    epoch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecorded(Fact):
    """Something happened in a node run that its program found worth telling."""

    SUBJECTS = ("run", "name")
    run: str
    name: str
    attributes: Object = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsRecorded(Fact):
    """What a node run logged: [{us, level, logger, message}], and ``exception``, its kind, where there was one.

    ``cut`` is how many characters of a long message were left out.
    """

    SUBJECTS = ("run",)
    run: str
    entries: Sequence[Object]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRecorded(Fact):
    """A dataset version was read or written by a node run; ``schema`` is [{name, type}]."""

    SUBJECTS = ("run", "digest", "name")
    run: str
    name: str
    role: str
    digest: str
    uri: str
    rows: int
    schema: Sequence[Object]
    classification: str
    component: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckEvaluated(Fact):
    """A data quality check ran on the dataset whose digest the check computed itself."""

    SUBJECTS = ("run", "dataset", "asset")
    run: str
    asset: str
    name: str
    dataset: str
    passed: bool
    severity: str
    results: Sequence[Object] = ()
    engine_run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecorded(Fact):
    """A model version was made by a node run: together they are the candidate.

    ``datasets`` maps roles (``training``, ``heldout``) to dataset digests; ``links`` tells where
    other systems (MLflow, Dagster) show the same thing.
    """

    SUBJECTS = ("run", "model", "node", "datasets")
    run: str
    node: str
    model: str
    name: str
    format: str
    size: int
    features: Sequence[str]
    label: str
    input_schema: Sequence[Object]
    output_schema: Sequence[Object]
    metrics: Object
    datasets: Object
    links: Object = field(default_factory=dict)


# What Dagster showed ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterializationObserved(Fact):
    """Dagster's event log holds this materialization of an asset that ion did not run."""

    SUBJECTS = ("asset", "dagster_run")
    instance: str
    dagster_run: str
    asset: str
    partition: str
    step: str
    storage_id: int
    us: int
    tags: Object = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckObserved(Fact):
    """Dagster's event log holds this result of a check that ion did not run."""

    SUBJECTS = ("asset", "dagster_run")
    instance: str
    dagster_run: str
    asset: str
    name: str
    passed: bool
    severity: str
    storage_id: int
    us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DagsterReported(Fact):
    """A runless materialization was written for ``subject`` (a cause, a file, a decision)."""

    SUBJECTS = ("subject",)
    subject: str
    asset: str
    storage_id: int


# Decisions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionMade(Fact):
    """A policy set gave its verdict on a candidate; ``envelope`` is the signed statement.

    ``approvals`` is what was asked of people: [{role, quorum, people, envelopes}].
    """

    SUBJECTS = ("decision", "model", "run", "node")
    decision: str
    node: str
    model: str
    run: str
    verdict: str
    reasons: Sequence[Object]
    policy_set: str
    policy_digest: str
    evidence: Object
    expires: int
    envelope: str
    envelope_digest: str
    automatic: bool = True
    approvals: Sequence[Object] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted(Fact):
    """A node's current model changed; ``cause`` is the decision that asked for it."""

    SUBJECTS = ("cause", "node", "model")
    cause: str
    node: str
    model: str
    run: str
    decision: str
    serial: int
    previous: str
    envelope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHalted(Fact):
    """A node must stop serving until a later promotion."""

    SUBJECTS = ("cause", "node")
    cause: str
    node: str
    serial: int
    reason: str
    by: str
    envelope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRevoked(Fact):
    """A model was withdrawn from a node for good; the node must not serve it again."""

    SUBJECTS = ("cause", "node", "model")
    cause: str
    node: str
    model: str
    serial: int
    reason: str
    by: str
    envelope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack(Fact):
    """A node went back to a model approved before; ``decision`` is the one that approved it then."""

    SUBJECTS = ("cause", "node", "model")
    cause: str
    node: str
    model: str
    run: str
    decision: str
    serial: int
    previous: str
    reason: str
    by: str
    envelope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorUpdated(Fact):
    """An external registry was brought in line with what is served; no ``version``: the alias was taken away.

    ``tags`` is what was put on the version, ``created`` when the registry says that it was made (µs; 0: unknown).
    """

    SUBJECTS = ("cause",)
    cause: str
    registry: str
    name: str
    version: str
    alias: str
    tags: Object = field(default_factory=dict)
    created: int = 0


# People ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalGiven(Fact):
    """A person signed a verdict (``approve``, ``reject``, ``withdraw``) on a model for a node."""

    SUBJECTS = ("approval", "node", "model", "person")
    approval: str
    node: str
    model: str
    person: str
    verdict: str
    reason: str
    issued: int
    until: int
    key: str
    envelope: str
    envelope_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustChanged(Fact):
    """A newer trust document came into force: who may do what, by which keys.

    ``by`` is the user who put it there, as the operating system says; empty where governance found it.
    """

    SUBJECTS = ("digest",)
    version: int
    digest: str
    envelope: str
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIssued(Fact):
    """A token for the receiver was issued: whoever shows its secret has ``roles`` until ``until``.

    ``verifier`` is the SHA-256 of the secret, 32 random bytes that are kept nowhere. ``agents`` and ``nodes``
    are patterns (``spark-*``, ``patient_tests/*``) of whose facts, and about what, may be told with it.
    """

    SUBJECTS = ("token", "verifier")
    token: str
    verifier: str
    roles: Sequence[str]
    agents: Sequence[str]
    nodes: Sequence[str]
    until: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRevoked(Fact):
    """A token counts no longer; what was told with it stays."""

    SUBJECTS = ("token",)
    token: str
    reason: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySetPublished(Fact):
    """A policy set was published: from now on its reference stands for exactly this digest.

    ``envelope`` is the signed statement; ``by`` the user who did it, as the operating system says.
    """

    SUBJECTS = ("policy_set",)
    policy_set: str
    digest: str
    content: Object
    by: str
    envelope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDrawn(Fact):
    """An automatic approval was drawn for a later look by a person."""

    SUBJECTS = ("decision", "node", "model")
    decision: str
    node: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationSent(Fact):
    """People were told about ``subject`` over a channel; ``delivered`` is false when it was given up."""

    SUBJECTS = ("subject",)
    subject: str
    event: str
    channel: str
    attempts: int
    delivered: bool


# Serving ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochOpened(Fact):
    """From here on one (run, subtask, attempt) predicts with exactly these models (role → digest)."""

    SUBJECTS = ("epoch", "run", "node", "models")
    epoch: str
    run: str
    node: str
    subtask: int
    attempt: int
    models: Object
    decision_digest: str
    cause: str
    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochClosed(Fact):
    """No further prediction is made in this epoch."""

    SUBJECTS = ("epoch",)
    epoch: str
    run: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionsCommitted(Fact):
    """Predictions ``first..last`` of an epoch stand in a committed output file.

    ``sources`` tells where the inputs came from: [{file, first, last, rows}] (line numbers).
    """

    SUBJECTS = ("epoch", "file_digest")
    epoch: str
    run: str
    first: int
    last: int
    rows: int
    file: str
    file_digest: str
    sources: Sequence[Object]
    us_first: int
    us_last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InputsCaptured(Fact):
    """Inputs and outputs of predictions ``first..last``, sealed in ``block``.

    ``key`` is the id of the key they share; empty where each person's rows have a key of their own, which
    the block names.
    """

    SUBJECTS = ("epoch", "key")
    epoch: str
    run: str
    first: int
    last: int
    rows: int
    key: str
    block: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsQuarantined(Fact):
    """Input rows that could not be scored, counted by reason and sealed in ``block``; ``key`` as captured."""

    SUBJECTS = ("run", "file_digest", "key")
    run: str
    node: str
    rows: int
    reasons: Object
    key: str
    block: str
    file: str
    file_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRefused(Fact):
    """The gate refused to load what the pointer named; ``step`` says where it failed."""

    SUBJECTS = ("run", "node")
    run: str
    node: str
    step: str
    reason: str
    pointer_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionReplayed(Fact):
    """A prediction was computed again from its record."""

    SUBJECTS = ("prediction",)
    prediction: str
    model: str
    verdict: str
    reason: str
    max_abs_diff: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureErased(Fact):
    """Capture keys were destroyed: what was sealed under them can never be read again.

    ``keys`` are their ids, random ones: no personal data stands here. ``node`` is empty where the erasure
    was by key. ``rows`` is how many captured rows they sealed; None where that is not counted, because a
    person's rows stand in many blocks.
    """

    SUBJECTS = ("erasure", "keys", "node")
    erasure: str
    keys: Sequence[str]
    reason: str
    by: str
    node: str = ""
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionApplied(Fact):
    """Bodies that facts name by digest were removed because of their age; the facts stay.

    ``kind`` is ``captures``, ``quarantine`` or ``statistics``; what went was older than ``before`` (µs), at
    ``node`` alone where one is named. ``floor`` is the least age (µs) that was in force. ``listing`` is the digest
    of a block that names the facts, at positions ``first`` to ``last``. ``kept`` counts by reason what had to stay.
    """

    SUBJECTS = ("retention", "node")
    retention: str
    kind: str
    before: int
    floor: int
    bodies: int
    size: int
    first: int
    last: int
    listing: str
    kept: Object
    by: str
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsCompacted(Fact):
    """Stored points of a series of a node run were packed together: ``rows`` became ``sealed``, every point as it was.

    ``digest`` is that of the sealed rows' digests, in the order of their times.
    """

    SUBJECTS = ("run",)
    run: str
    rows: int
    sealed: int
    points: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSigned(Fact):
    """The first ``size`` records had the Merkle tree hash ``root``; ``note`` is the signed checkpoint."""

    SUBJECTS = ("root",)
    size: int
    root: str
    note: str


# Holes and warnings -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GapNoted(Fact):
    """``count`` things of ``what`` are missing about ``scope`` (a run, an epoch, an agent)."""

    SUBJECTS = ("scope",)
    scope: str
    what: str
    count: int
    reason: str
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRaised(Fact):
    """Something a person should look at; ``about`` names it where alerts on one scope are many."""

    SUBJECTS = ("scope", "about")
    scope: str
    alert: str
    message: str
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSkewed(Fact):
    """An agent's clock was ``ahead_us`` ahead of the store's; it did not advance the store's."""

    SUBJECTS = ("agent",)
    agent: str
    ahead_us: int


KINDS: dict[str, type[Fact]] = {
    kind.__name__: kind
    for kind in vars().copy().values()
    if isinstance(kind, type) and issubclass(kind, Fact) and kind.__name__ != "Fact"
}
"""Every fact by its name."""

GOVERNANCE_ONLY: tuple[type[Fact], ...] = (
    IonDefined,
    DecisionMade,
    Promoted,
    RolledBack,
    NodeHalted,
    ModelRevoked,
    ApprovalGiven,
    TrustChanged,
    TokenIssued,
    TokenRevoked,
    PolicySetPublished,
    ReviewDrawn,
    NotificationSent,
    CaptureErased,
    RetentionApplied,
    CheckpointSigned,
    StatisticsCompacted,
    MirrorUpdated,
    DagsterReported,
)
"""Facts that only a store transaction may write; shipped by an agent they are refused."""
