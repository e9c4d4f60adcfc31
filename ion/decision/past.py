"""The store as it was: the same questions, answered by the facts up to a position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ion.facts import Fact, Promoted, RolledBack

if TYPE_CHECKING:
    from ion.records import Recorded
    from ion.store import GovernanceStore

F = TypeVar("F", bound=Fact)


@dataclass(frozen=True, slots=True)
class Past:
    """What `store` held when the record at `position` was its newest."""

    store: GovernanceStore
    position: int

    def find(
        self,
        kind: type[F],
        subject: str | None = None,
        *,
        after: int = 0,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Recorded[F]]:
        """Return facts of a kind, about ``subject`` if given, in store order."""
        found = self.store.find(kind, subject, after=after, newest_first=newest_first)
        return [record for record in found if record.position <= self.position][:limit]

    def latest(self, kind: type[F], subject: str | None = None) -> Recorded[F] | None:
        """Return the newest fact of a kind about ``subject``, or None."""
        found = self.find(kind, subject, limit=1, newest_first=True)
        return found[0] if found else None

    def serving(self, node: str) -> tuple[str, str]:
        """Return (model, node run) of what ``ion/node`` was last set to serve; two empty strings before that."""
        promoted = [(r.fact.serial, r.fact.model, r.fact.run) for r in self.find(Promoted, node)]
        returned = [(r.fact.serial, r.fact.model, r.fact.run) for r in self.find(RolledBack, node)]
        _, model, run = max((*promoted, *returned), default=(0, "", ""))
        return model, run
