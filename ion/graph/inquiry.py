"""An inquiry: looks facts up, remembers whose word it took, and collects the holes it meets."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from ion.clock import rfc3339
from ion.errors import IonError
from ion.evidence.artifacts import ArtifactStore
from ion.facts import AlertRaised, Fact, GapNoted, InputsCaptured
from ion.graph.signed import people_of, trusted
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.home import Home
    from ion.ids import PredictionId
    from ion.records import Recorded
    from ion.store import GovernanceStore

F = TypeVar("F", bound=Fact)
Answer = dict[str, object]
"""A JSON object of the answer."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Something the answer needs and does not have: ``what``, ``about`` which thing, and why."""

    what: str
    about: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        """Return the JSON form."""
        return asdict(self)


class Inquiry:
    """One question being answered."""

    def __init__(self, store: GovernanceStore, home: Home) -> None:
        self.store = store
        self.artifacts = ArtifactStore(home.artifacts)
        self.trust = trusted(home)
        self.people = people_of(home)
        self._holes: dict[Hole, None] = {}
        self._scopes: set[str] = set()

    def find(self, kind: type[F], subject: str) -> list[Recorded[F]]:
        """Return the facts of a kind about ``subject``; their authors become part of the inquiry.

        A fact that can no longer be read is a hole, not an error.
        """
        try:
            found = self.store.find(kind, subject)
        except IonError as error:
            self.hole(kind.__name__, subject, error.message)
            return []
        self._scopes.update(record.agent for record in found)
        return found

    def captured(self, prediction: PredictionId) -> list[Recorded[InputsCaptured]]:
        """Return the facts that captured a prediction's input, as `find` does."""
        try:
            found = self.store.index.captured(prediction)
        except IonError as error:
            self.hole(InputsCaptured.__name__, prediction.epoch, error.message)
            return []
        self._scopes.update(record.agent for record in found)
        return found

    def newest(self, kind: type[F], subject: str) -> Recorded[F] | None:
        """Return the newest fact of a kind about ``subject``, or None."""
        found = self.find(kind, subject)
        return found[-1] if found else None

    def hole(self, what: str, about: str, reason: str) -> None:
        """Note something missing; noting it twice counts once."""
        self._holes[Hole(what, about, reason)] = None

    def concerns(self, *scopes: str) -> None:
        """Make things part of the inquiry: gaps and alerts about them belong to the answer."""
        self._scopes.update(scope for scope in scopes if scope)

    def alerts(self) -> list[Answer]:
        """Return the alerts about anything the inquiry touched."""
        return [
            {"what": record.fact.alert, "about": scope, "at": rfc3339(record.us), "message": record.fact.message}
            for scope in sorted(self._scopes)
            for record in self.find(AlertRaised, scope)
        ]

    def holes(self) -> list[Hole]:
        """Return the holes met, and those that facts tell of anything the inquiry touched."""
        for scope in sorted(self._scopes):
            for record in self.find(GapNoted, scope):
                gap = record.fact
                self.hole(f"{gap.count} {gap.what}", scope, gap.reason)
        return list(self._holes)
