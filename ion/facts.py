"""The closed set of facts: what happened, in the past tense.

A fact is a frozen dataclass. Its ``SUBJECTS`` name the fields by whose values it can be found
again (a run, a model digest, an epoch); everything anyone asks later is a fold over facts found so.
Fields hold JSON values only; times are integer microseconds UTC, digests ``sha256:<hex>``.
No fact holds a path of a host or a raw row.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from ion.canonical import canonical_bytes, digest_bytes
from ion.clock import Stamp
from ion.errors import IonError

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
    """A node began one execution. ``code`` holds commit, dirty flag and source digests."""

    SUBJECTS = ("run", "node")
    run: str
    node: str
    node_kind: str
    code: Object = field(default_factory=dict)
    config: Object = field(default_factory=dict)
    environment: Object = field(default_factory=dict)
    engine: str = ""
    engine_run: str = ""


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
    """Points of one time series of a node run: equally long ``times`` (µs) and ``values``."""

    SUBJECTS = ("run", "epoch")
    run: str
    series: str
    times: Sequence[int]
    values: Sequence[float]
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
    """A policy set gave its verdict on a candidate; ``envelope`` is the signed statement."""

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
class MirrorUpdated(Fact):
    """An external registry was brought in line with a promotion."""

    SUBJECTS = ("cause",)
    cause: str
    registry: str
    name: str
    version: str
    alias: str


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
    """Inputs and outputs of predictions ``first..last``, sealed under ``key`` in ``block``."""

    SUBJECTS = ("epoch",)
    epoch: str
    run: str
    first: int
    last: int
    rows: int
    key: str
    block: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsQuarantined(Fact):
    """Input rows that could not be scored, counted by reason and sealed in ``block``."""

    SUBJECTS = ("run", "file_digest")
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
    """Something a person should look at."""

    SUBJECTS = ("scope",)
    scope: str
    alert: str
    message: str


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
    NodeHalted,
    MirrorUpdated,
    DagsterReported,
)
"""Facts that only a store transaction may write; shipped by an agent they are refused."""

F_co = TypeVar("F_co", bound=Fact, covariant=True)


@dataclass(frozen=True, slots=True)
class Record:
    """A fact as its author wrote it: identity, author, order, time. ``raw`` is what is hashed."""

    id: str
    agent: str
    seq: int
    stamp: Stamp
    fact: Fact
    raw: bytes

    @property
    def digest(self) -> str:
        """The digest of the record's canonical bytes."""
        return digest_bytes(self.raw)


@dataclass(frozen=True, slots=True)
class Recorded(Generic[F_co]):
    """A fact in the store: ``position`` in store order (from 1), author, time (µs)."""

    position: int
    id: str
    agent: str
    us: int
    fact: F_co


def write_record(fact: Fact, *, fact_id: str, agent: str, seq: int, stamp: Stamp) -> Record:
    """Return the record of a fact, ready to spool or append; `read_record` takes whatever this returns.

    Raises:
        IonError: ``not-canonical`` when a field holds what JSON cannot (NaN, foreign types),
            ``bad-fact`` when a field, the id or the agent is not of its type and form.
    """
    body = {item.name: getattr(fact, item.name) for item in dataclasses.fields(fact)}
    record = Record(fact_id, agent, seq, stamp, fact, b"")
    try:
        _check_record(record)
        _check_body(type(fact), body)
    except (TypeError, ValueError) as error:
        raise IonError(
            "bad-fact", f"not a fact: {error}"[:300], "the program told something of a wrong form"
        ) from error
    value = {
        "agent": agent,
        "body": body,
        "counter": stamp.counter,
        "id": fact_id,
        "kind": type(fact).__name__,
        "seq": seq,
        "us": stamp.us,
    }
    return dataclasses.replace(record, raw=canonical_bytes(value))


def read_record(raw: bytes) -> Record:
    """Parse a record and check that it is canonical, of a known kind and well typed.

    Raises:
        IonError: ``bad-fact``.
    """
    try:
        value = json.loads(raw, parse_int=_integer)
        kind = KINDS[value["kind"]]
        fact = kind(**value["body"])
        _check_body(kind, value["body"])
        record = Record(value["id"], value["agent"], value["seq"], Stamp(value["us"], value["counter"]), fact, raw)
        _check_record(record)
        canonical = len(value) == 7 and canonical_bytes(value) == raw  # noqa: PLR2004 - the seven fields above
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IonError) as error:
        raise IonError("bad-fact", f"not a fact: {error!r}"[:300]) from error
    if not canonical:
        raise IonError("bad-fact", f"{value['kind']} is not in canonical form")
    return record


def _integer(text: str) -> int | float:
    """Read an integer literal; RFC 8785 also writes the floats from 2^53 to 1e21 as such."""
    number = int(text)
    return number if abs(number) < 2**53 else float(text)


_ACCEPTED: dict[object, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    bool: (bool,),
    float: (int, float),
    Sequence: (list, tuple),
    Mapping: (dict,),
}
_NAME = re.compile(r"[!-~]{1,200}\Z")
_LONGEST_SUBJECT = 300
"""Characters. A subject is part of a database index, whose rows are limited."""


def _check_record(record: Record) -> None:
    """Raise TypeError or ValueError when identity, author, order or time are not of their form."""
    texts: tuple[tuple[str, object], ...] = (("id", record.id), ("agent", record.agent))
    for name, text in texts:
        if not isinstance(text, str) or not _NAME.match(text):
            message = f"its {name} is {text!r}"
            raise ValueError(message)
    for name, number in (("seq", record.seq), ("us", record.stamp.us), ("counter", record.stamp.counter)):
        if type(number) is not int or number < 0:
            message = f"its {name} is {number!r}"
            raise ValueError(message)


def _check_body(kind: type[Fact], body: Mapping[str, object]) -> None:
    """Raise TypeError when a field's outer JSON type is not the annotated one, ValueError for a bad subject."""
    for name, hint in _hints(kind).items():
        if hint is None or name not in body:
            continue
        value = body[name]
        if not isinstance(value, hint) or (isinstance(value, bool) and bool not in hint):
            message = f"{kind.__name__}.{name} holds a {type(value).__name__}"
            raise TypeError(message)
    for name in kind.SUBJECTS:
        value = body.get(name, "")
        members = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
        for member in members:
            if not isinstance(member, str) or len(member) > _LONGEST_SUBJECT or "\0" in member:
                message = f"{kind.__name__}.{name} names {member!r:.50}: give a text of at most {_LONGEST_SUBJECT}"
                raise ValueError(message)


_HINTS: dict[type[Fact], dict[str, tuple[type, ...] | None]] = {}


def _hints(kind: type[Fact]) -> dict[str, tuple[type, ...] | None]:
    """Return, per field, the accepted JSON types; None for a field that takes any JSON value."""
    if kind not in _HINTS:
        known: dict[str, tuple[type, ...] | None] = {}
        resolved = typing.get_type_hints(kind)
        for item in dataclasses.fields(kind):
            members = typing.get_args(resolved[item.name]) if _is_union(resolved[item.name]) else ()
            accepted: tuple[type, ...] = ()
            for member in members or (resolved[item.name],):
                if member is type(None):
                    accepted += (type(None),)
                else:
                    accepted += _ACCEPTED.get(typing.get_origin(member) or member, ())
            known[item.name] = accepted or None
        _HINTS[kind] = known
    return _HINTS[kind]


def _is_union(hint: object) -> bool:
    return typing.get_origin(hint) is not None and type(None) in typing.get_args(hint)
