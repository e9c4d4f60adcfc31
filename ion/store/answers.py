"""What a store answers, be it here or behind a server: values, without the database."""

from __future__ import annotations

from ion.values import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model version and the node run that made it; ``verdict`` is empty until decided."""

    model: str
    run: str
    node: str
    position: int
    verdict: str


@dataclass(frozen=True, slots=True)
class Current:
    """What an inference node should serve; ``model`` is empty before the first promotion."""

    node: str
    serial: int
    model: str
    run: str
    decision: str
    cause: str
    halted: bool


@dataclass(frozen=True, slots=True)
class Series:
    """One time series of a run: how many points, and from when to when (µs UTC)."""

    name: str
    epoch: str
    count: int
    first: int
    last: int
