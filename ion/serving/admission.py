"""What the gate answers: admitted, refused or halted. Values, never exceptions."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Literal, get_args

from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.evidence.grounds import Grounds
    from ion.evidence.hashed_reading import Content
    from ion.evidence.statements import LeaseEnd
    from ion.serving.scorer import Scorer

Step = Literal[
    "trust",
    "pointer",
    "node",
    "approvals",
    "decision",
    "provenance",
    "manifest",
    "artifact",
    "format",
    "promotion",
    "revocation",
    "accept",
]
STEPS: tuple[Step, ...] = get_args(Step)
"""In the order of the gate; docs/spec/pointer.md says what is looked at earlier as well."""

HaltCause = Literal["halt", "revoke", "lease", "expiry", "trust"]


@dataclass(frozen=True, slots=True)
class Admitted:
    """A model that may serve. The same object is returned for as long as nothing changed.

    Args:
        node: ``ion/node``.
        model: model version (manifest digest).
        serial: the promotion's serial.
        decision: digest of the decision's envelope.
        pointer: digest of the pointer's bytes; a lease renewal changes it, the model stays.
        cause: what made this the node's model: the id of a decision or a rollback.
        candidate_run: the node run that made the model.
        files: path → content, each hashed as it was read.
        format: e.g. ``ion-linear/1``.
        scorer: made from ``files``.
        lease_end: microseconds UTC.
        on_lease_end: what the node does then.
        expires: when decision or approvals end, microseconds UTC.
        grounds: what it was admitted on.
    """

    node: str
    model: str
    serial: int
    decision: str
    pointer: str
    cause: str
    candidate_run: str
    files: Mapping[str, Content] = field(repr=False)
    format: str
    scorer: Scorer = field(repr=False)
    lease_end: int
    on_lease_end: LeaseEnd
    expires: int
    grounds: Grounds = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing new may serve: keep the last admitted model, or do not start.

    Args:
        step: where the gate stopped.
        reason: why, without any path of this host.
    """

    step: Step
    reason: str


@dataclass(frozen=True, slots=True)
class Halted:
    """Stop predicting now; only a later admission ends this.

    Args:
        cause: a signed ``halt`` or ``revoke``; a ``lease`` that ended with ``stop`` declared; the ``expiry`` of
            decision or approvals; ``trust`` that whoever signed for the serving model does not have any more.
        serial: of the promotion statement last accepted.
        pointer: digest of the pointer bytes last accepted.
        reason: for people, without any path of this host.
    """

    cause: HaltCause
    serial: int
    pointer: str
    reason: str
